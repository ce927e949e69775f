"""Subscriptions as lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.subscriptions import BillingSubscription

if TYPE_CHECKING:
    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer


async def list_own_subscriptions(
    services: Services, *, viewer: Viewer, page: PageRequest
) -> Page[BillingSubscription]:
    """A page of the viewer's own subscriptions, those that have ended too, newest first."""
    keys, values = page.conditions("s.id", 2)
    me = "(SELECT id FROM users WHERE external_id = $1)"
    sql = f"SELECT s.* FROM subscriptions s WHERE s.user_id = {me}{keys}{page.order('s.id')}"
    records = await services.database.pool.fetch(sql, viewer.external_id, *values)
    return page.page([from_record(BillingSubscription, record) for record in records])
