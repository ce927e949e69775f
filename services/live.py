"""Live updates: one tail of the event stream per process, handed out to any number of subscribers.

The tail reads the rows that are final (services/event_stream.py), in order, when a commit wakes it: here by `wake`, in
other processes by Redis. Messages may be lost, so it also looks by itself: soon while it knows of rows that are not
final yet, and otherwise slowly. A transaction that stays open after it wrote something holds back what was committed
after it began, for as long as it stays open.

A subscriber first reads from the table, from where it wants to start up to where the tail was when it was entered,
and then takes what the tail hands out: nothing is missed in between and nothing comes twice, because both keep to one
order and the tail never goes back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from services.cancellation import end_tasks
from services.database import DATABASE_ERRORS
from services.errors import StaleCursor
from services.event_stream import (
    LISTED_COLUMNS,
    EventFilter,
    LiveChange,
    Moment,
    StreamKey,
    change_of,
    cursor_of,
    key_of,
    key_of_event,
    parse_cursor,
    select_between,
)
from services.followers import Address, Follower, addresses_of
from services.pauses import back_off, pause
from services.wake_ups import WakeUps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from redis.asyncio import Redis

    from services.database import Database

__all__ = ["EventFilter", "LiveChange", "LiveUpdates", "Moment", "SlowReaderError", "cursor_of"]

log = structlog.get_logger("live")

_CHANNEL: Final = "paydesk:live"
_PAGE: Final = 500
_READ_TIMEOUT_S: Final = 10.0
_DISPATCH_AT_ONCE: Final = 256
# Under load reads follow one another; between two of them more rows become final than the wait costs.
_LEAST_GAP_S: Final = 0.004
_PENDING_S: Final = (0.004, 0.01, 0.02, 0.05, 0.1, 0.2)
_BACKOFF_AT_MOST_S: Final = 2.0

_MOMENT: Final = "SELECT pg_current_snapshot()::text AS snapshot, (SELECT max(epoch) FROM stream_epochs) AS epoch"
# The limit is no parameter: a plan for an unknown one would sort the table.
_TAIL: Final = f"""
SELECT m.snapshot, m.epoch, r.* FROM ({_MOMENT}) m LEFT JOIN LATERAL (
    SELECT {LISTED_COLUMNS} FROM events e WHERE (e.position, e.version, e.subject_id) > ($1::bigint, $2::int, $3::uuid)
    ORDER BY e.position, e.version, e.subject_id LIMIT {_PAGE}
) r ON true ORDER BY r.position, r.version, r.subject_id
"""


class SlowReaderError(Exception):
    """The subscriber took too long over what it was given, and was cut off."""

    def __init__(self) -> None:
        super().__init__("Too slow: updates were left waiting. Subscribe again with the last cursor as `after`.")


class LiveUpdates:
    """The live updates of one process."""

    def __init__(
        self,
        database: Database,
        redis: Redis | None,
        *,
        channel: str = _CHANNEL,
        buffer: int = 1000,
        patience_s: float = 10.0,
        poll_s: float = 1.0,
    ) -> None:
        """
        Args:
            redis: wakes the other processes; where it is None or away, they are as late as `poll_s`.
            buffer: changes that wait for one subscriber at most.
            patience_s: seconds that a subscriber may take over one change while more come than its buffer holds.
            poll_s: seconds between looks that nobody asked for.
        """
        self._database = database
        self._redis = redis
        self._channel = channel
        self._buffer = buffer
        self._patience_s = patience_s
        self._poll_s = poll_s
        self._awake = asyncio.Event()
        self._frontier = StreamKey.before(0)
        self._epoch = 0
        self._followers: defaultdict[Address, set[Follower]] = defaultdict(set)
        self._wake_ups: WakeUps | None = None
        self._tail: asyncio.Task[None] | None = None
        self._closed = False
        self._asking: asyncio.Task[Moment] | None = None
        self._one_asks = asyncio.Lock()
        self.subscribers = 0
        """How many follow now."""
        self.delivered = 0
        """How many changes were handed to subscribers since the start."""

    async def start(self) -> None:
        """Begin to follow the stream, from now on."""
        moment = await self.moment()
        self._epoch, self._frontier = moment.epoch, StreamKey.before(moment.xmin)
        if self._redis is not None:
            self._wake_ups = WakeUps(self._redis, channel=self._channel, on_wake=self._look)
        self._tail = asyncio.create_task(self._follow_stream(), name="live-tail")

    async def close(self) -> None:
        """Stop; every `follow` ends."""
        self._closed = True
        if self._wake_ups is not None:
            await self._wake_ups.close()
        if self._tail is not None:
            await end_tasks([self._tail])
        self._end_all(None)

    def wake(self) -> None:
        """Tell all processes that a change was committed here. Costs next to nothing; never fails."""
        self._look()
        if self._wake_ups is not None:
            self._wake_ups.announce()

    async def moment(self) -> Moment:
        """What is committed now. Callers that wait at the same time share one statement, begun after each asked."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="live-moment")
        return await asyncio.shield(self._asking)

    async def follow(
        self, filter_: EventFilter, after: str | None = None, *, moment: Moment | None = None
    ) -> AsyncGenerator[LiveChange, None]:
        """Changes that pass the filter: everything after the cursor `after`, then live, in order, each once.

        Without a cursor it is what commits after `moment` (by default: after the first step of the iteration).
        Close the iterator (`aclose`) to leave.

        Raises: InvalidInput for what is no cursor; StaleCursor for one from before the database was restored;
            SlowReaderError for who sits on one change while more come than the buffer holds.
        """
        start, unseen = await self._start_of(after, moment)
        subscriber = self._enter(filter_)
        try:
            while not subscriber.closed:
                if start < subscriber.since:
                    records = await self._fetch(*select_between(filter_, start, subscriber.since, _PAGE))
                    for record in records:
                        start = key_of(record)
                        if unseen is None or not unseen.saw(record["xid"]):
                            yield self._given(subscriber, change_of(record, self._epoch))
                            self._require_in_time(subscriber)
                    if len(records) < _PAGE:
                        start = subscriber.since
                elif (change := await subscriber.next()) is not None:
                    if key_of_event(change.event) <= start:
                        continue  # it came from the table
                    start = key_of_event(change.event)
                    if unseen is None or not unseen.saw(change.event.xid):
                        yield self._given(subscriber, change)
                        self._require_in_time(subscriber)
                elif subscriber.overflowed:
                    subscriber.restart(self._frontier)
            if subscriber.lost is not None:
                raise subscriber.lost
        finally:
            self._leave(subscriber)

    async def _start_of(self, after: str | None, moment: Moment | None) -> tuple[StreamKey, Moment | None]:
        """Where to begin, and the moment whose commits are left out."""
        now = moment or await self.moment()
        if after is None:
            # What that moment did not see was written by transactions from its oldest on.
            return StreamKey.before(now.xmin), now
        start = parse_cursor(after, now.epoch)
        if start.position > now.xmax and start.position > (await self.moment()).xmax:
            raise StaleCursor  # of a history that has been undone
        return start, None

    def _given(self, subscriber: Follower, change: LiveChange) -> LiveChange:
        self.delivered += 1
        subscriber.gave_at = asyncio.get_running_loop().time()
        return change

    def _require_in_time(self, subscriber: Follower) -> None:
        """Cut off who left more waiting than the buffer holds and sat on one change all the while.

        A burst alone is nobody's fault: what does not fit into the buffer is read from the table.
        """
        if subscriber.overflowed and asyncio.get_running_loop().time() - subscriber.gave_at >= self._patience_s:
            raise SlowReaderError

    def _enter(self, filter_: EventFilter) -> Follower:
        subscriber = Follower(filter_, self._frontier, self._buffer)
        self._followers[subscriber.address].add(subscriber)
        self.subscribers += 1
        self._awake.set()
        return subscriber

    def _leave(self, subscriber: Follower) -> None:
        followers = self._followers.get(subscriber.address)
        if followers is None or subscriber not in followers:
            return
        followers.discard(subscriber)
        self.subscribers -= 1
        if not followers:
            del self._followers[subscriber.address]

    def _end_all(self, error: Exception | None) -> None:
        for followers in list(self._followers.values()):
            for subscriber in list(followers):
                subscriber.end(error)
                self._leave(subscriber)

    def _look(self) -> None:
        if self.subscribers:
            self._awake.set()

    async def _ask(self) -> Moment:
        async with self._one_asks:
            # Who comes from here on needs a younger snapshot than the one about to be taken.
            self._asking = None
            [record] = await self._fetch(_MOMENT, [])
            return Moment.parse(record["snapshot"], record["epoch"])

    async def _fetch(self, sql: str, parameters: list[Any]) -> list[Any]:
        """Rows by way of the pool; a subscriber waits where the database is away, as it would for a change."""
        failures = 0
        while True:
            try:
                return await self._database.pool.fetch(sql, *parameters, timeout=_READ_TIMEOUT_S)
            except DATABASE_ERRORS as error:
                if self._closed or (isinstance(error, asyncpg.PostgresError) and not _is_outage(error)):
                    raise
                failures += 1
                await _back_off(failures, error)

    async def _follow_stream(self) -> None:
        """The tail: read and hand out, for ever."""
        connection: asyncpg.Connection[Any] | None = None
        failures = 0
        pending = 0
        try:
            while True:
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._database.connect()
                    pending = pending + 1 if await self._read(connection) else 0
                    failures = 0
                except DATABASE_ERRORS as error:
                    failures += 1
                    if connection is not None:
                        connection.terminate()
                    await _back_off(failures, error)
                    continue
                await self._rest(pending)
        finally:
            if connection is not None:
                connection.terminate()

    async def _rest(self, pending: int) -> None:
        """Wait for a wake-up, or until it is time to look; `pending` looks in a row found rows that are not final."""
        await asyncio.sleep(_LEAST_GAP_S)
        patience = _PENDING_S[min(pending, len(_PENDING_S)) - 1] if pending else self._poll_s
        await pause(self._awake, patience)

    async def _read(self, connection: asyncpg.Connection[Any]) -> bool:
        """Hand out all that is final; whether there are rows that are not."""
        while True:
            self._awake.clear()
            if self.subscribers:
                records = await connection.fetch(_TAIL, *self._frontier, timeout=_READ_TIMEOUT_S)
            else:
                records = await connection.fetch(_MOMENT, timeout=_READ_TIMEOUT_S)
            moment = Moment.parse(records[0]["snapshot"], records[0]["epoch"])
            if moment.epoch != self._epoch or self._frontier.position > moment.xmax:
                self._begin_anew(moment)
                return False
            if "id" not in records[0]:
                if self.subscribers:
                    continue  # entered just now
                # Nobody is owed anything: who enters from here on reads the table up to this place.
                self._frontier = max(self._frontier, StreamKey.before(moment.xmin))
                return False
            rows = [record for record in records if record["id"] is not None]
            final = [record for record in rows if record["position"] < moment.xmin]
            for record in final:
                await self._hand_out(record)
            if len(rows) < _PAGE or not final:
                return len(final) < len(rows)

    def _begin_anew(self, moment: Moment) -> None:
        """The database was restored: places in the old stream mean nothing in the new one."""
        log.error("live.stream_begins_anew", epoch=moment.epoch)
        self._epoch, self._frontier = moment.epoch, StreamKey.before(moment.xmin)
        self._end_all(StaleCursor())

    async def _hand_out(self, record: Mapping[str, Any]) -> None:
        # First: who enters while this row is handed out takes it from the table.
        self._frontier = key_of(record)
        change: LiveChange | None = None
        given = 0
        for address in addresses_of(record):
            for subscriber in tuple(self._followers.get(address, ())):
                if not subscriber.filter.matches(record):
                    continue
                if change is None:
                    change = change_of(record, self._epoch)
                subscriber.push(change)
                given += 1
                if given % _DISPATCH_AT_ONCE == 0:
                    await asyncio.sleep(0)


async def _back_off(failures: int, error: Exception) -> None:
    await back_off(log, "live.database_away", failures, error, at_most_s=_BACKOFF_AT_MOST_S)


def _is_outage(error: asyncpg.PostgresError) -> bool:
    """Whether the server went away or is not ready, rather than refusing the statement."""
    return isinstance(
        error, asyncpg.PostgresConnectionError | asyncpg.OperatorInterventionError | asyncpg.InsufficientResourcesError
    )
