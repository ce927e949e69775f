"""The default: what a guest's subscriptions are paid with, and payments that name no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.payment_methods import SavedPaymentMethod
from services.errors import DomainError, InvalidState
from services.operations import Answers, PlannedAtReserve, PlannedStep
from services.payment_methods import calls
from services.users import require_user

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.payment_methods.settlement import MethodsNow
    from services.viewer import Viewer

KIND: Final = "set_default_payment_method"


async def set_default_payment_method(services: Services, *, viewer: Viewer, method_id: UUID) -> SavedPaymentMethod:
    """Make one of the viewer's saved methods the default.

    Raises: Forbidden; NotFound; InvalidState for one that was removed; OperationInProgress; StripeUnavailable.
    """
    user = await require_user(viewer)
    async with services.database.pool.acquire() as connection:
        method = await calls.own_method(connection, user.id, method_id)
    return await make_default(services, method, actor=viewer.caller)


async def make_default(services: Services, method: SavedPaymentMethod, *, actor: str) -> SavedPaymentMethod:
    """Make a saved method its owner's default, here and at Stripe.

    Raises: InvalidState; OperationInProgress; StripeUnavailable.
    """

    async def plan(connection: AnyConnection) -> list[PlannedStep]:
        now = await calls.own_method(connection, method.user_id, method.id)
        if not now.is_attached:
            raise _removed()
        return [calls.make_default(now.stripe_customer_id, now.stripe_payment_method_id)]

    await calls.act(
        services, KIND, user_id=method.user_id, customer=method.stripe_customer_id, actor=actor, subject_id=method.id,
        about={"method": method.stripe_payment_method_id}, plan=plan,
    )  # fmt: skip
    return await SavedPaymentMethod.get(id=method.id)


async def ensure_default(services: Services, now: MethodsNow) -> None:
    """Make the newest method the default where there are some and none is: so it is with the first that is saved.

    Raises: InvalidState; OperationInProgress; StripeUnavailable.
    """
    if now.heir is not None:
        await make_default(services, now.heir, actor=calls.CALLER)


def _removed() -> DomainError:
    return InvalidState(
        "This payment method was removed. Please use another one.", path=["input", "paymentMethodId"], state="DETACHED"
    )


class SetDefaultPaymentMethod(PlannedAtReserve):
    """How making a method the default goes on: one call, planned at reserve."""

    name = KIND

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what the customer has; of several at once the one that Stripe heard last stands."""
        await calls.settle(services, operation)
        await calls.finish_settled(services, operation, answers, calls.refusal_of(answers, otherwise=_removed()))

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The customer, where it has this default."""
        return await calls.find_default(services, operation, operation.arguments["method"])
