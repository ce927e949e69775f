"""What the operations on saved methods have in common: their keys, the default, and how Stripe's no is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from models.base import from_record
from models.payment_methods import SavedPaymentMethod
from models.users import User
from services.customers import is_customer_gone
from services.dunning.tracking import new_default
from services.errors import CardDeclined, DomainError, InvalidState, NotFound
from services.operations import Answers, Intent, PlannedStep, Refusal, finish, record_answers, reserve
from services.payment_method_requests import retrieve_customer, set_default_payment_method
from services.payment_methods.settlement import settle_methods
from services.payments.facts import FailureFacts
from services.stripe_gateway import Priority, StripeCardError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.payment_methods.settlement import MethodsNow
    from services.stripe_gateway import StripeError

log = structlog.get_logger("payment_methods")

CALLER: Final = "system:payment_methods"
"""Who claims these operations: their mutations take no key, so that one is made of what they are about."""
MAKE_DEFAULT: Final = "make_default"


async def act(
    services: Services,
    kind: str,
    *,
    user_id: UUID,
    customer: str,
    actor: str,
    subject_id: UUID,
    about: Mapping[str, Any],
    plan: Callable[[AnyConnection], Awaitable[Sequence[PlannedStep]]],
) -> Operation:
    """Do something with the methods of a customer, once for all who ask for the same at the same time.

    When it has ended the methods have been settled, which makes the next one a new operation: a card that was declined
    may be tried again, and what somebody undid be done again.

    Args:
        actor: in whose name it is, for the audit trail.
        about: what is asked for, and what a later process needs to go on with it.

    Raises: the recorded DomainError of a refusal, and what `plan` raises; OperationInProgress; StripeUnavailable.
    """
    settled = (await User.get(id=user_id)).methods_settled
    digest = Intent(CALLER, "-", kind, about).arguments_hash.hex()
    arguments = {"user_id": str(user_id), "customer": customer, "actor": actor, **about}

    async def steps(connection: AnyConnection, _operation: Operation) -> Sequence[PlannedStep]:
        # Nobody else plans anything with the guest's methods until this is planned.
        await connection.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
        return await plan(connection)

    intent = Intent(CALLER, f"{customer}:{settled}:{digest}", kind, about)
    reserved = await reserve(services, intent, steps, subject_id=subject_id, arguments=arguments)
    return await services.operations.answer(services, reserved)


async def own_method(connection: AnyConnection, user_id: UUID, method_id: UUID) -> SavedPaymentMethod:
    """A method of that guest.

    Raises: NotFound.
    """
    record = await connection.fetchrow(
        "SELECT * FROM payment_methods WHERE id = $1 AND user_id = $2", method_id, user_id
    )
    if record is None:
        raise NotFound("There is no such payment method.", path=["input", "paymentMethodId"])
    return from_record(SavedPaymentMethod, record)


def make_default(customer: str, method: str) -> PlannedStep:
    """The call that has a customer's invoices paid with this method."""
    return PlannedStep(MAKE_DEFAULT, set_default_payment_method(customer, method))


async def crown_heir(services: Services, operation: Operation) -> PlannedStep | None:
    """The call that makes the newest method the default, where the customer has methods and none of them is.

    Raises: StripeError.
    """
    heir = (await settle(services, operation)).heir
    return None if heir is None else make_default(operation.arguments["customer"], heir.stripe_payment_method_id)


async def find_default(services: Services, operation: Operation, wanted: str) -> dict[str, Any] | None:
    """The customer itself, where that method is its default."""
    request = retrieve_customer(operation.arguments["customer"])
    customer = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
    settings = customer.get("invoice_settings") or {}
    return customer if settings.get("default_payment_method") == wanted else None


async def settle(services: Services, operation: Operation) -> MethodsNow:
    """Settle the methods of the operation's customer.

    Raises: StripeError.
    """
    given = operation.arguments
    return await settle_methods(services, UUID(given["user_id"]), given["customer"], actor=given["actor"])


async def finish_settled(
    services: Services, operation: Operation, answers: Answers, error: DomainError | None
) -> None:
    """End an operation whose methods are settled."""
    if operation.attempts and MAKE_DEFAULT in answers.by_step:
        # Whoever went before may have ended between settling the default and telling of it.
        await new_default(services, UUID(operation.arguments["user_id"]))
    async with services.database.transaction() as connection:
        await record_answers(connection, [(operation.id, step, answer) for step, answer in answers.by_step.items()])
        await finish(connection, [operation.id], errors={operation.id: error} if error else None)


def refusal_of(answers: Answers, *, otherwise: DomainError) -> DomainError | None:
    """Why an operation did not do what was asked: the bank's no, a customer that is gone, or else what is said here."""
    refused = next((answer for answer in answers.by_step.values() if isinstance(answer, Refusal)), None)
    if refused is None:
        return answers.error
    return _told(refused.error, otherwise)


def _told(error: StripeError, otherwise: DomainError) -> DomainError:
    if isinstance(error, StripeCardError):
        said = {"code": error.code, "decline_code": error.decline_code, "advice_code": error.advice_code}
        failure = FailureFacts.parse(said)
        assert failure is not None
        return CardDeclined(
            failure.message, decline_code=failure.decline_code or failure.code, retryable=failure.retryable
        )
    if is_customer_gone(error):
        return InvalidState("Something has changed in the meantime. Please try again.", state="CUSTOMER_GONE")
    log.warning(
        "payment_methods.refused_by_stripe", code=getattr(error, "code", None), param=getattr(error, "param", None),
        request_id=error.request_id,
    )  # fmt: skip
    return otherwise
