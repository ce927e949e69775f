"""Calls on a subscription that exists, one after another, as they were decided on when the operation was reserved."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from services.invoice_requests import void_invoice
from services.operations import PlannedStep, keep_arguments, reserve
from services.stripe_gateway import Priority, StripeResponse
from services.subscription_requests import (
    cancel_at_period_end,
    cancel_subscription,
    change_price,
    create_schedule,
    keep_subscription,
    pause_collection,
    release_schedule,
    restart_period,
    resume_collection,
    resume_subscription,
    retrieve_schedule,
    retrieve_subscription,
    schedule_price,
)
from services.subscriptions.access import lock_for_guest
from services.subscriptions.answers import settle_answers
from services.subscriptions.result import SubscriptionResult, result_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from models.subscriptions import BillingSubscription
    from services.core import Services
    from services.operations import Answers, Intent
    from services.stripe_requests import StripeRequest
    from services.viewer import Viewer

_HAS_DEFAULT = """
SELECT EXISTS (SELECT FROM payment_methods WHERE user_id = $1 AND is_default AND detached_at IS NULL)
"""
_RELEASED = frozenset({"released", "canceled", "completed"})


class Step(StrEnum):
    """What each call is known by in its operation."""

    RELEASE = "release_schedule"
    SCHEDULE = "create_schedule"
    PHASES = "schedule_price"
    CHANGE_PRICE = "change_price"
    DROP_CHANGE = "void_invoice"
    END_LATER = "cancel_at_period_end"
    END_NOW = "cancel_now"
    KEEP = "keep"
    DROP_DATE = "drop_cancel_date"
    PAUSE = "pause_collection"
    UNPAUSE = "resume_collection"
    RESUME = "resume"
    RESTART = "restart_period"


@dataclass(frozen=True, slots=True)
class Decision:
    """The calls that bring about what was asked for, in order, and what they need beyond the subscription's row."""

    steps: Sequence[Step]
    price: str | None = None
    interval: str | None = None
    interval_count: int | None = None
    resumes_at: int | None = None


async def act(
    services: Services, intent: Intent, viewer: Viewer, subscription_id: UUID,
    decide: Callable[[AnyConnection, BillingSubscription], Awaitable[Decision]],
) -> SubscriptionResult:  # fmt: skip
    """Decide under the subscription's lock, make the calls and settle what they made of it.

    Raises: NotFound; OperationInProgress; StripeUnavailable; IdempotencyKeyReused; what `decide` refuses.
    """
    row: BillingSubscription | None = None

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        nonlocal row
        row = await lock_for_guest(connection, viewer, subscription_id, operation)
        decision = await decide(connection, row)
        await keep_arguments(connection, operation, _arguments(row, decision))
        first = decision.steps[0]
        return [PlannedStep(first, _request(first, operation.arguments, {}))]

    reserved = await reserve(services, intent, plan, subject_id=subscription_id, arguments=intent.arguments)
    return await result_of(await services.operations.end(services, reserved, subject=row))


def undo_steps(row: BillingSubscription) -> list[Step]:
    """The calls that drop a change of plan: one that is planned, or one that waits for its payment."""
    if row.stripe_schedule_id is not None:
        return [Step.RELEASE]
    return [] if row.next_price_id is None else [Step.DROP_CHANGE]


async def has_method(connection: AnyConnection, row: BillingSubscription) -> bool:
    """Whether there is something to pay with."""
    return row.default_payment_method is not None or bool(await connection.fetchval(_HAS_DEFAULT, row.user_id))


@dataclass(frozen=True, slots=True)
class SubscriptionAction:
    """How an operation of such calls goes on."""

    name: str

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The next of the calls that were decided on."""
        made = {step: answer.body for step, answer in answers.by_step.items() if isinstance(answer, StripeResponse)}
        for step in operation.arguments["steps"]:
            if answers.get(step) is None:
                return PlannedStep(step, _request(step, operation.arguments, made))
        return None

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what the subscription has become."""
        await settle_answers(services, operation, answers)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """What the step did, where doing it twice would matter; what only sets something is sent again."""
        if step.step == Step.RELEASE:
            schedule = await _ask(services, retrieve_schedule(operation.arguments["schedule"]))
            return schedule if schedule["status"] in _RELEASED else None
        subscription = await _ask(services, retrieve_subscription(operation.arguments["subscription"]))
        if step.step == Step.SCHEDULE:
            schedule = subscription["schedule"]
            return schedule if isinstance(schedule, dict) else None
        return subscription if _has_happened(step.step, operation.arguments, subscription) else None


def _has_happened(step: str, kept: Mapping[str, Any], subscription: Mapping[str, Any]) -> bool:
    """Whether the subscription shows what a step did that must not be done twice."""
    if step == Step.CHANGE_PRICE:
        waiting = (subscription["pending_update"] or {}).get("subscription_items") or []
        return kept["price"] in {item["price"]["id"] for item in [*subscription["items"]["data"], *waiting]}
    if step in {Step.RESUME, Step.RESTART}:
        latest = subscription["latest_invoice"]
        is_billed = (latest["id"] if isinstance(latest, dict) else latest) != kept["latest_invoice"]
        return bool(is_billed or (step == Step.RESUME and subscription["status"] != "paused"))
    if step == Step.DROP_CHANGE:
        return subscription["pending_update"] is None
    return step == Step.END_NOW and subscription["ended_at"] is not None


def _arguments(row: BillingSubscription, decision: Decision) -> dict[str, Any]:
    return {
        "steps": [*decision.steps], "subscription": row.stripe_subscription_id, "item": row.stripe_item_id,
        "schedule": row.stripe_schedule_id, "latest_invoice": row.latest_invoice, "price": decision.price,
        # The invoice that was known before is not looked at again, but where it is the one that changes.
        "settled": [] if Step.DROP_CHANGE in decision.steps else [row.latest_invoice],
        "interval": decision.interval, "interval_count": decision.interval_count, "resumes_at": decision.resumes_at,
    }  # fmt: skip


def _request(step: str, kept: Mapping[str, Any], made: Mapping[str, Mapping[str, Any]]) -> StripeRequest:
    """A step's call, from what was kept and what the steps before it made."""
    return _REQUESTS[step](kept, made)


_REQUESTS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Mapping[str, Any]]], StripeRequest]] = {
    Step.RELEASE: lambda kept, _: release_schedule(kept["schedule"]),
    Step.SCHEDULE: lambda kept, _: create_schedule(subscription=kept["subscription"]),
    Step.PHASES: lambda kept, made: schedule_price(
        made[Step.SCHEDULE], price=kept["price"], interval=kept["interval"], interval_count=kept["interval_count"]
    ),
    Step.DROP_CHANGE: lambda kept, _: void_invoice(kept["latest_invoice"]),
    Step.CHANGE_PRICE: lambda kept, _: change_price(kept["subscription"], item=kept["item"], price=kept["price"]),
    Step.END_LATER: lambda kept, _: cancel_at_period_end(kept["subscription"], cancel=True),
    Step.END_NOW: lambda kept, _: cancel_subscription(kept["subscription"]),
    Step.KEEP: lambda kept, _: cancel_at_period_end(kept["subscription"], cancel=False),
    Step.DROP_DATE: lambda kept, _: keep_subscription(kept["subscription"]),
    Step.PAUSE: lambda kept, _: pause_collection(kept["subscription"], resumes_at=kept["resumes_at"]),
    Step.UNPAUSE: lambda kept, _: resume_collection(kept["subscription"]),
    Step.RESUME: lambda kept, _: resume_subscription(kept["subscription"]),
    Step.RESTART: lambda kept, _: restart_period(kept["subscription"]),
}


async def _ask(services: Services, request: StripeRequest) -> dict[str, Any]:
    return (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
