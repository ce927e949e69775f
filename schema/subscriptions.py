"""Billing subscriptions, what is sent in to make and change them, and what is answered.

`Subscription` is GraphQL's own root type, so the billing one is BillingSubscription.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry

from models.subscriptions import BillingSubscription as BillingSubscriptionRow
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import BillingSubscriptionStatus
from schema.errors import Payload, user_errors
from schema.ids import global_id
from schema.money import CurrencyCode, Money
from schema.nodes import Node
from schema.pages import Connection
from schema.payment_inputs import KEY
from schema.payments import NextAction
from schema.plans import Plan
from schema.users import User
from services.viewer import Role

if TYPE_CHECKING:
    from services.subscriptions.preview import PlanChangePreview as Preview
    from services.subscriptions.result import SubscriptionResult


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
        """What takes the plan's place when the period ends; null where nothing does."""
        if self.row.next_price_id is None:
            return None
        price = await info.context.loaders.plan_prices.load(self.row.next_price_id)
        return Plan.of(await info.context.loaders.plans.load(price.plan_id))

    @field
    async def client_secret(self, info: Info) -> str | None:
        """What Stripe.js needs to confirm its payment, or to save a card in a trial. For its guest alone."""
        return self.row.client_secret if self.row.client_secret and await self._is_guest(info) else None

    @field
    async def next_action(self, info: Info) -> NextAction | None:
        """What the guest must still do; null where there is nothing."""
        action = self.row.next_action
        if action is None:
            return None
        url = action.get("redirect_url")
        return NextAction(type=action["type"], redirect_url=url if url and await self._is_guest(info) else None)

    async def _is_guest(self, info: Info) -> bool:
        viewer = info.context.viewer
        if viewer is None or viewer.role is not Role.USER:
            return False
        user = await info.context.loaders.users.load(self.row.user_id)
        return user.external_id == viewer.external_id


@object_type
class BillingSubscriptionConnection(Connection[BillingSubscription]):
    """A page of subscriptions, newest first."""


@object_type
class PlanChangePreview:
    """What another plan would cost."""

    due_now: Money = strawberry.field(description="What is charged at once; nothing where the plan changes later.")
    credit: Money = strawberry.field(
        description="What is given back for the unused rest of the period, which `dueNow` has taken off already."
    )
    next_invoice: Money = strawberry.field(description="What a period costs from then on.")
    immediately: bool = strawberry.field(description="Whether the plan changes at once; else when the period ends.")
    effective_at: datetime = strawberry.field(description="When it changes; for one at once, when this was said.")

    @classmethod
    def of(cls, preview: Preview) -> PlanChangePreview:
        """From the service's answer."""
        return cls(
            due_now=Money.of(preview.due_now),
            credit=Money.of(preview.credit),
            next_invoice=Money.of(preview.next_invoice),
            immediately=preview.immediately,
            effective_at=preview.effective_at,
        )


@input_type
class CreateSubscriptionInput:
    """A plan, and what to pay for it with."""

    plan_id: strawberry.ID = strawberry.field(description="The plan.")
    payment_method: str | None = strawberry.field(
        default=None,
        description="A Stripe payment method id (pm_…) or the id of a saved PaymentMethod. Where it is left out, the"
        " guest's saved default pays; a trial and a free plan may begin without any.",
    )
    currency: CurrencyCode | None = strawberry.field(
        default=None,
        description="One of the plan's. Where nothing is said: that of the guest's other subscriptions, else the plan's"
        " main one. All live subscriptions of a guest are in one currency.",
    )
    trial: bool | None = strawberry.field(
        default=None,
        description="True: only with the plan's trial, refused where there is none for this guest. False: without it."
        " Where nothing is said: with the trial where there is one, which is one for each guest and plan.",
    )
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class ChangeSubscriptionPlanInput:
    """A subscription, and the plan that it is to be for."""

    subscription_id: strawberry.ID = strawberry.field(description="The subscription.")
    plan_id: strawberry.ID = strawberry.field(
        description="The plan. One that costs more for its time, or as much, begins at once, and what is left of the"
        " period is set off; one that costs less begins when the period ends. In a trial each begins at once. The plan"
        " that it has takes back a change that is planned."
    )
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class CancelSubscriptionInput:
    """A subscription that is to end."""

    subscription_id: strawberry.ID = strawberry.field(description="The subscription.")
    at_period_end: bool = strawberry.field(
        default=True,
        description="Whether what is paid for may be used up; else it ends at once, and nothing is given back. One that"
        " was never paid for ends at once in any case.",
    )
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class ResumeSubscriptionInput:
    """A subscription that is to go on."""

    subscription_id: strawberry.ID = strawberry.field(description="The subscription.")
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class PauseSubscriptionInput:
    """A subscription that is to rest."""

    subscription_id: strawberry.ID = strawberry.field(description="The subscription.")
    resumes_at: datetime | None = strawberry.field(
        default=None, description="When it goes on by itself, at most two years from now; until it is resumed if null."
    )
    idempotency_key: str = strawberry.field(description=KEY)


@object_type
class BillingSubscriptionPayload(Payload):
    """What became of it. Where a payment was declined, the subscription is here together with the error."""

    subscription: BillingSubscription | None = strawberry.field(
        default=None, description="The subscription as it is now."
    )

    @classmethod
    def of(cls, result: SubscriptionResult) -> BillingSubscriptionPayload:
        """From the service's answer."""
        return cls(
            subscription=BillingSubscription.of(result.subscription), errors=user_errors(result.error)
        )
