"""Ending a subscription, letting it rest, and letting it go on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.errors import InvalidInput, InvalidState
from services.operations import Intent
from services.subscriptions.actions import Decision, Step, SubscriptionAction, act, has_method, undo_steps

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services
    from services.subscriptions.result import SubscriptionResult
    from services.viewer import Viewer

CANCEL = "cancel_subscription"
RESUME = "resume_subscription"
PAUSE = "pause_subscription"
CANCEL_SUBSCRIPTION_KIND = SubscriptionAction(CANCEL)
RESUME_SUBSCRIPTION_KIND = SubscriptionAction(RESUME)
PAUSE_SUBSCRIPTION_KIND = SubscriptionAction(PAUSE)

PAUSE_MAX = timedelta(days=730)
# A period that is nearly over is not begun anew, or the next could be charged as well: longer than a call may be sent
# again and again.
_WORTH_RESTARTING = timedelta(days=1)
_IS_OPEN = "SELECT EXISTS (SELECT FROM invoices WHERE stripe_invoice_id = $1 AND status = 'OPEN')"

_STATUS = BillingSubscriptionStatus


async def cancel_subscription(
    services: Services, *, viewer: Viewer, subscription_id: UUID, at_period_end: bool, idempotency_key: str
) -> SubscriptionResult:
    """End a subscription when its period ends, or at once without giving anything back.

    What was never paid for, or is paused since nothing could be charged, ends at once in any case. A change of plan
    that was planned is dropped.

    Raises: NotFound, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    arguments = {"subscription_id": str(subscription_id), "at_period_end": at_period_end}
    intent = Intent(viewer.caller, idempotency_key, CANCEL, arguments)

    async def decide(_connection: AnyConnection, row: BillingSubscription) -> Decision:
        return Decision(_ending(row, at_period_end=at_period_end))

    return await act(services, intent, viewer, subscription_id, decide)


async def resume_subscription(
    services: Services, *, viewer: Viewer, subscription_id: UUID, idempotency_key: str
) -> SubscriptionResult:
    """Let a subscription go on: take back that it ends, that it is paused or, where neither is, that its plan changes.

    One that was paused since its trial ended without a payment method begins a new period, once that is paid. So does
    one of which nobody has paid for the period under way, as that began while it was paused; where a day or less of it
    is left, it goes on with the next.

    Raises: NotFound, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    intent = Intent(viewer.caller, idempotency_key, RESUME, {"subscription_id": str(subscription_id)})

    async def decide(connection: AnyConnection, row: BillingSubscription) -> Decision:
        steps = _resumption(row, services.clock())
        if Step.RESTART in steps and await connection.fetchval(_IS_OPEN, row.latest_invoice):
            steps.insert(steps.index(Step.RESTART), Step.DROP_CHANGE)  # it waits for its payment since the last time
        if {Step.RESUME, Step.RESTART} & {*steps} and not await has_method(connection, row):
            raise InvalidState("Please save a payment method first.", state=row.status.value)
        return Decision(steps)

    return await act(services, intent, viewer, subscription_id, decide)


async def pause_subscription(
    services: Services, *, viewer: Viewer, subscription_id: UUID, resumes_at: datetime | None, idempotency_key: str
) -> SubscriptionResult:
    """Charge nothing for a subscription until it is resumed: what is paid for is granted, what comes after is not.

    Args:
        resumes_at: when it goes on by itself, at most two years from now.

    Raises: NotFound, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    if resumes_at is not None and resumes_at.tzinfo is None:
        raise InvalidInput("resumesAt", "A time needs its offset from UTC: 2030-06-01T18:00:00Z.")
    resumption = None if resumes_at is None else int(resumes_at.timestamp())
    arguments = {"subscription_id": str(subscription_id), "resumes_at": resumption}
    intent = Intent(viewer.caller, idempotency_key, PAUSE, arguments)

    async def decide(_connection: AnyConnection, row: BillingSubscription) -> Decision:
        # Asked again under the same key it is answered the same, though the time has passed.
        _check_resumption(resumes_at, services.clock())
        _require_pausable(row)
        return Decision([Step.PAUSE], resumes_at=resumption)

    return await act(services, intent, viewer, subscription_id, decide)


def _ending(row: BillingSubscription, *, at_period_end: bool) -> list[Step]:
    state = row.status.value
    if row.status.is_final:
        raise InvalidState("This subscription has ended already.", state=state)
    is_running = row.status is not _STATUS.INCOMPLETE and row.stripe_status != "paused"
    if not at_period_end or not is_running:
        return [Step.END_NOW]
    if row.cancel_at_period_end:
        raise InvalidState("This subscription is canceled already: it ends with its period.", state=state)
    return [*undo_steps(row), Step.END_LATER]


def _resumption(row: BillingSubscription, now: datetime) -> list[Step]:
    state = row.status.value
    if row.status.is_final:
        raise InvalidState("This subscription has ended: please subscribe again.", state=state)
    if row.status is _STATUS.INCOMPLETE:
        raise InvalidState("The first payment is not made yet: please make it.", state=state)
    steps = []
    if row.cancel_at_period_end:
        steps.append(Step.KEEP)
    elif row.cancel_at is not None:
        steps.append(Step.DROP_DATE)
    if row.stripe_status == "paused":
        steps.append(Step.RESUME)
    elif row.paused_at is not None:
        if row.unpaid_since is not None:
            raise InvalidState("Please pay the open invoice first.", state=state)
        steps.append(Step.UNPAUSE)
    if _is_worth_restarting(row, now):
        steps += [*([Step.RELEASE] if row.stripe_schedule_id is not None else []), Step.RESTART]
    if not steps and row.next_price_id is not None:
        steps = undo_steps(row)
    if steps:
        return steps
    if row.status in {_STATUS.PAST_DUE, _STATUS.UNPAID}:
        raise InvalidState("Please pay the open invoice.", state=state)
    raise InvalidState("There is nothing to resume: this subscription goes on.", state=state)


def _is_worth_restarting(row: BillingSubscription, now: datetime) -> bool:
    """Whether nobody has paid for the period under way, and nobody is asked to, and there is much left of it."""
    if row.stripe_status != "active" or row.unpaid_since is not None or row.past_due_since is None:
        return False
    return row.current_period_end is not None and row.current_period_end - now > _WORTH_RESTARTING


def _require_pausable(row: BillingSubscription) -> None:
    state = row.status.value
    if row.status.is_final:
        raise InvalidState("This subscription has ended.", state=state)
    if row.status is _STATUS.PAUSED:
        raise InvalidState("This subscription is paused already.", state=state)
    if row.status is _STATUS.TRIALING:
        raise InvalidState("A trial cannot be paused: nothing is charged for it.", state=state)
    if row.status is _STATUS.INCOMPLETE:
        raise InvalidState("The first payment is not made yet: please make it.", state=state)
    if row.status is not _STATUS.ACTIVE:
        raise InvalidState("Please pay the open invoice first.", state=state)
    if row.cancel_at is not None or row.cancel_at_period_end:
        raise InvalidState("This subscription is to end: please resume it first.", state=state)


def _check_resumption(resumes_at: datetime | None, now: datetime) -> None:
    if resumes_at is not None and not now < resumes_at <= now + PAUSE_MAX:
        raise InvalidInput("resumesAt", f"It can go on by itself within the next {PAUSE_MAX.days} days.")
