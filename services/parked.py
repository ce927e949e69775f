"""Operations that only a person can settle: what they called, and letting them go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.changes import ChangeSet

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection

_LIST = """
SELECT o.id, o.kind, o.caller, o.updated_at AS since, coalesce(array_agg(
    s.method || ' ' || s.path || ' ' || s.status || coalesce(' ' || s.stripe_object_id, '') ORDER BY s.id
) FILTER (WHERE s.id IS NOT NULL), '{}') AS calls
FROM operations o LEFT JOIN operation_steps s ON s.operation_id = o.id
WHERE o.status = 'PARKED' GROUP BY o.id ORDER BY o.id
"""
_RETRY = """
UPDATE operations SET status = 'RUNNING', attempts = 1, leased_until = now(), updated_at = now()
WHERE id = $1 AND status = 'PARKED' RETURNING pg_current_xact_id()::text::bigint AS xid
"""


@dataclass(frozen=True, slots=True)
class ParkedOperation:
    """One of them; `calls` are its requests to Stripe with what is known of each."""

    id: UUID
    kind: str
    caller: str
    since: datetime
    calls: list[str]


async def parked_operations(connection: AnyConnection) -> list[ParkedOperation]:
    """All of them, the oldest first."""
    return [ParkedOperation(**record) for record in await connection.fetch(_LIST)]


async def retry_parked(connection: AnyConnection, operation_id: UUID) -> bool:
    """Hand a parked operation back to the recovery job.

    Returns: whether there was one of this id.
    """
    async with connection.transaction():
        xid = await connection.fetchval(_RETRY, operation_id)
        if xid is None:
            return False
        changes = ChangeSet("operator", xid)
        changes.audit(
            "operation.retried", "OPERATION", operation_id, before={"status": "PARKED"}, after={"status": "RUNNING"}
        )
        await changes.write(connection)
    return True
