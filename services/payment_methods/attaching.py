"""Saving a method that Stripe.js made, to pay with it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.operations import OperationStep, StepStatus
from models.payment_methods import SavedPaymentMethod
from services.customers import ensure_customer
from services.errors import DomainError, InvalidInput, InvalidState
from services.operations import Answers, PlannedStep, Refusal
from services.payment_method_requests import attach_payment_method as attach_request
from services.payment_method_requests import retrieve_payment_method
from services.payment_methods import calls
from services.payment_methods.calls import MAKE_DEFAULT
from services.payment_methods.defaults import make_default
from services.payment_methods.reading import is_stripe_id
from services.stripe_gateway import Priority
from services.users import require_user

if TYPE_CHECKING:
    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

KIND: Final = "attach_payment_method"
ATTACH: Final = "attach"


async def attach_payment_method(
    services: Services, *, viewer: Viewer, stripe_payment_method_id: str, make_it_default: bool
) -> SavedPaymentMethod:
    """Save a method for the viewer; one that the viewer has saved already is answered as it is.

    The first method that is saved becomes the default in any case.

    Raises: Forbidden; InvalidInput for what cannot be saved, another's among it; CardDeclined where the bank says no;
        InvalidState; OperationInProgress; StripeUnavailable.
    """
    if not is_stripe_id(stripe_payment_method_id):
        raise InvalidInput(_FIELD, "A payment method is one of Stripe's ids (pm_…), as Stripe.js returns it.")
    user = await require_user(viewer)
    known = await SavedPaymentMethod.get_or_none(user_id=user.id, stripe_payment_method_id=stripe_payment_method_id)
    if known is not None and known.is_attached:
        if make_it_default and not known.is_default:
            return await make_default(services, known, actor=viewer.caller)
        return known
    customer = await ensure_customer(services, user)

    async def plan(_connection: AnyConnection) -> list[PlannedStep]:
        return [PlannedStep(ATTACH, attach_request(stripe_payment_method_id, customer=customer))]

    operation = await calls.act(
        services, KIND, user_id=user.id, customer=customer, actor=viewer.caller, subject_id=user.id,
        about={"method": stripe_payment_method_id, "make_default": make_it_default}, plan=plan,
    )  # fmt: skip
    # Stripe's test ids stand for a new method each time: only its answer says which.
    done = OperationStep.filter(operation_id=operation.id, step=ATTACH, status=StepStatus.DONE)
    step = await done.order_by("-attempt").first()
    assert step is not None
    return await SavedPaymentMethod.get(stripe_payment_method_id=step.stripe_object_id)


_FIELD: Final = "stripePaymentMethodId"


def _unusable() -> DomainError:
    """Whatever is wrong with it: that somebody else has saved it is nobody's business."""
    return InvalidInput(_FIELD, "This payment method cannot be saved. Please add it anew.")


class AttachPaymentMethod:
    """How saving a method goes on: it is attached, then made the default where it is the first or that is wanted."""

    name = KIND

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """Make it the default, or whichever is the newest where there is none."""
        attached = answers.get(ATTACH)
        if attached is None or isinstance(attached, Refusal) or MAKE_DEFAULT in answers.by_step:
            return None
        if operation.arguments["make_default"]:
            return calls.make_default(operation.arguments["customer"], attached.body["id"])
        return await calls.crown_heir(services, operation)

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what the customer has; that the default could not be set matters where it was asked for."""
        await calls.settle(services, operation)
        attached = answers.get(ATTACH)
        error: DomainError | None = None
        if attached is None or isinstance(attached, Refusal):
            error = calls.refusal_of(answers, otherwise=_unusable())
        elif not await SavedPaymentMethod.exists(stripe_payment_method_id=attached.body["id"]):
            error = InvalidState("The payment method was removed at once. Please add it anew.", state="DETACHED")
        elif operation.arguments["make_default"]:
            error = calls.refusal_of(
                answers, otherwise=InvalidState("It was saved, but could not be made the default.", state="ATTACHED")
            )
        await calls.finish_settled(services, operation, answers, error)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The method, where the customer has it; the customer, where it has that default."""
        if step.step == MAKE_DEFAULT:
            return await calls.find_default(services, operation, step.body.rpartition("=")[2])
        request = retrieve_payment_method(operation.arguments["method"])
        method = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        return method if method["customer"] == operation.arguments["customer"] else None
