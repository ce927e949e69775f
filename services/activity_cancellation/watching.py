"""What happens to a payment after its item was dealt with: refunds that come back, disputes that end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.activity_cancellations import ActivityCancellationItem, CancellationOutcome
from models.base import new_id, new_row
from models.sets import insert_rows
from services.activity_cancellation.deciding import came_back
from services.activity_cancellation.progress import note_progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.core import Services

_ACTOR: Final = "service:system:cancellations"
_CAME_BACK_DAYS: Final = 30
"""How long ago a refund may have come back that this looks for; it looks every so many seconds."""
_WAITED_FOR_DAYS: Final = 365
"""How long a failure is tried again by itself: disputes end within months. After that by hand alone."""
_DECIDED_DAYS: Final = 30
"""How long ago a dispute may have changed that gives something back to be refunded."""

# A refund can fail after it succeeded ("Handle failed refunds"): its guest is then one of those without their money.
# One who had it back before the activity was canceled has no item yet.
_CAME_BACK: Final = """
SELECT DISTINCT ON (p.id) i.id, c.id AS cancellation_id, p.id AS payment_id, r.id AS refund_id, r.failure_reason
FROM refunds r JOIN payments p ON p.id = r.payment_id
JOIN activity_cancellations c ON c.activity_id = p.activity_id
LEFT JOIN activity_cancellation_items i ON i.payment_id = p.id
WHERE r.status IN ('FAILED', 'CANCELED') AND r.updated_at > now() - make_interval(days => $1)
    AND (i.id IS NULL OR i.outcome IN ('REFUNDED', 'NOTHING_TO_REFUND'))
    AND p.captured_minor - p.refunded_minor - p.refund_pending_minor - p.disputed_minor > 0
ORDER BY p.id, r.id DESC
"""
_NOTE_IT: Final = """
UPDATE activity_cancellation_items i SET outcome = 'FAILED', error = v.error, updated_at = now()
FROM unnest($1::uuid[], $2::text[]) AS v(id, error)
WHERE i.id = v.id AND i.outcome IN ('REFUNDED', 'NOTHING_TO_REFUND') RETURNING i.cancellation_id
"""
# One that could not even be begun, as of a payment that was disputed, is tried again when its payment changes; so is
# one that Stripe refused, as for a dispute that nobody here had heard of, and what was lost to a guest's bank and won
# back after all.
_REOPEN: Final = """
UPDATE activity_cancellation_items i SET outcome = 'PENDING', error = NULL, next_attempt_at = NULL, updated_at = now()
FROM payments p
WHERE i.id = ANY(ARRAY(
        SELECT id FROM activity_cancellation_items
        WHERE outcome = 'FAILED' AND updated_at > now() - make_interval(days => $1)
        UNION
        SELECT n.id FROM disputes d JOIN activity_cancellation_items n ON n.payment_id = d.payment_id
        WHERE d.updated_at > now() - make_interval(days => $2) AND n.outcome = 'NOTHING_TO_REFUND'))
    AND i.outcome IN ('FAILED', 'NOTHING_TO_REFUND') AND p.id = i.payment_id
    AND p.updated_at > i.updated_at
    AND NOT EXISTS (SELECT FROM refunds r WHERE r.id = i.refund_id AND r.stripe_refund_id IS NOT NULL)
    AND (i.outcome = 'FAILED' OR p.captured_minor - p.refunded_minor - p.refund_pending_minor - p.disputed_minor > 0)
RETURNING i.cancellation_id
"""


async def watch_canceled(services: Services) -> int:
    """Take in what has happened since to those who were dealt with.

    A refund that came back is among the failures from then on, to be tried again by hand; one that was never made is
    tried again by itself when its payment has changed.

    Returns: how many items are no longer what they were.
    """
    pool = services.database.pool
    returned = await pool.fetch(_CAME_BACK, _CAME_BACK_DAYS)
    noted = [record for record in returned if record["id"] is not None]
    changed = await _add(services, [record for record in returned if record["id"] is None])
    if noted:
        reasons = [came_back(record["failure_reason"]) for record in noted]
        changed += await pool.fetch(_NOTE_IT, [record["id"] for record in noted], reasons)
    changed += await pool.fetch(_REOPEN, _WAITED_FOR_DAYS, _DECIDED_DAYS)
    for id_ in sorted({record["cancellation_id"] for record in changed}):
        await note_progress(services, id_, actor=_ACTOR)
    return len(changed)


async def _add(services: Services, returned: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Make items of payments that needed none when their activity was canceled."""
    items = [
        new_row(
            ActivityCancellationItem,
            id=new_id(), cancellation_id=record["cancellation_id"], payment_id=record["payment_id"],
            outcome=CancellationOutcome.FAILED, refund_id=record["refund_id"],
            error=came_back(record["failure_reason"]),
        )
        for record in returned
    ]  # fmt: skip
    conflict = "ON CONFLICT DO NOTHING RETURNING cancellation_id"
    return list(await insert_rows(services.database.pool, ActivityCancellationItem, items, conflict=conflict))
