"""Cancelling an activity: it takes no more payments from then on, and a job gives everybody's money back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.activities import Activity
from models.activity_cancellations import (
    ActivityCancellation,
    ActivityCancellationItem,
    CancellationStatus,
)
from models.base import from_record, new_id, new_row
from models.rsvps import RsvpStatus
from models.sets import insert_rows
from services.activity_cancellation.progress import count, record_change
from services.changes import ChangeSet
from services.errors import InvalidState, NotFound
from services.text import check_text
from services.viewer import Role

if TYPE_CHECKING:
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

REASON_LENGTH: Final = 1000

_LOCK: Final = """
SELECT a.*, pg_current_xact_id()::text::bigint AS xid FROM activities a WHERE id = $1 FOR NO KEY UPDATE
"""
_KNOWN: Final = "SELECT * FROM activity_cancellations WHERE activity_id = $1"
# Nobody can begin to pay once the activity is locked and canceled: these are all.
_OPEN: Final = "SELECT id FROM payments WHERE activity_id = $1 AND status NOT IN ('CANCELED', 'REFUNDED') ORDER BY id"
# What is paid loses its seats here; what is not gives them back when Stripe has canceled its payment.
_GIVE_BACK: Final = """
WITH given AS (
    UPDATE rsvps SET status = 'CANCELED', hold_expires_at = NULL, updated_at = now()
    WHERE activity_id = $1 AND status = 'CONFIRMED' RETURNING id, quantity
), canceled AS (
    UPDATE activities SET canceled_at = $2, updated_at = now(),
        seats_taken = seats_taken - coalesce((SELECT sum(quantity)::int FROM given), 0)
    WHERE id = $1
)
SELECT id FROM given ORDER BY id
"""
_TRY_AGAIN: Final = """
UPDATE activity_cancellation_items SET outcome = 'PENDING', error = NULL, next_attempt_at = NULL, updated_at = now()
WHERE cancellation_id = $1 AND outcome = 'FAILED'
"""


async def cancel_activity(
    services: Services, *, viewer: Viewer, activity_id: UUID, reason: str | None
) -> ActivityCancellation:
    """Call an activity off: no more payments, no seats, and everybody's money back.

    An activity is canceled once: asked for again, the answer is the same cancellation as it is now. What has to be done
    for each payment is written down here, and done by a job (services/activity_cancellation/working.py).

    Raises: Forbidden for users; NotFound; InvalidInput.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    if reason is not None:
        check_text("reason", reason, length_max=REASON_LENGTH)
    async with services.database.transaction() as connection:
        record: Any = await connection.fetchrow(_LOCK, activity_id)
        if record is None:
            raise NotFound("There is no such activity.", path=["input", "activityId"])
        known = await connection.fetchrow(_KNOWN, activity_id)
        if known is not None:
            return from_record(ActivityCancellation, known)
        activity = from_record(Activity, record)
        changes = ChangeSet(viewer.caller, record["xid"])
        cancellation = await _begin(services, connection, viewer, activity, reason, changes)
        await changes.write(connection)
    services.live.wake()
    return cancellation


async def _begin(
    services: Services, connection: AnyConnection, viewer: Viewer, activity: Activity, reason: str | None,
    changes: ChangeSet,
) -> ActivityCancellation:  # fmt: skip
    """Write the cancellation and an item for each payment that has still to be dealt with."""
    now = services.clock()
    payments = await connection.fetch(_OPEN, activity.id)
    cancellation = new_row(
        ActivityCancellation,
        id=new_id(), activity_id=activity.id, reason=reason, requested_by=viewer.caller, total=len(payments),
        status=CancellationStatus.RUNNING if payments else CancellationStatus.FINISHED,
        finished_at=None if payments else now,
    )  # fmt: skip
    items = [
        new_row(ActivityCancellationItem, id=new_id(), cancellation_id=cancellation.id, payment_id=payment["id"])
        for payment in payments
    ]
    changes.audit(
        "activity.canceled", "ACTIVITY", activity.id, before={"canceled_at": None},
        after={"canceled_at": now.isoformat(), "reason": reason},
    )  # fmt: skip
    for rsvp in await connection.fetch(_GIVE_BACK, activity.id, now):
        changes.audit(
            "rsvp.canceled", "RSVP", rsvp["id"],
            before={"status": RsvpStatus.CONFIRMED.value}, after={"status": RsvpStatus.CANCELED.value},
        )  # fmt: skip
    record_change(changes, cancellation, "activity_cancellation.began", None, host_id=activity.host_id)
    await insert_rows(connection, ActivityCancellation, [cancellation])
    await insert_rows(connection, ActivityCancellationItem, items)
    stored: Any = await connection.fetchrow(_KNOWN, activity.id)
    return from_record(ActivityCancellation, stored)


async def retry_cancellation(services: Services, *, viewer: Viewer, activity_id: UUID) -> ActivityCancellation:
    """Try again to give their money back to those who could not get it; those who have it are left alone.

    Raises: Forbidden for users; NotFound; InvalidState where the activity is not canceled.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    async with services.database.transaction() as connection:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM activities WHERE id = $1)", activity_id):
            raise NotFound("There is no such activity.", path=["input", "activityId"])
        id_ = await connection.fetchval(
            "SELECT id FROM activity_cancellations WHERE activity_id = $1 FOR NO KEY UPDATE", activity_id
        )
        if id_ is None:
            raise InvalidState("This activity is not canceled.", state="NOT_CANCELED", path=["input", "activityId"])
        await connection.execute(_TRY_AGAIN, id_)
        cancellation, _ = await count(services, connection, id_, actor=viewer.caller)
    services.live.wake()
    return cancellation
