"""Plans as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.plans import Plan

if TYPE_CHECKING:
    from services.core import Services


async def list_plans(services: Services) -> list[Plan]:
    """What can be subscribed to now: active plans whose price is at Stripe, in the order in which they were made."""
    records = await services.database.pool.fetch(
        """
        SELECT p.* FROM plans p WHERE p.active
            AND EXISTS (SELECT FROM plan_prices c WHERE c.plan_id = p.id AND c.current) ORDER BY p.id
        """
    )
    return [from_record(Plan, record) for record in records]
