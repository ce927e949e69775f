"""Sealing the audit trail: a job, which costs the transactions that write entries no statement and no lock.

The order of entries is (position, id). A position is made by the database of the writing transaction's id, so what
services/event_stream.py says of the stream holds here too: below the oldest transaction that still runs everything is
committed, for ever. Seals go up to there and no further, so that no entry can turn up before the end of one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from models.audit import pack_leaves
from models.base import new_id
from models.merkle import merkle_root
from services.audit.hashing import ENTRY_COLUMNS, NO_SEAL, SealFacts, content_hash, record_content, seal_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from models.sets import AnyConnection
    from services.core import Services

log = structlog.get_logger("audit")

BATCH: Final = 1024
"""Entries that one seal holds at most: what a proof has to read, and the most that a killed process repeats."""
_SLICE: Final = 128
"""Entries that are hashed before others have their turn: payments may be served by the same process."""
_COUNTED_AT_MOST: Final = 100_000
NOWHERE: Final = (-1, UUID(int=0))
"""The place before every entry."""

_HORIZON: Final = "audit_position(pg_snapshot_xmin(pg_current_snapshot()))"

_NEWEST: Final = f"""
SELECT s.*, {_HORIZON} AS horizon
FROM (SELECT) one LEFT JOIN LATERAL (SELECT * FROM audit_seals ORDER BY number DESC LIMIT 1) s ON true
"""

_UNSEALED: Final = f"""
SELECT position, {ENTRY_COLUMNS} FROM audit_entries
WHERE (position, id) > ($1::bigint, $2::uuid) AND position < {_HORIZON}
ORDER BY position, id LIMIT $3
"""

_INSERT: Final = """
INSERT INTO audit_seals (id, created_at, number, first_position, first_id, last_position, last_id, count, root,
    previous_hash, hash, leaves)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""

_BACKLOG: Final = f"""
WITH newest AS (SELECT last_position, last_id FROM audit_seals ORDER BY number DESC LIMIT 1), unsealed AS (
    SELECT created_at FROM audit_entries WHERE (position, id) > (
        coalesce((SELECT last_position FROM newest), {NOWHERE[0]}),
        coalesce((SELECT last_id FROM newest), '{NOWHERE[1]}'))
    ORDER BY position, id LIMIT {_COUNTED_AT_MOST}
)
SELECT count(*) AS entries, min(created_at) AS oldest FROM unsealed
"""


class AuditOrderError(Exception):
    """New entries would stand before sealed ones: the database was restored where transaction ids are lower."""

    def __init__(self) -> None:
        super().__init__(
            "The audit trail goes further than this cluster's transaction ids: the database was restored into it."
            " Stop everything that writes and run `manage.py restored`."
        )


async def seal_entries(services: Services) -> int:
    """Seal all entries that can be, a batch after another, each in a transaction of its own.

    One process at a time may do it; where two do all the same, the database takes one seal of the two.

    Returns: how many were sealed.
    Raises: AuditOrderError.
    """
    sealed = 0
    while True:
        async with services.database.pool.acquire() as connection:
            seal = await seal_next(connection, services.clock)
        if seal is None:
            return sealed
        sealed += seal.count
        services.metrics.audit_sealed.inc(seal.count)
        # Beside the database, where whoever can change it cannot: what `manage.py audit verify --head` asks for.
        log.info("audit.sealed", number=seal.number, hash=seal.hash.hex(), entries=seal.count)


async def seal_next(
    connection: AnyConnection, clock: Callable[[], datetime], *, batch: int = BATCH
) -> SealFacts | None:
    """Seal the next entries, `batch` at most; None where none is left that can be sealed.

    Raises: AuditOrderError.
    """
    record = await connection.fetchrow(_NEWEST)
    assert record is not None
    newest = SealFacts.of(record) if record["id"] is not None else None
    if newest is not None and record["horizon"] <= newest.last_position:
        raise AuditOrderError
    after = NOWHERE if newest is None else (newest.last_position, newest.last_id)
    entries = await connection.fetch(_UNSEALED, *after, batch)
    if not entries:
        return None
    sealed = await _hashed(entries)
    seal = _seal(newest, entries, [hash_ for _, hash_ in sealed], clock())
    await connection.execute(
        _INSERT, new_id(), seal.sealed_at, seal.number, seal.first_position, seal.first_id, seal.last_position,
        seal.last_id, seal.count, seal.root, seal.previous_hash, seal.hash, pack_leaves(sealed),
    )  # fmt: skip
    return seal


async def newest_seal(connection: AnyConnection) -> SealFacts | None:
    """The end of the chain; None before anything was sealed."""
    record = await connection.fetchrow("SELECT * FROM audit_seals ORDER BY number DESC LIMIT 1")
    return None if record is None else SealFacts.of(record)


async def is_in_order(connection: AnyConnection) -> bool:
    """Whether new entries come after those that are sealed, as they do unless a restore was left unsaid."""
    sql = f"SELECT coalesce(max(last_position) < {_HORIZON}, true) FROM audit_seals"
    return bool(await connection.fetchval(sql))


async def measure_backlog(services: Services) -> None:
    """Say how many entries wait to be sealed, up to a hundred thousand, and for how long the first of them has."""
    record = await services.database.pool.fetchrow(_BACKLOG)
    assert record is not None
    oldest = record["oldest"]
    age_s = 0.0 if oldest is None else (services.clock() - oldest).total_seconds()
    services.metrics.audit_unsealed.set(record["entries"])
    services.metrics.audit_oldest_s.set(max(0.0, age_s))


async def raise_positions(connection: AnyConnection) -> None:
    """Let new entries stand after all that are there, where a restore left transaction ids below them.

    Inside a transaction, while nobody writes.
    """
    record = await connection.fetchrow(
        """
        SELECT pg_current_xact_id()::text::bigint AS xid, audit_position(pg_current_xact_id()) AS position,
            greatest((SELECT max(position) FROM audit_entries), (SELECT max(last_position) FROM audit_seals)) AS top
        """
    )
    assert record is not None
    if record["top"] is None or record["top"] < record["position"]:
        return
    # In the function itself: looked up in a table it would cost every entry a look.
    await connection.execute(
        f"""
        CREATE OR REPLACE FUNCTION audit_position(xid xid8) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
            AS $$ SELECT xid::text::bigint + {record["top"] + 1 - record["xid"]:d} $$
        """
    )


async def _hashed(entries: Sequence[Any]) -> list[tuple[UUID, bytes]]:
    sealed: list[tuple[UUID, bytes]] = []
    for at in range(0, len(entries), _SLICE):
        sealed += [(entry["id"], content_hash(record_content(entry))) for entry in entries[at : at + _SLICE]]
        await asyncio.sleep(0)
    return sealed


def _seal(newest: SealFacts | None, entries: Sequence[Any], leaves: list[bytes], at: datetime) -> SealFacts:
    first, last = entries[0], entries[-1]
    number, previous_hash = (1, NO_SEAL) if newest is None else (newest.number + 1, newest.hash)
    unhashed = SealFacts(
        number, previous_hash, merkle_root(leaves), len(leaves), first["position"], first["id"], last["position"],
        last["id"], at, b"",
    )  # fmt: skip
    return replace(unhashed, hash=seal_hash(unhashed.content))
