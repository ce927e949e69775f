"""What happens to a payment after its item was dealt with: refunds that come back, disputes that end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.activity_cancellation.deciding import came_back
from services.activity_cancellation.progress import note_progress

if TYPE_CHECKING:
    from services.core import Services

_ACTOR: Final = "service:system:cancellations"
_CAME_BACK_DAYS: Final = 30
"""How long ago a refund may have come back that this looks for; it looks every so many seconds."""

# A refund can fail after it succeeded ("Handle failed refunds"): its guest is then one of those without their money.
_CAME_BACK: Final = """
SELECT DISTINCT ON (i.id) i.id, i.cancellation_id, r.failure_reason FROM refunds r
JOIN activity_cancellation_items i ON i.payment_id = r.payment_id AND i.outcome IN ('REFUNDED', 'NOTHING_TO_REFUND')
JOIN payments p ON p.id = r.payment_id
WHERE r.status IN ('FAILED', 'CANCELED') AND r.updated_at > now() - make_interval(days => $1)
    AND p.captured_minor - p.refunded_minor - p.refund_pending_minor - p.disputed_minor > 0
ORDER BY i.id, r.id DESC
"""
_NOTE_IT: Final = """
UPDATE activity_cancellation_items i SET outcome = 'FAILED', error = v.error, updated_at = now()
FROM unnest($1::uuid[], $2::text[]) AS v(id, error)
WHERE i.id = v.id AND i.outcome IN ('REFUNDED', 'NOTHING_TO_REFUND') RETURNING i.cancellation_id
"""
# One that could not even be begun, as of a payment that was disputed, is tried again when its payment changes; so is
# what was lost to a guest's bank and won back after all.
_REOPEN: Final = """
UPDATE activity_cancellation_items i SET outcome = 'PENDING', error = NULL, next_attempt_at = NULL, updated_at = now()
FROM payments p
WHERE i.outcome IN ('FAILED', 'NOTHING_TO_REFUND') AND i.refund_id IS NULL AND p.id = i.payment_id
    AND p.updated_at > i.updated_at
    AND (i.outcome = 'FAILED' OR p.captured_minor - p.refunded_minor - p.refund_pending_minor - p.disputed_minor > 0)
RETURNING i.cancellation_id
"""


async def watch_canceled(services: Services) -> int:
    """Take in what has happened since to those who were dealt with.

    A refund that came back is among the failures from then on, to be tried again by hand; one that was never begun is
    tried again by itself when its payment has changed.

    Returns: how many items are no longer what they were.
    """
    pool = services.database.pool
    returned = await pool.fetch(_CAME_BACK, _CAME_BACK_DAYS)
    changed = []
    if returned:
        reasons = [came_back(record["failure_reason"]) for record in returned]
        changed += await pool.fetch(_NOTE_IT, [record["id"] for record in returned], reasons)
    changed += await pool.fetch(_REOPEN)
    for id_ in sorted({record["cancellation_id"] for record in changed}):
        await note_progress(services, id_, actor=_ACTOR)
    return len(changed)
