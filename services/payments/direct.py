"""Direct charges: what goes before a payment intent on a host's own account ("Create direct charges").

A guest's methods are the platform's. For each try one is cloned to the host's account, where it can be paid with once
("Clone PaymentMethods across accounts"): no customer of the guest's is made there. A method that is to be saved is
attached to the guest's own customer first, since one that is nobody's is used up by its clone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.users import User
from services.customers import ensure_customer
from services.operations import PlannedStep, Refusal
from services.payment_method_requests import attach_payment_method, clone_payment_method, retrieve_payment_method
from services.payment_methods.saving import take_in
from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from models.operations import Operation, OperationStep
    from models.payments import Payment
    from services.core import Services
    from services.operations import Answers

ATTACH: Final = "attach_method"
CLONE: Final = "clone_method"

_OWN: Final = """
SELECT stripe_customer_id FROM payment_methods
WHERE user_id = $1 AND stripe_payment_method_id = $2 AND detached_at IS NULL
"""


async def next_method_step(
    services: Services, payment: Payment, method: str, answers: Answers, *, saves: bool = False
) -> PlannedStep | None:
    """The next call on the way to a method on the host's account; None once there is one.

    Args:
        method: the platform's method: one that the guest has saved, or one that is nobody's yet.
        saves: whether it is to be saved to the guest's customer.

    Raises: InvalidState where the guest can be no customer; OperationInProgress; StripeUnavailable.
    """
    if CLONE in answers.by_step:
        return None
    attached = answers.get(ATTACH)
    if attached is not None and not isinstance(attached, Refusal):
        return _clone(payment, attached.body["id"], attached.body["customer"])
    customer = await services.database.pool.fetchval(_OWN, payment.payer_id, method)
    if customer is None and saves:
        customer = await ensure_customer(services, await User.get(id=payment.payer_id))
        return PlannedStep(ATTACH, attach_payment_method(method, customer=customer))
    return _clone(payment, method, customer)


def _clone(payment: Payment, method: str, customer: str | None) -> PlannedStep:
    request = clone_payment_method(method, customer=customer, stripe_account=payment.stripe_account)
    return PlannedStep(CLONE, request)


def cloned(answers: Answers) -> str:
    """The method on the host's account."""
    clone = answers.by_step[CLONE]
    assert not isinstance(clone, Refusal)
    return str(clone.body["id"])


async def find_method(services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
    """What a lost call on a method made: whether one is attached shows; one clone more moves nothing."""
    if step.step == CLONE:
        return None
    request = retrieve_payment_method(operation.arguments["payment_method"])
    method = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
    return method if method.get("customer") else None


async def keep_attached(services: Services, payment: Payment, answers: Answers, *, actor: str) -> None:
    """Take in the method that was saved on the way, so that its guest finds it there at once."""
    attached = answers.get(ATTACH)
    if attached is not None and not isinstance(attached, Refusal):
        await take_in(services, payment.payer_id, attached.body["customer"], actor=actor)
