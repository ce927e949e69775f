"""What the guests of a cancellation have got back."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from services.core import Services

_REFUNDED = """
SELECT i.cancellation_id, r.currency, sum(r.amount_minor)::bigint AS minor
FROM activity_cancellation_items i JOIN refunds r ON r.id = i.refund_id
WHERE i.cancellation_id = ANY($1) AND i.outcome = 'REFUNDED'
GROUP BY i.cancellation_id, r.currency ORDER BY r.currency
"""


async def refunded_by(services: Services, cancellation_ids: Sequence[UUID]) -> Mapping[UUID, list[Money]]:
    """What the guests of each cancellation have got back of it, or is on its way to them, by currency."""
    sums: defaultdict[UUID, list[Money]] = defaultdict(list)
    for record in await services.database.pool.fetch(_REFUNDED, list(cancellation_ids)):
        sums[record["cancellation_id"]].append(Money(record["minor"], record["currency"]))
    return sums
