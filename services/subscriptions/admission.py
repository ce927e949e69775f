"""Whether a guest may subscribe to a plan, and on which terms: price, currency and trial."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from models.base import from_record
from models.plans import Plan, PlanPrice
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.errors import InvalidInput, InvalidState, NotFound, OperationInProgress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.sets import AnyConnection

CHANGE_PLAN = "change_subscription_plan"
RETRY_AFTER_S = 2

_LIVE = """
SELECT s.*, following.plan_id AS next_plan_id FROM subscriptions s
LEFT JOIN plan_prices following ON following.id = s.next_price_id
WHERE s.user_id = $1 AND s.status NOT IN ('CANCELED', 'INCOMPLETE_EXPIRED') ORDER BY s.id
"""
_CHANGING = """
SELECT EXISTS (SELECT FROM operations WHERE subject_id = ANY($1) AND kind = $2 AND status = 'RUNNING'
    AND arguments ->> 'plan_id' = $3)
"""
# A plan was tried where a trial began on it, or went on with it.
_TRIED = """
SELECT EXISTS (SELECT FROM subscriptions WHERE user_id = $1 AND stripe_subscription_id IS NOT NULL
    AND (trial_plan_id = $2 OR (plan_id = $2 AND trial_end IS NOT NULL)))
"""
_METHODS = """
SELECT stripe_payment_method_id, stripe_customer_id, is_default FROM payment_methods
WHERE user_id = $1 AND detached_at IS NULL AND (is_default OR stripe_payment_method_id = $2)
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a guest asks for; the method is Stripe's id."""

    plan_id: UUID
    payment_method: str | None
    currency: str | None
    trial: bool | None


@dataclass(frozen=True, slots=True)
class Payer:
    """What pays: a method of Stripe's, or the guest's default whatever that is when something is due.

    Attributes:
        method: None where it is the default that there is, or none.
        saved_for: the customer that the method is attached to already.
        becomes_default: whether it is made the default, as there is none: then it need not be kept on its own.
    """

    method: str | None = None
    saved_for: str | None = None
    becomes_default: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """On which terms."""

    price: PlanPrice
    currency: str
    trial_days: int | None
    payer: Payer

    @property
    def arguments(self) -> dict[str, Any]:
        """What the operation goes on with."""
        return {"price": self.price.stripe_price_id, "trial_days": self.trial_days, **asdict(self.payer)}


async def admit(connection: AnyConnection, user_id: UUID, wanted: Wanted) -> Admitted:
    """The terms for a guest, who is locked: nothing else of the guest's subscribing happens meanwhile.

    Raises: NotFound, InvalidInput, InvalidState, OperationInProgress.
    """
    path = ["input", "planId"]
    await connection.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
    plan, price = await offered_plan(connection, wanted.plan_id, path=path)
    live = await live_subscriptions(connection, user_id)
    await refuse_second(connection, live, plan.id, path=path)
    currency = _currency(price, wanted.currency, [subscription.currency for subscription, _ in live])
    trial_days = await _trial_days(connection, user_id, plan, wanted)
    is_free = trial_days is not None or not price.amount_in(currency)
    payer = await _payer(connection, user_id, wanted.payment_method, is_free=is_free)
    return Admitted(price, currency, trial_days, payer)


async def offered_plan(
    connection: AnyConnection, plan_id: UUID, *, path: Sequence[str]
) -> tuple[Plan, PlanPrice]:
    """A plan that takes subscribers, and what they pay.

    Raises: NotFound; InvalidInput for a plan that takes none.
    """
    record = await connection.fetchrow("SELECT * FROM plans WHERE id = $1", plan_id)
    if record is None:
        raise NotFound("There is no such plan.", path=[*path])
    plan = from_record(Plan, record)
    if not plan.active:
        raise InvalidInput(path=[*path], message="This plan takes no new subscribers.")
    price = await connection.fetchrow("SELECT * FROM plan_prices WHERE plan_id = $1 AND current", plan_id)
    if price is None:
        raise InvalidInput(path=[*path], message="This plan cannot be subscribed to yet.")
    return plan, from_record(PlanPrice, price)


async def live_subscriptions(
    connection: AnyConnection, user_id: UUID
) -> list[tuple[BillingSubscription, UUID | None]]:
    """A guest's subscriptions that have not ended, each with the plan that it is to change to."""
    return [
        (
            from_record(BillingSubscription, {name: value for name, value in record.items() if name != "next_plan_id"}),
            record["next_plan_id"],
        )
        for record in await connection.fetch(_LIVE, user_id)
    ]


async def refuse_second(
    connection: AnyConnection, live: Sequence[tuple[BillingSubscription, UUID | None]], plan_id: UUID, *,
    path: Sequence[str],
) -> None:  # fmt: skip
    """Refuse a plan that one of the guest's subscriptions is for, or is to be for: there is one for each plan.

    Raises: InvalidState with the state of that subscription; OperationInProgress while one is being changed to it.
    """
    for subscription, next_plan_id in live:
        if plan_id in {subscription.plan_id, next_plan_id}:
            text = _why_not(subscription, is_next=subscription.plan_id != plan_id)
            raise InvalidState(text, state=subscription.status.value, path=[*path])
    ids = [subscription.id for subscription, _ in live]
    if await connection.fetchval(_CHANGING, ids, CHANGE_PLAN, str(plan_id)):
        raise OperationInProgress(retry_after_seconds=RETRY_AFTER_S)


def _why_not(subscription: BillingSubscription, *, is_next: bool) -> str:
    if is_next:
        return "Another of your subscriptions is to change to this plan."
    if subscription.status is BillingSubscriptionStatus.INCOMPLETE:
        return "You have subscribed to this plan already: its first payment waits for you."
    if subscription.status in {BillingSubscriptionStatus.PAST_DUE, BillingSubscriptionStatus.UNPAID}:
        return "You have subscribed to this plan already: please pay its open invoice."
    if subscription.status is BillingSubscriptionStatus.PAUSED or subscription.cancel_at is not None:
        return "You have subscribed to this plan already: please resume that subscription."
    return "You have subscribed to this plan already."


def _currency(price: PlanPrice, asked: str | None, others: Sequence[str]) -> str:
    """What the guest pays in. Stripe bills a customer in one currency at a time ("Customer currency").

    Raises: InvalidInput.
    """
    bound = others[0] if others else None
    currency = asked or bound or price.currency
    if price.amount_in(currency) is None:
        offered = ", ".join(amount.currency for amount in price.amounts)
        field = "planId" if asked is None else "currency"
        why = f" Your other subscriptions are paid in {bound}, and all of them are in one currency." if bound else ""
        raise InvalidInput(field, f"This plan cannot be paid in {currency}. It can in: {offered}.{why}")
    if bound is not None and currency != bound:
        raise InvalidInput("currency", f"Your other subscriptions are paid in {bound}: all of them are in one.")
    return currency


async def _payer(connection: AnyConnection, user_id: UUID, method: str | None, *, is_free: bool) -> Payer:
    saved = {record["stripe_payment_method_id"]: record for record in await connection.fetch(_METHODS, user_id, method)}
    default = next((id_ for id_, record in saved.items() if record["is_default"]), None)
    if method is None and default is None and not is_free:
        raise InvalidInput("paymentMethod", "Please say what to pay with: there is no trial, and no saved default.")
    if method in {None, default}:
        return Payer()
    saved_for = saved[method]["stripe_customer_id"] if method in saved else None
    return Payer(method, saved_for, becomes_default=default is None)


async def _trial_days(connection: AnyConnection, user_id: UUID, plan: Plan, wanted: Wanted) -> int | None:
    if wanted.trial is False:
        return None
    why_not = None
    if not plan.trial_days:
        why_not = "This plan has no trial."
    elif await connection.fetchval(_TRIED, user_id, plan.id):
        why_not = "You have tried this plan already."
    if why_not is None:
        return plan.trial_days
    if wanted.trial:
        raise InvalidInput("trial", why_not)
    return None
