"""An audit trail to be sealed, and somebody who may do with the database what they like."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from models.audit import AuditEntry
from models.base import new_id, new_row
from models.sets import insert_rows
from services.audit.sealing import seal_next

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import asyncpg

    from services.audit.hashing import SealFacts


def entry(number: int = 0, **values: Any) -> AuditEntry:
    """An entry that has not been written."""
    known = {
        "id": new_id(), "actor": "user:gräfin", "action": "payment.succeeded", "subject_type": "PAYMENT",
        "subject_id": new_id(), "before": {"status": "PENDING"}, "after": {"status": "SUCCEEDED", "number": number},
    }  # fmt: skip
    return new_row(AuditEntry, **{**known, **values})


async def record(connection: asyncpg.Connection[Any], count: int, *, together: int = 1) -> list[UUID]:
    """Write so many entries, some together in each transaction; their ids in the order of the trail."""
    entries = [entry(number) for number in range(count)]
    for at in range(0, count, together):
        await insert_rows(connection, AuditEntry, entries[at : at + together])
    return [entry.id for entry in entries]


async def seal_all(connection: asyncpg.Connection[Any], *, batch: int = 4) -> list[SealFacts]:
    """Seal what can be; the seals that were made."""
    seals = []
    while (seal := await seal_next(connection, lambda: datetime.now(UTC), batch=batch)) is not None:
        seals.append(seal)
    return seals


@asynccontextmanager
async def tampering(connection: asyncpg.Connection[Any]) -> AsyncIterator[None]:
    """As a superuser, whom no trigger stops."""
    await connection.execute("SET session_replication_role = replica")
    yield
    await connection.execute("SET session_replication_role = DEFAULT")
