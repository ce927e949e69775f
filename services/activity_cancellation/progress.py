"""How far a cancellation has come: counted from its items, told as events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.activity_cancellations import ActivityCancellation, CancellationStatus
from models.base import from_record
from models.events import EventSubject
from models.sets import update_rows
from services.changes import ChangeSet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services

_LOCK = """
SELECT c.*, a.host_id, pg_current_xact_id()::text::bigint AS xid
FROM activity_cancellations c JOIN activities a ON a.id = c.activity_id WHERE c.id = $1 FOR NO KEY UPDATE OF c
"""
# Read once the cancellation is locked: whoever held it may have changed these.
_COUNT = """
SELECT count(*) AS total, count(*) FILTER (WHERE outcome <> 'PENDING') AS done,
    count(*) FILTER (WHERE outcome = 'FAILED') AS failed
FROM activity_cancellation_items WHERE cancellation_id = $1
"""
_COLUMNS = ("status", "total", "done", "failed", "version", "position", "finished_at")


def snapshot(cancellation: ActivityCancellation) -> dict[str, Any]:
    """What of a cancellation changes."""
    return {
        "status": cancellation.status.value,
        "total": cancellation.total,
        "done": cancellation.done,
        "failed": cancellation.failed,
    }


def record_change(
    changes: ChangeSet, cancellation: ActivityCancellation, action: str, before: Mapping[str, Any] | None,
    *, host_id: UUID,
) -> None:  # fmt: skip
    """Record that a cancellation is no longer what `before` (a `snapshot`; None: it began) says."""
    changes.record(
        EventSubject.ACTIVITY_CANCELLATION,
        cancellation,
        action,
        previous_status=None if before is None else before["status"],
        status=cancellation.status.value,
        before=before,
        after=snapshot(cancellation),
        host_id=host_id,
        activity_id=cancellation.activity_id,
    )


async def note_progress(services: Services, cancellation_id: UUID, *, actor: str) -> ActivityCancellation:
    """Count what has been done, and tell of it where it has changed; a cancellation whose last item is done ends.

    One whose items are to be tried again is under way again.
    """
    async with services.database.transaction() as connection:
        cancellation, told = await count(services, connection, cancellation_id, actor=actor)
    if told:
        services.live.wake()
    return cancellation


async def count(
    services: Services, connection: AnyConnection, cancellation_id: UUID, *, actor: str
) -> tuple[ActivityCancellation, bool]:
    """As `note_progress`, inside a transaction that changed items; and whether anything has changed."""
    record: Any = await connection.fetchrow(_LOCK, cancellation_id)
    cancellation = from_record(ActivityCancellation, record)
    before = snapshot(cancellation)
    counted: Any = await connection.fetchrow(_COUNT, cancellation_id)
    cancellation.total, cancellation.done, cancellation.failed = counted["total"], counted["done"], counted["failed"]
    is_done = cancellation.done == cancellation.total
    cancellation.status = CancellationStatus.FINISHED if is_done else CancellationStatus.RUNNING
    if snapshot(cancellation) == before:
        return cancellation, False
    if before["status"] != cancellation.status:
        cancellation.finished_at = services.clock() if is_done else None
    changes = ChangeSet(actor, record["xid"])
    record_change(changes, cancellation, "activity_cancellation.progressed", before, host_id=record["host_id"])
    await update_rows(connection, ActivityCancellation, [cancellation], _COLUMNS)
    await changes.write(connection)
    return cancellation, True
