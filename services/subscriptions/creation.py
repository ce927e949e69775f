"""Subscribing to a plan: our row first, then the guest's method, then the subscription, whose first invoice is paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.base import new_id
from models.operations import OperationStep
from models.sets import insert_rows
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from models.users import User
from services.changes import ChangeSet
from services.customers import customer_in, ensure_customer, forget_customer, is_customer_gone
from services.errors import InvalidState
from services.lookups import find_made
from services.operations import (
    Answers,
    Intent,
    PlannedStep,
    Reserved,
    finish,
    keep_arguments,
    known_operation,
    record_answers,
    reserve,
)
from services.payment_method_requests import attach_payment_method, set_default_payment_method
from services.payment_methods.reading import resolve_method
from services.stripe_gateway import StripeResponse
from services.subscription_requests import create_subscription as create_request
from services.subscription_requests import list_subscriptions
from services.subscriptions.admission import Wanted, admit
from services.subscriptions.answers import error_of, refusal_in, settle_answers
from services.subscriptions.history import record_change
from services.subscriptions.result import SubscriptionResult, result_of
from services.subscriptions.rows import lock_subscription, write_subscription
from services.users import require_user
from services.viewer import Role

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.errors import DomainError
    from services.viewer import Viewer

CREATE = "create_subscription"
ATTACH = "attach_payment_method"
PREFER = "set_default_payment_method"


async def create_subscription(
    services: Services, *, viewer: Viewer, plan_id: UUID, payment_method: str | UUID | None, currency: str | None,
    trial: bool | None, idempotency_key: str,
) -> SubscriptionResult:  # fmt: skip
    """Subscribe the viewer to a plan; the same key resumes or replays, never repeats.

    The answer is a subscription that is active or on trial, or INCOMPLETE: its first payment was declined (with the
    error), or waits for the guest, who confirms it with the client secret.

    Args:
        payment_method: Stripe's id, or the row's id of a saved one; None: the guest's default, or none for what costs
            nothing yet.
        currency: None: that of the guest's other subscriptions, else the plan's.
        trial: None: where there is one for this guest; True: only with it.

    Raises: Forbidden, NotFound, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress,
        StripeUnavailable.
    """
    viewer.require(Role.USER)
    intent = Intent(
        viewer.caller, idempotency_key, CREATE,
        {"plan_id": plan_id, "payment_method": payment_method, "currency": currency, "trial": trial},
    )  # fmt: skip
    reserved = await known_operation(services, intent)
    if reserved is None:
        user = await require_user(viewer)
        method = None
        if payment_method is not None:
            path = ("input", "paymentMethod")
            method = await resolve_method(services, viewer.external_id, payment_method, path=path)
        reserved = await _reserve(services, intent, user, Wanted(plan_id, method, currency, trial=trial))
    return await result_of(await services.operations.end(services, reserved))


async def _reserve(services: Services, intent: Intent, user: User, wanted: Wanted) -> Reserved:
    subscription_id = new_id()

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        admitted = await admit(connection, user.id, wanted)
        await keep_arguments(connection, operation, admitted.arguments)
        subscription = BillingSubscription(
            id=subscription_id, user_id=user.id, plan_id=wanted.plan_id, price_id=admitted.price.id,
            currency=admitted.currency, trial_plan_id=wanted.plan_id if admitted.trial_days else None,
        )  # fmt: skip
        await _add(connection, subscription, actor=operation.caller)
        return []

    return await reserve(services, intent, plan, subject_id=subscription_id)


class CreateSubscription:
    """How subscribing goes on: a customer if the guest is none yet, its method if that is new, the subscription."""

    name = CREATE

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The method, then the subscription."""
        if answers.get(CREATE) is not None:
            return None
        kept = operation.arguments
        subscription = await BillingSubscription.get(id=operation.subject_id)
        customer = await ensure_customer(services, await User.get(id=subscription.user_id))
        method: str | None = kept["method"]
        if method is not None and customer != kept["saved_for"]:
            attached = answers.get(ATTACH)
            if not isinstance(attached, StripeResponse):
                return PlannedStep(ATTACH, attach_payment_method(method, customer=customer))
            method = str(attached.body["id"])  # a test method is attached as a copy
        if method is not None and kept["becomes_default"]:
            if answers.get(PREFER) is None:
                return PlannedStep(PREFER, set_default_payment_method(customer, method))
            method = None
        request = create_request(
            customer=customer, price=kept["price"], currency=subscription.currency, payment_method=method,
            trial_days=kept["trial_days"],
            metadata={
                "subscription_id": str(subscription.id), "user_id": str(subscription.user_id),
                "operation_id": str(operation.id),
            },
        )  # fmt: skip
        return PlannedStep(CREATE, request)

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what Stripe made, and its first invoice; what it refused to make has ended."""
        if isinstance(answers.get(CREATE), StripeResponse):
            await settle_answers(services, operation, answers)
            return
        subscription = await BillingSubscription.get(id=operation.subject_id)
        refusal = refusal_in(answers)
        error = answers.error if refusal is None else error_of(refusal, subscription)
        if refusal is not None and is_customer_gone(refusal.error):
            step = await OperationStep.filter(operation_id=operation.id).order_by("-id").first()
            if step is not None:
                await forget_customer(services, subscription.user_id, customer_in(step))
        await _call_off(services, operation, answers, error)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The subscription among those of the customer; the steps before it change nothing when done again."""
        if step.step != CREATE:
            return None
        made = list_subscriptions(customer=customer_in(step))
        return await find_made(services, made, subscription_id=str(operation.subject_id))


async def _add(connection: AnyConnection, subscription: BillingSubscription, *, actor: str) -> None:
    xid = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
    changes = ChangeSet(actor, xid)
    record_change(changes, subscription, "subscription.requested", None)
    await insert_rows(connection, BillingSubscription, [subscription])
    await changes.write(connection)


async def _call_off(services: Services, operation: Operation, answers: Answers, error: DomainError | None) -> None:
    """End a subscription that Stripe never made, and its operation."""
    error = error or InvalidState("This subscription could not be made.", state="REFUSED")
    async with services.database.transaction() as connection:
        locked = await lock_subscription(connection, operation.subject_id)
        locked.row.status = BillingSubscriptionStatus.CANCELED
        locked.row.canceled_at = locked.row.ended_at = services.clock()
        changes = ChangeSet(operation.caller, locked.xid)
        await write_subscription(connection, services.settings, changes, locked, action="subscription.refused")
        await changes.write(connection)
        await record_answers(connection, [(operation.id, step, answer) for step, answer in answers.by_step.items()])
        await finish(connection, [operation.id], errors={operation.id: error})
    services.live.wake()
