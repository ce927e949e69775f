"""What is sent in to make and change subscriptions, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry

from schema.described import input_type, object_type
from schema.errors import Payload, user_errors
from schema.idempotency import KEY
from schema.money import CurrencyCode, Money
from schema.subscriptions import BillingSubscription

if TYPE_CHECKING:
    from services.subscriptions.preview import PlanChangePreview as Preview
    from services.subscriptions.result import SubscriptionResult


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
