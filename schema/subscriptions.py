"""Guests' standing orders for plans.

`Subscription` is GraphQL's own root type, so the billing one is BillingSubscription.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.events import EventSubject
from models.subscriptions import BillingSubscription as BillingSubscriptionRow
from schema import dunning, invoices, payments, subscription_changes
from schema.context import Info
from schema.described import field, object_type
from schema.enums import BillingSubscriptionStatus
from schema.ids import global_id
from schema.money import Money
from schema.nodes import Node
from schema.pages import After, Before, Connection, First, Last, page_request
from schema.plans import Plan
from schema.users import User
from services.viewer import Role

if TYPE_CHECKING:
    from schema.dunning import PaymentRecovery
    from schema.invoices import InvoiceConnection
    from schema.payments import NextAction
    from schema.subscription_changes import BillingSubscriptionChangeConnection


@object_type
class BillingSubscription(Node):
    """A guest's standing order for a plan. Visible to the guest and to the platform."""

    status: BillingSubscriptionStatus = strawberry.field(description="Where it stands.")
    version: int = strawberry.field(description="Grows by one with each change: the larger is the later.")
    stripe_subscription_id: str | None = strawberry.field(description="Stripe's id (sub_…), once Stripe knows of it.")
    current_period_start: datetime | None = strawberry.field(description="When the period that it is in began.")
    current_period_end: datetime | None = strawberry.field(description="When that period ends.")
    trial_end: datetime | None = strawberry.field(description="When its trial ends or ended; null where it had none.")
    cancel_at_period_end: bool = strawberry.field(
        description="Whether it ends with its period; until then `resumeSubscription` takes that back."
    )
    cancel_at: datetime | None = strawberry.field(description="When it is to end; null where it goes on.")
    canceled_at: datetime | None = strawberry.field(description="When it was canceled, to end at once or later.")
    ended_at: datetime | None = strawberry.field(description="When it ended for good.")
    paused_at: datetime | None = strawberry.field(description="When it was paused; null where it is not.")
    resumes_at: datetime | None = strawberry.field(
        description="When it goes on by itself; null where it is not paused, or until it is resumed."
    )
    next_payment_attempt: datetime | None = strawberry.field(
        description="When the next try at a failed invoice is due; null where there is none."
    )
    created_at: datetime = strawberry.field(description="When it was asked for.")
    updated_at: datetime = strawberry.field(description="When it last changed.")
    row: strawberry.Private[BillingSubscriptionRow]

    @classmethod
    def of(cls, row: BillingSubscriptionRow) -> BillingSubscription:
        """From its row."""
        return cls(
            id=global_id("BillingSubscription", row.id),
            status=row.status,
            version=row.version,
            stripe_subscription_id=row.stripe_subscription_id,
            current_period_start=row.current_period_start,
            current_period_end=row.current_period_end,
            trial_end=row.trial_end,
            cancel_at_period_end=row.cancel_at_period_end,
            cancel_at=row.cancel_at,
            canceled_at=row.canceled_at,
            ended_at=row.ended_at,
            paused_at=row.paused_at,
            resumes_at=row.resumes_at,
            next_payment_attempt=row.next_payment_attempt,
            created_at=row.created_at,
            updated_at=row.updated_at,
            row=row,
        )

    @field
    async def user(self, info: Info) -> User:
        """Whose it is."""
        return User.of(await info.context.loaders.users.load(self.row.user_id))

    @field
    async def plan(self, info: Info) -> Plan:
        """What it grants now."""
        return Plan.of(await info.context.loaders.plans.load(self.row.plan_id))

    @field
    async def price(self, info: Info) -> Money:
        """What a period of it costs, before discounts: the plan may have another price by now for new subscribers."""
        price = await info.context.loaders.plan_prices.load(self.row.price_id)
        return Money.of(price.amount_in(self.row.currency) or price.amount)

    @field
    async def next_plan(self, info: Info) -> Plan | None:
        """What takes the plan's place when the period ends, or once its invoice is paid; null where nothing does."""
        if self.row.next_price_id is None:
            return None
        price = await info.context.loaders.plan_prices.load(self.row.next_price_id)
        return Plan.of(await info.context.loaders.plans.load(price.plan_id))

    @field
    async def client_secret(self, info: Info) -> str | None:
        """What Stripe.js needs to confirm its payment, or to save a card in a trial. For its guest alone."""
        return self.row.client_secret if self.row.client_secret and await self._is_guest(info) else None

    @field
    async def next_action(self, info: Info) -> Annotated[NextAction, strawberry.lazy("schema.payments")] | None:
        """What the guest must still do; null where there is nothing."""
        action = self.row.next_action
        if action is None:
            return None
        url = action.get("redirect_url")
        shown = url if url and await self._is_guest(info) else None
        return payments.NextAction(type=action["type"], redirect_url=shown)

    @field
    async def invoices(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Annotated[InvoiceConnection, strawberry.lazy("schema.invoices")]:
        """What was billed for it, newest first."""
        request = page_request(first=first, after=after, last=last, before=before)
        page = await info.context.loaders.invoices_of_subscriptions.load((self.row.id, request))
        return invoices.InvoiceConnection.of(page, invoices.Invoice.of)

    @field
    async def history(
        self, info: Info, first: First = None, after: After = None
    ) -> Annotated[BillingSubscriptionChangeConnection, strawberry.lazy("schema.subscription_changes")]:
        """Every change, its creation first: the same rows that `subscriptionStatusChanged` carries."""
        page = await info.context.loaders.histories.load((EventSubject.SUBSCRIPTION, self.row.id, first, after))
        return subscription_changes.BillingSubscriptionChangeConnection.of_changes(page)

    @field
    async def dunning(self, info: Info) -> Annotated[PaymentRecovery, strawberry.lazy("schema.dunning")] | None:
        """What is done about a renewal that could not be collected; null where there is none."""
        recovery = await info.context.loaders.recoveries.load(self.row.id)
        return None if recovery is None else dunning.PaymentRecovery.of(recovery)

    async def _is_guest(self, info: Info) -> bool:
        viewer = info.context.viewer
        if viewer is None or viewer.role is not Role.USER:
            return False
        user = await info.context.loaders.users.load(self.row.user_id)
        return user.external_id == viewer.external_id


@object_type
class BillingSubscriptionConnection(Connection[BillingSubscription]):
    """A page of subscriptions, newest first."""
