"""What another plan would cost, from Stripe's preview of the invoices ("Create a preview invoice")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.money import Money
from services.connect.calls import call_stripe
from services.errors import OperationInProgress
from services.subscription_requests import preview_change, preview_period, preview_price
from services.subscriptions.access import RETRY_AFTER_S, visible_subscription
from services.subscriptions.plan_changes import plan_change

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.core import Services
    from services.viewer import Viewer

_REFUSED = "Stripe cannot say what this would cost."


@dataclass(frozen=True, slots=True)
class PlanChangePreview:
    """What is charged at once, with what is given back taken off; what a period costs from then on; and when."""

    due_now: Money
    credit: Money
    next_invoice: Money
    immediately: bool
    effective_at: datetime


async def plan_change_preview(
    services: Services, *, viewer: Viewer, subscription_id: UUID, plan_id: UUID
) -> PlanChangePreview:
    """What `change_subscription_plan` would charge, in the subscription's currency; nothing changes.

    Raises: NotFound, InvalidInput, InvalidState, OperationInProgress, StripeUnavailable.
    """
    async with services.database.transaction() as connection:
        row = await visible_subscription(connection, viewer, subscription_id, path=["subscriptionId"])
        change = await plan_change(connection, row, plan_id, path=["planId"])
        customer = await connection.fetchval("SELECT stripe_customer_id FROM users WHERE id = $1", row.user_id)
    ids = row.stripe_subscription_id, row.stripe_item_id, change.after.stripe_price_id
    start, end = row.current_period_start, row.current_period_end
    if None in ids or customer is None or start is None or end is None:
        raise OperationInProgress(retry_after_seconds=RETRY_AFTER_S)
    id_, item, price = (str(part) for part in ids)
    # Stripe's clock may be behind ours, and ours behind Stripe's.
    now = min(max(services.clock(), start), end)
    due = credit = Money.zero(row.currency)
    if change.is_billed_now:
        request = preview_change(id_, item=item, price=price, at=int(now.timestamp()))
        invoice = await call_stripe(services, request, _REFUSED)
        due, credit = Money.from_wire(invoice["amount_due"], invoice["currency"]), _credit(invoice)
    request = preview_period(id_, item=item, price=price)
    if row.stripe_schedule_id is not None:
        # Stripe would show what is planned, which the change drops.
        request = preview_price(customer=customer, currency=row.currency, price=price)
    period = await call_stripe(services, request, _REFUSED)
    return PlanChangePreview(
        due_now=due, credit=credit, next_invoice=Money.from_wire(period["total"], period["currency"]),
        immediately=change.immediately, effective_at=now if change.immediately else end,
    )  # fmt: skip


def _credit(invoice: dict[str, Any]) -> Money:
    """What the lines give back for time that was paid for and is not used."""
    given_back = sum(-line["amount"] for line in invoice["lines"]["data"] if line["amount"] < 0)
    return Money.from_wire(given_back, invoice["currency"])
