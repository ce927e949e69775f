"""What of a cancellation can be read: its items by page, and what its guests have got."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from models.activity_cancellations import ActivityCancellationItem
from models.base import from_record
from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from models.activity_cancellations import CancellationOutcome
    from services.core import Services
    from services.pages import Page, PageRequest

_REFUNDED = """
SELECT i.cancellation_id, r.currency, sum(r.amount_minor)::bigint AS minor
FROM activity_cancellation_items i JOIN refunds r ON r.id = i.refund_id
WHERE i.cancellation_id = ANY($1) AND i.outcome = 'REFUNDED'
GROUP BY i.cancellation_id, r.currency ORDER BY r.currency
"""


async def list_items(
    services: Services, cancellation_id: UUID, *, outcome: CancellationOutcome | None, page: PageRequest
) -> Page[ActivityCancellationItem]:
    """A page of a cancellation's items, those of one outcome where it is given; for whoever may see it."""
    keys, values = page.conditions("i.id", 2 if outcome is None else 3)
    wanted = "" if outcome is None else " AND i.outcome = $2"
    sql = (
        f"SELECT i.* FROM activity_cancellation_items i WHERE i.cancellation_id = $1{wanted}{keys}{page.order('i.id')}"
    )
    given = [] if outcome is None else [outcome.value]
    records = await services.database.pool.fetch(sql, cancellation_id, *given, *values)
    return page.page([from_record(ActivityCancellationItem, record) for record in records])


async def refunded_by(services: Services, cancellation_ids: Sequence[UUID]) -> Mapping[UUID, list[Money]]:
    """What the guests of each cancellation have got back of it, or is on its way to them, by currency."""
    sums: defaultdict[UUID, list[Money]] = defaultdict(list)
    for record in await services.database.pool.fetch(_REFUNDED, list(cancellation_ids)):
        sums[record["cancellation_id"]].append(Money(record["minor"], record["currency"]))
    return sums
