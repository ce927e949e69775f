"""The stream of changes: its order, cursors into it, and reading it from the table `events`.

Rows are ordered by (position, version, subject). A row's position is never below its transaction's id (`xid`), so:

- Let X be the oldest transaction id that still runs, `pg_snapshot_xmin(pg_current_snapshot())`, in the snapshot that
  a statement reads with. A row with position < X was written by a transaction with xid <= position < X: one that has
  ended, so that the statement sees the row if it was ever committed.
- Whatever commits later was written by a transaction with xid >= X, and its position is >= xid >= X.

Rows with position < X are therefore complete, for ever: they are final, and a reader that has handed them out will
never meet an earlier one. It is the *position* that must be below X. A transaction that got its id early and its
subject's lock late has xid < X with a position above it; handing out that row would step over the rows of
transactions between the two that have not committed yet.

For one subject the order is the order of its commits: its row is locked from before a position is worked out until
the commit, so versions grow by one and positions never fall.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from models.base import from_record, new_id
from models.events import Event, EventSubject
from services.audit.sealing import raise_positions
from services.errors import InvalidInput, StaleCursor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.sets import AnyConnection

_NO_SUBJECT: Final = UUID(int=0)
_CURSOR: Final = re.compile(r"(\d{1,9})\.(\d{1,18})\.(\d{1,9})\.([0-9a-f]{32})", re.ASCII)
_COLUMNS: Final = (
    "id", "created_at", "subject_type", "subject_id", "version", "position", "xid", "previous_status", "status",
    "payer_id", "host_id", "activity_id", "detail",
)  # fmt: skip
LISTED_COLUMNS: Final = ", ".join(f"e.{name}" for name in _COLUMNS)


class StreamKey(NamedTuple):
    """A place in the stream; keys compare as the stream is ordered."""

    position: int
    version: int
    subject_id: UUID

    @classmethod
    def before(cls, position: int) -> StreamKey:
        """The place before every row of this position."""
        return cls(position, 0, _NO_SUBJECT)


@dataclass(frozen=True, slots=True)
class LiveChange:
    """A change, and the cursor to go on from after it."""

    cursor: str
    event: Event


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Whose changes: those of one kind of subject, and of all that is given."""

    subject_type: EventSubject
    subject_id: UUID | None = None
    payer_id: UUID | None = None
    host_id: UUID | None = None
    activity_id: UUID | None = None
    party_id: UUID | None = None
    """Who is either the payer or the host."""

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether a row of the stream passes."""
        return (
            event["subject_type"] == self.subject_type
            and self.subject_id in {None, event["subject_id"]}
            and self.payer_id in {None, event["payer_id"]}
            and self.host_id in {None, event["host_id"]}
            and self.activity_id in {None, event["activity_id"]}
            and (self.party_id is None or self.party_id in {event["payer_id"], event["host_id"]})
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """What was committed at one moment: a snapshot of PostgreSQL's ("Snapshot information functions")."""

    epoch: int
    xmin: int
    """The oldest transaction that ran."""
    xmax: int
    """The first transaction that had not begun."""
    running: frozenset[int]

    @classmethod
    def parse(cls, snapshot: str, epoch: int) -> Moment:
        """From `pg_current_snapshot()::text`, "xmin:xmax:running,running"."""
        xmin, xmax, running = snapshot.split(":")
        return cls(epoch, int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def saw(self, xid: int) -> bool:
        """Whether what this transaction wrote was committed at that moment, given that it is now."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


def key_of(event: Mapping[str, Any]) -> StreamKey:
    """Where a row of the table stands."""
    return StreamKey(event["position"], event["version"], event["subject_id"])


def key_of_event(event: Event) -> StreamKey:
    """Where an event stands."""
    return StreamKey(event.position, event.version, event.subject_id)


def cursor_of(event: Event, epoch: int) -> str:
    """The opaque cursor of an event: pass it as `after` to go on from there."""
    return encode_cursor(key_of_event(event), epoch)


def encode_cursor(key: StreamKey, epoch: int) -> str:
    """The opaque cursor of a place."""
    plain = f"{epoch}.{key.position}.{key.version}.{key.subject_id.hex}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def parse_cursor(cursor: str, epoch: int) -> StreamKey:
    """The place that a cursor stands for.

    Raises: InvalidInput where it is none; StaleCursor where it is of another epoch.
    """
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        plain = ""
    parts = _CURSOR.fullmatch(plain)
    if parts is None:
        raise InvalidInput(path=["after"], message="This is not a cursor.")
    if int(parts[1]) != epoch:
        raise StaleCursor
    return StreamKey(int(parts[2]), int(parts[3]), UUID(hex=parts[4]))


def change_of(record: Mapping[str, Any], epoch: int) -> LiveChange:
    """A row with `LISTED_COLUMNS` as a change."""
    event = from_record(Event, {name: record[name] for name in _COLUMNS})
    return LiveChange(cursor_of(event, epoch), event)


def select_between(filter_: EventFilter, after: StreamKey, until: StreamKey, limit: int) -> tuple[str, list[Any]]:
    """SQL, and its parameters, for the next rows of a filter after one place and up to another, in order."""
    parameters: list[Any] = [*after, *until, filter_.subject_type.value]
    conditions = ["e.subject_type = $7"]
    for column in ("subject_id", "payer_id", "host_id", "activity_id"):
        value = getattr(filter_, column)
        if value is not None:
            parameters.append(value)
            conditions.append(f"e.{column} = ${len(parameters)}")
    if filter_.party_id is None:
        return _ranged(conditions, limit), parameters
    parameters.append(filter_.party_id)
    party = f"${len(parameters)}"
    # Two walks along an index each, where an OR would sort all that either has.
    as_payer = _ranged([*conditions, f"e.payer_id = {party}"], limit)
    as_host = _ranged([*conditions, f"e.host_id = {party}", f"e.payer_id IS DISTINCT FROM {party}"], limit)
    both = (
        f"SELECT {LISTED_COLUMNS} FROM (({as_payer}) UNION ALL ({as_host})) e"
        f" ORDER BY e.position, e.version, e.subject_id LIMIT {limit:d}"
    )
    return both, parameters


async def begin_epoch(connection: AnyConnection) -> int:
    """Make every cursor stale, and put all changes so far before whatever comes: what a restore has to end with.

    Transaction ids may start anew after a restore, below the positions that were restored: those of changes are
    lowered, those of audit entries, which are sealed, stay, and new ones begin above. Nobody may write meanwhile.

    Returns: the new epoch.
    """
    async with connection.transaction():
        await connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        await connection.execute("ALTER TABLE events DISABLE TRIGGER events_append_only")
        await connection.execute("UPDATE events SET position = 0, xid = 0 WHERE position <> 0")
        await connection.execute("ALTER TABLE events ENABLE TRIGGER events_append_only")
        await connection.execute("UPDATE payments SET position = 0")
        await connection.execute("UPDATE connect_accounts SET position = 0")
        await connection.execute("UPDATE subscriptions SET position = 0")
        await connection.execute("UPDATE disputes SET position = 0")
        await connection.execute("UPDATE activity_cancellations SET position = 0")
        await connection.execute("UPDATE payouts SET position = 0")
        await raise_positions(connection)
        epoch: int = await connection.fetchval(
            "INSERT INTO stream_epochs (id, epoch) SELECT $1, max(epoch) + 1 FROM stream_epochs RETURNING epoch",
            new_id(),
        )
    return epoch


def _ranged(conditions: list[str], limit: int) -> str:
    # The limit is no parameter: a plan for an unknown one would sort all rows of the filter.
    return (
        f"SELECT {LISTED_COLUMNS} FROM events e WHERE {' AND '.join(conditions)}"
        " AND (e.position, e.version, e.subject_id) > ($1::bigint, $2::int, $3::uuid)"
        " AND (e.position, e.version, e.subject_id) <= ($4::bigint, $5::int, $6::uuid)"
        f" ORDER BY e.position, e.version, e.subject_id LIMIT {limit:d}"
    )
