"""Whether the audit trail is what was sealed: everything is computed anew, seal by seal, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from models.audit import unpack_leaves
from models.merkle import merkle_root
from services.audit.hashing import ENTRY_COLUMNS, NO_SEAL, SealFacts, content_hash, record_content, seal_hash
from services.audit.sealing import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection

    Sealed = tuple[UUID, bytes]

_ENTRIES: Final = f"""
SELECT {ENTRY_COLUMNS} FROM audit_entries
WHERE (position, id) > ($1::bigint, $2::uuid) AND (position, id) <= ($3::bigint, $4::uuid)
ORDER BY position, id LIMIT $5
"""

_REST: Final = """
SELECT count(*) AS entries, min(created_at) AS oldest,
    (array_agg(id ORDER BY position, id) FILTER (
        WHERE position >= audit_position(pg_snapshot_xmax(pg_current_snapshot()))))[1] AS impossible
FROM audit_entries WHERE (position, id) > ($1::bigint, $2::uuid)
"""


class Misfit(StrEnum):
    """How a row does not fit."""

    CHANGED = "changed"
    DELETED = "deleted"
    INSERTED = "inserted"
    REORDERED = "re-ordered"
    SEAL_CHANGED = "seal changed"
    SEAL_REMOVED = "seal removed"
    SEAL_RELINKED = "seal re-linked"


@dataclass(frozen=True, slots=True)
class Head:
    """A seal as somebody keeps it elsewhere: whoever can write the database cannot rewrite what stands before it."""

    number: int
    hash: bytes

    @classmethod
    def parse(cls, text: str) -> Head:
        """From "812:5f3c…".

        Raises: ValueError.
        """
        number, _, digest = text.partition(":")
        hash_ = bytes.fromhex(digest)
        if not number.isascii() or not number.isdigit() or len(hash_) != len(NO_SEAL):
            raise ValueError("a head is a seal's number, a colon and its hash in hexadecimal")
        return cls(int(number), hash_)

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first row that does not fit: how, which (an entry's id, a seal's number), and in words."""

    misfit: Misfit
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at, and what was found; with a finding, what was looked at before it."""

    seals: int
    entries: int
    head: Head | None
    unsealed: int
    oldest_unsealed: datetime | None
    finding: Finding | None


class _MisfitError(Exception):
    def __init__(self, misfit: Misfit, subject: UUID | int, detail: str) -> None:
        super().__init__(detail)
        self.finding = Finding(misfit, str(subject), detail)


async def count_sealed(connection: AnyConnection, *, from_seal: int = 1) -> int:
    """How many entries `verify` will look at, as the seals say."""
    sql = "SELECT coalesce(sum(count), 0)::bigint FROM audit_seals WHERE number >= $1"
    entries: int = await connection.fetchval(sql, from_seal)
    return entries


async def verify(
    connection: AnyConnection,
    *,
    from_seal: int = 1,
    head: Head | None = None,
    progress: Callable[[int], None] = lambda entries: None,
) -> AuditReport:
    """Compute every seal and every sealed entry anew, and name the first row that does not fit.

    Args:
        connection: reads alone; a replica will do.
        from_seal: the first seal to look at; the one before it is believed as it is.
        head: a seal that was kept elsewhere, which has to be there still.
        progress: told how many entries have been looked at.

    Raises: LookupError where the seal before `from_seal` is not there.
    """
    walk = _Walk(connection, progress)
    try:
        await walk.begin(from_seal)
        await walk.run()
        await walk.compare(head)
        unsealed, oldest = await walk.rest()
    except _MisfitError as misfit:
        return AuditReport(walk.seals, walk.entries, walk.head, 0, None, misfit.finding)
    return AuditReport(walk.seals, walk.entries, walk.head, unsealed, oldest, None)


class _Walk:
    """One pass along the chain."""

    def __init__(self, connection: AnyConnection, progress: Callable[[int], None]) -> None:
        self._connection = connection
        self._progress = progress
        self._number, self._hash, self._end = 0, NO_SEAL, NOWHERE
        self.seals = 0
        self.entries = 0

    @property
    def head(self) -> Head | None:
        """The last seal that fitted."""
        return Head(self._number, self._hash) if self._number else None

    async def begin(self, from_seal: int) -> None:
        """Stand at the end of the seal before."""
        if from_seal == 1:
            return
        before = await self._seal("number = $1", from_seal - 1)
        if before is None:
            raise LookupError(f"There is no seal {from_seal - 1} to start after.")
        self._pass(before[0])

    async def run(self) -> None:
        """Look at each seal that is there by now."""
        newest: int = await self._connection.fetchval("SELECT coalesce(max(number), 0) FROM audit_seals")
        while self._number < newest:
            following = await self._seal("number > $1 ORDER BY number LIMIT 1", self._number)
            if following is None:
                return
            seal, leaves = following
            await self._check_link(seal)
            sealed = _check_leaves(seal, leaves)
            await self._check_entries(seal, sealed)
            self._pass(seal)
            self.seals += 1
            self.entries += seal.count
            self._progress(self.entries)

    async def compare(self, head: Head | None) -> None:
        """Hold the chain against what was kept elsewhere."""
        if head is None:
            return
        there = await self._seal("number = $1", head.number)
        if there is None:
            raise _MisfitError(
                Misfit.SEAL_REMOVED, head.number, f"it was kept elsewhere; the newest that is there is {self._number}"
            )
        if there[0].hash != head.hash:
            raise _MisfitError(
                Misfit.SEAL_CHANGED, head.number,
                "it is not the one that was kept elsewhere: something up to it was rewritten, and all seals since",
            )  # fmt: skip

    async def rest(self) -> tuple[int, datetime | None]:
        """How many entries come after the last seal, and since when."""
        record = await self._connection.fetchrow(_REST, *self._end)
        assert record is not None
        if record["impossible"] is not None:
            detail = "it stands after transactions that have not begun yet, where nothing is ever sealed"
            raise _MisfitError(Misfit.INSERTED, record["impossible"], detail)
        return record["entries"], record["oldest"]

    def _pass(self, seal: SealFacts) -> None:
        self._number, self._hash, self._end = seal.number, seal.hash, (seal.last_position, seal.last_id)

    async def _seal(self, condition: str, number: int) -> tuple[SealFacts, bytes] | None:
        """A seal, and what it keeps of its entries."""
        record = await self._connection.fetchrow(f"SELECT * FROM audit_seals WHERE {condition}", number)
        return None if record is None else (SealFacts.of(record), record["leaves"])

    async def _check_link(self, seal: SealFacts) -> None:
        """Whether a seal is the next one, as it was made."""
        if seal.number != self._number + 1:
            raise _MisfitError(Misfit.SEAL_REMOVED, self._number + 1, f"the next one that is there is {seal.number}")
        is_whole = seal_hash(seal.content) == seal.hash
        if seal.previous_hash == self._hash:
            if not is_whole:
                raise _MisfitError(Misfit.SEAL_CHANGED, seal.number, "its hash is not that of what it says")
            return
        following = await self._seal("number = $1", seal.number + 1)
        if is_whole and self._number and (following is None or following[0].previous_hash == seal.hash):
            # As far as can be told it stands as it was made: the one before it does not.
            detail = f"seal {seal.number} was made after another seal {self._number} than is there"
            raise _MisfitError(Misfit.SEAL_CHANGED, self._number, detail)
        raise _MisfitError(
            Misfit.SEAL_RELINKED, seal.number, f"it does not follow seal {self._number} as that is there"
        )

    async def _check_entries(self, seal: SealFacts, sealed: list[Sealed]) -> None:
        """Whether the entries up to the end of a seal are those that it sealed."""
        records = await self._connection.fetch(
            _ENTRIES, *self._end, seal.last_position, seal.last_id, len(sealed) + 1
        )
        found = [(record["id"], content_hash(record_content(record))) for record in records]
        if found == sealed:
            return
        at = next((at for at, pair in enumerate(zip(found, sealed, strict=False)) if pair[0] != pair[1]), None)
        if at is None:
            at = min(len(found), len(sealed))
        raise await self._misfit(seal, _Place(found[at:], sealed[at:]))

    async def _misfit(self, seal: SealFacts, place: _Place) -> _MisfitError:
        there, wanted = place.there, place.wanted
        if there is not None and wanted is not None:
            if there[0] == wanted[0]:
                return _MisfitError(Misfit.CHANGED, there[0], f"it is not what seal {seal.number} sealed")
            if there[1] == wanted[1]:
                return _MisfitError(Misfit.SEAL_CHANGED, seal.number, f"it lists {wanted[0]} in place of {there[0]}")
        if wanted is not None and not await self._exists(wanted[0]):
            return _MisfitError(Misfit.DELETED, wanted[0], f"seal {seal.number} sealed it")
        home = None if there is None else await self._home(there[0])
        if there is not None and home is None:
            detail = f"it stands before the end of seal {seal.number} and is in no seal"
            return _MisfitError(Misfit.INSERTED, there[0], detail)
        if wanted is not None and (there is None or place.is_taken_out):
            return _MisfitError(Misfit.REORDERED, wanted[0], f"it does not stand where seal {seal.number} sealed it")
        assert there is not None
        return _MisfitError(Misfit.REORDERED, there[0], f"it does not stand where seal {home} sealed it")

    async def _exists(self, id_: UUID) -> bool:
        return bool(await self._connection.fetchval("SELECT EXISTS (SELECT FROM audit_entries WHERE id = $1)", id_))

    async def _home(self, id_: UUID) -> int | None:
        """The seal that an entry is in: a look through all of them, taken once, when something is wrong."""
        sql = "SELECT number FROM audit_seals WHERE position($1::bytea IN leaves) > 0 ORDER BY number LIMIT 1"
        number: int | None = await self._connection.fetchval(sql, id_.bytes)
        return number


@dataclass(frozen=True, slots=True)
class _Place:
    """Where what is there and what was sealed part: both from there on."""

    found: list[Sealed]
    sealed: list[Sealed]

    @property
    def there(self) -> Sealed | None:
        return self.found[0] if self.found else None

    @property
    def wanted(self) -> Sealed | None:
        return self.sealed[0] if self.sealed else None

    @property
    def is_taken_out(self) -> bool:
        """Whether what was sealed here stands elsewhere, and the next has moved up."""
        return self.found[:1] == self.sealed[1:2]


def _check_leaves(seal: SealFacts, leaves: bytes) -> list[Sealed]:
    """What a seal keeps of its entries, if that is what it says of them."""
    sealed = unpack_leaves(leaves)
    ends = [sealed[0][0], sealed[-1][0]] if sealed else []
    if len(sealed) != seal.count or ends != [seal.first_id, seal.last_id]:
        raise _MisfitError(Misfit.SEAL_CHANGED, seal.number, "it does not list the entries that it counts")
    if merkle_root([hash_ for _, hash_ in sealed]) != seal.root:
        raise _MisfitError(Misfit.SEAL_CHANGED, seal.number, "its root is not that of the entries that it lists")
    return sealed
