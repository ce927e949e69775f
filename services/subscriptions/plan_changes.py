"""Another plan for a subscription: a dearer one at once, a cheaper one when what is paid for is used up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.base import from_record
from models.plans import Plan, PlanPrice
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.errors import InvalidInput, InvalidState
from services.operations import Intent
from services.subscriptions.actions import Decision, Step, SubscriptionAction, act, has_method, undo_steps
from services.subscriptions.admission import CHANGE_PLAN, live_subscriptions, offered_plan, refuse_second

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services
    from services.subscriptions.result import SubscriptionResult
    from services.viewer import Viewer

CHANGE_PLAN_KIND = SubscriptionAction(CHANGE_PLAN)

_STATUS = BillingSubscriptionStatus
# Why a plan cannot be changed where the subscription is neither active nor on trial.
_WHY_NOT = {
    _STATUS.INCOMPLETE: "The first payment is not made yet: please make it, or cancel the subscription.",
    _STATUS.PAST_DUE: "Please pay the open invoice first.",
    _STATUS.UNPAID: "Please pay the open invoice first.",
    _STATUS.PAUSED: "This subscription is paused: please resume it first.",
    _STATUS.CANCELED: "This subscription has ended: please subscribe to the plan you want.",
    _STATUS.INCOMPLETE_EXPIRED: "This subscription has ended: please subscribe to the plan you want.",
}


@dataclass(frozen=True, slots=True)
class PlanChange:
    """What a change comes to: from one price to another, at once or when the period ends.

    Where the plan stays the same, a change that was planned is taken back.
    """

    subscription: BillingSubscription
    before: PlanPrice
    after: PlanPrice

    @property
    def takes_back(self) -> bool:
        """Whether all it does is to take back what was planned."""
        return self.after.id == self.before.id

    @property
    def immediately(self) -> bool:
        """Whether it happens at once: in a trial, and to what costs no less for its time."""
        if self.takes_back or self.subscription.status is _STATUS.TRIALING:
            return True
        currency = self.subscription.currency
        before, after = self.before.amount_in(currency), self.after.amount_in(currency)
        if before is None or after is None:
            raise ValueError("a change of plan keeps to the subscription's currency")
        return after.minor * self.before.sixteenths_of_days >= before.minor * self.after.sixteenths_of_days

    @property
    def costs(self) -> bool:
        """Whether the new price is more than nothing."""
        return bool(self.after.amount_in(self.subscription.currency))

    @property
    def is_billed_now(self) -> bool:
        """Whether what is left of the period is set off at once; a trial is free with any plan."""
        return self.immediately and not self.takes_back and self.subscription.status is not _STATUS.TRIALING

    @property
    def steps(self) -> list[Step]:
        """The calls that bring it about."""
        drop = undo_steps(self.subscription)
        if self.takes_back:
            return drop
        return [*drop, *([Step.CHANGE_PRICE] if self.immediately else [Step.SCHEDULE, Step.PHASES])]


async def change_subscription_plan(
    services: Services, *, viewer: Viewer, subscription_id: UUID, plan_id: UUID, idempotency_key: str
) -> SubscriptionResult:
    """Give a subscription another plan; the same key resumes or replays, never repeats.

    A plan that costs more for its time, or as much, begins at once: what is left of the period is set off, and the
    subscription has the plan once the difference is paid, else it stays as it is (with the error, or the client secret
    to confirm with). A cheaper one takes its place when the period ends. The plan that it has takes back a change that
    was planned.

    Raises: NotFound, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    arguments = {"subscription_id": str(subscription_id), "plan_id": str(plan_id)}
    intent = Intent(viewer.caller, idempotency_key, CHANGE_PLAN, arguments)

    async def decide(connection: AnyConnection, row: BillingSubscription) -> Decision:
        change = await plan_change(connection, row, plan_id, path=("input", "planId"))
        if change.is_billed_now and change.costs and not await has_method(connection, row):
            raise InvalidState("Please save a payment method first.", state=row.status.value)
        return Decision(
            change.steps, price=change.after.stripe_price_id, interval=change.after.interval.value,
            interval_count=change.after.interval_count,
        )  # fmt: skip

    return await act(services, intent, viewer, subscription_id, decide)


async def plan_change(
    connection: AnyConnection, subscription: BillingSubscription, plan_id: UUID, *, path: Sequence[str]
) -> PlanChange:
    """What a change of a subscription to a plan would come to.

    Raises: NotFound for an unknown plan; InvalidInput for one that it cannot have; InvalidState where the subscription
        has to be paid, resumed or begun anew first, or another of the guest's is for that plan.
    """
    if subscription.status not in {_STATUS.ACTIVE, _STATUS.TRIALING}:
        raise InvalidState(_WHY_NOT[subscription.status], state=subscription.status.value)
    if subscription.cancel_at is not None or subscription.cancel_at_period_end:
        raise InvalidState("This subscription is to end: please resume it first.", state=subscription.status.value)
    before = await _price(connection, subscription.price_id)
    if plan_id == subscription.plan_id:
        if subscription.next_price_id is None:
            raise InvalidInput(path=[*path], message="This is its plan already.")
        return PlanChange(subscription, before, before)
    plan, after = await offered_plan(connection, plan_id, path=path)
    if subscription.next_price_id is not None:
        following = await _price(connection, subscription.next_price_id)
        if following.plan_id == plan.id:
            raise InvalidInput(path=[*path], message=_already(subscription, plan))
    others = [
        other
        for other in await live_subscriptions(connection, subscription.user_id)
        if other[0].id != subscription.id
    ]
    await refuse_second(connection, others, plan.id, path=path)
    if after.amount_in(subscription.currency) is None:
        offered = ", ".join(amount.currency for amount in after.amounts)
        text = f"This subscription is paid in {subscription.currency}. The plan can be paid in: {offered}."
        raise InvalidInput(path=[*path], message=text)
    change = PlanChange(subscription, before, after)
    if change.is_billed_now and subscription.past_due_since is not None:
        # What is left of the period would be given back though nobody has paid for it.
        text = "The period under way is not paid for: please resume the subscription first."
        raise InvalidState(text, state=subscription.status.value)
    return change


def _already(subscription: BillingSubscription, plan: Plan) -> str:
    if subscription.stripe_schedule_id is not None:
        return f"It changes to {plan.name} when its period ends."
    return f"It changes to {plan.name} as soon as the invoice for that is paid."


async def _price(connection: AnyConnection, price_id: UUID) -> PlanPrice:
    record = await connection.fetchrow("SELECT * FROM plan_prices WHERE id = $1", price_id)
    if record is None:
        raise RuntimeError("a subscription without its price")
    return from_record(PlanPrice, record)
