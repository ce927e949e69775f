"""Billing subscriptions: asking for them, making them, and acting on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from models.subscriptions import BillingSubscription as BillingSubscriptionRow
from resolvers.arguments import Id, input_path
from schema.context import Info
from schema.described import field, mutation, object_type
from schema.errors import payload
from schema.ids import id_of, require_id
from schema.payment_methods import method_of
from schema.subscription_inputs import (
    BillingSubscriptionPayload,
    CancelSubscriptionInput,
    ChangeSubscriptionPlanInput,
    CreateSubscriptionInput,
    PauseSubscriptionInput,
    PlanChangePreview,
    ResumeSubscriptionInput,
)
from schema.subscriptions import BillingSubscription
from services.subscriptions import creation, ending, plan_changes
from services.subscriptions.preview import plan_change_preview

if TYPE_CHECKING:
    from uuid import UUID

WHICH = "Which subscription, and how."


@object_type
class BillingSubscriptionQueries:
    """Queries about billing subscriptions."""

    @field
    async def subscription(self, info: Info, id: Id) -> BillingSubscription | None:
        """A subscription; null for one that is not there or not for the viewer."""
        info.context.require_viewer()
        id_ = id_of("BillingSubscription", id)
        row = None if id_ is None else await info.context.loaders.visible(BillingSubscriptionRow).load(id_)
        return None if row is None else BillingSubscription.of(row)

    @field
    async def plan_change_preview(
        self,
        info: Info,
        subscription_id: Annotated[strawberry.ID, strawberry.argument(description="The subscription.")],
        plan_id: Annotated[strawberry.ID, strawberry.argument(description="The plan that it would be for.")],
    ) -> PlanChangePreview:
        """What another plan would cost, as Stripe reckons it now. For the subscription's guest and the platform."""
        preview = await plan_change_preview(
            info.context.services,
            viewer=info.context.require_viewer(),
            subscription_id=require_id("BillingSubscription", subscription_id, ["subscriptionId"]),
            plan_id=require_id("Plan", plan_id, ["planId"]),
        )
        return PlanChangePreview.of(preview)


@object_type
class BillingSubscriptionMutations:
    """What guests do with their subscriptions, and the platform for them."""

    @mutation
    @payload(BillingSubscriptionPayload)
    async def create_subscription(
        self, info: Info, input: Annotated[CreateSubscriptionInput, strawberry.argument(description="To what.")]
    ) -> BillingSubscriptionPayload:
        """Subscribe the viewer to a plan. INCOMPLETE: confirm the first payment with `clientSecret`, or try again."""
        viewer = info.context.require_viewer()
        result = await creation.create_subscription(
            info.context.services,
            viewer=viewer,
            plan_id=require_id("Plan", input.plan_id, input_path("planId")),
            payment_method=None if input.payment_method is None else method_of(input.payment_method),
            currency=None if input.currency is None else input.currency.value,
            trial=input.trial,
            idempotency_key=input.idempotency_key,
        )
        return BillingSubscriptionPayload.of(result)

    @mutation
    @payload(BillingSubscriptionPayload)
    async def change_subscription_plan(
        self, info: Info, input: Annotated[ChangeSubscriptionPlanInput, strawberry.argument(description=WHICH)]
    ) -> BillingSubscriptionPayload:
        """Change to another plan: a dearer one at once, as soon as it is paid, a cheaper one when the period ends."""
        result = await plan_changes.change_subscription_plan(
            info.context.services,
            viewer=info.context.require_viewer(),
            subscription_id=_subscription_id(input.subscription_id),
            plan_id=require_id("Plan", input.plan_id, input_path("planId")),
            idempotency_key=input.idempotency_key,
        )
        return BillingSubscriptionPayload.of(result)

    @mutation
    @payload(BillingSubscriptionPayload)
    async def cancel_subscription(
        self, info: Info, input: Annotated[CancelSubscriptionInput, strawberry.argument(description=WHICH)]
    ) -> BillingSubscriptionPayload:
        """End a subscription with its period, or at once. Nothing is given back."""
        result = await ending.cancel_subscription(
            info.context.services,
            viewer=info.context.require_viewer(),
            subscription_id=_subscription_id(input.subscription_id),
            at_period_end=input.at_period_end,
            idempotency_key=input.idempotency_key,
        )
        return BillingSubscriptionPayload.of(result)

    @mutation
    @payload(BillingSubscriptionPayload)
    async def resume_subscription(
        self, info: Info, input: Annotated[ResumeSubscriptionInput, strawberry.argument(description=WHICH)]
    ) -> BillingSubscriptionPayload:
        """Take back that a subscription ends, is paused or, where it is neither, that its plan is to change.

        Where nobody has paid for the period under way, as it was paused, another one begins and is charged.
        """
        result = await ending.resume_subscription(
            info.context.services,
            viewer=info.context.require_viewer(),
            subscription_id=_subscription_id(input.subscription_id),
            idempotency_key=input.idempotency_key,
        )
        return BillingSubscriptionPayload.of(result)

    @mutation
    @payload(BillingSubscriptionPayload)
    async def pause_subscription(
        self, info: Info, input: Annotated[PauseSubscriptionInput, strawberry.argument(description=WHICH)]
    ) -> BillingSubscriptionPayload:
        """Charge nothing until it is resumed; what is paid for is granted until the period ends, and nothing after."""
        result = await ending.pause_subscription(
            info.context.services,
            viewer=info.context.require_viewer(),
            subscription_id=_subscription_id(input.subscription_id),
            resumes_at=input.resumes_at,
            idempotency_key=input.idempotency_key,
        )
        return BillingSubscriptionPayload.of(result)


def _subscription_id(text: str) -> UUID:
    return require_id("BillingSubscription", text, input_path("subscriptionId"))
