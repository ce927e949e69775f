"""Removing a saved method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.payment_methods import SavedPaymentMethod
from services.errors import DomainError, InvalidState
from services.operations import Answers, PlannedStep, Refusal
from services.payment_method_requests import detach_payment_method as detach_request
from services.payment_method_requests import retrieve_payment_method
from services.payment_methods import calls
from services.payment_methods.calls import MAKE_DEFAULT
from services.stripe_gateway import Priority
from services.users import require_user

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

KIND: Final = "detach_payment_method"
DETACH: Final = "detach"

# What is just being removed is no other method to pay with; a subscription that ends by itself needs none any more,
# unless something of it is unpaid.
_NEEDED: Final = """
SELECT EXISTS (
    SELECT FROM subscriptions s
    WHERE s.user_id = $1 AND s.status IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'UNPAID', 'PAUSED')
        AND NOT (s.cancel_at_period_end AND s.status IN ('TRIALING', 'ACTIVE'))
) AND NOT EXISTS (
    SELECT FROM payment_methods m WHERE m.user_id = $1 AND m.id <> $2 AND m.detached_at IS NULL AND NOT EXISTS (
        SELECT FROM operations o WHERE o.subject_id = m.id AND o.kind = $3 AND o.status IN ('RUNNING', 'PARKED'))
)
"""


async def detach_payment_method(services: Services, *, viewer: Viewer, method_id: UUID) -> SavedPaymentMethod:
    """Remove one of the viewer's saved methods; one that was removed already is answered as it is.

    Where it was the default, the newest of the others becomes the default.

    Raises: Forbidden; NotFound; InvalidState for the only method while a subscription is paid with it;
        OperationInProgress; StripeUnavailable.
    """
    user = await require_user(viewer)
    async with services.database.pool.acquire() as connection:
        method = await calls.own_method(connection, user.id, method_id)
    if not method.is_attached:
        return method

    async def plan(connection: AnyConnection) -> list[PlannedStep]:
        now = await calls.own_method(connection, user.id, method_id)
        if not now.is_attached:
            return []
        if await connection.fetchval(_NEEDED, user.id, method_id, KIND):
            raise InvalidState(
                "Your subscription is paid with this. Save another payment method first, or cancel the subscription.",
                path=["input", "paymentMethodId"], state="NEEDED_BY_SUBSCRIPTION",
            )  # fmt: skip
        return [PlannedStep(DETACH, detach_request(now.stripe_payment_method_id))]

    await calls.act(
        services, KIND, user_id=user.id, customer=method.stripe_customer_id, actor=viewer.caller, subject_id=method.id,
        about={"method": method.stripe_payment_method_id}, plan=plan,
    )  # fmt: skip
    return await SavedPaymentMethod.get(id=method_id)


class DetachPaymentMethod:
    """How removing a method goes on: it is detached, then another one made the default where that was it."""

    name = KIND

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """Make the newest of the others the default, where there is none now."""
        detached = answers.get(DETACH)
        if detached is None or isinstance(detached, Refusal) or MAKE_DEFAULT in answers.by_step:
            return None
        return await calls.crown_heir(services, operation)

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what the customer has: what it has no more is removed, whoever did it."""
        await calls.settle(services, operation)
        method = await SavedPaymentMethod.get(id=operation.subject_id)
        error: DomainError | None = None
        if method.is_attached:
            otherwise = InvalidState("This payment method cannot be removed at the moment.", state="ATTACHED")
            error = calls.refusal_of(answers, otherwise=otherwise) or otherwise
        await calls.finish_settled(services, operation, answers, error)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The method, where no customer has it; the customer, where it has that default."""
        if step.step == MAKE_DEFAULT:
            return await calls.find_default(services, operation, step.body.rpartition("=")[2])
        request = retrieve_payment_method(operation.arguments["method"])
        method = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        return method if method["customer"] is None else None
