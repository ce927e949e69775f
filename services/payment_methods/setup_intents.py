"""Setup intents: Stripe.js saves a method for later, without a payment ("Set up future payments")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.operations import OperationStep
from models.users import User
from services.customers import customer_in, ensure_customer, forget_customer, is_customer_gone
from services.errors import DomainError, InvalidState
from services.lookups import find_made, made_since
from services.operations import Answers, Intent, PlannedStep, Refusal, finish, record_answers, reserve
from services.payment_method_requests import create_setup_intent as create_request
from services.payment_method_requests import list_setup_intents
from services.payment_methods import calls
from services.users import require_user

if TYPE_CHECKING:
    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

KIND: Final = "create_setup_intent"

_KEEP: Final = """
UPDATE operation_steps SET response = jsonb_build_object('client_secret', $2::text)
WHERE operation_id = $1 AND step = 'create_setup_intent'
"""


async def create_setup_intent(services: Services, *, viewer: Viewer, idempotency_key: str) -> str:
    """The client secret of a setup intent for the viewer; the same key answers the same one.

    Stripe.js confirms it, which attaches the method; Stripe's events bring it here.

    Raises: Forbidden; InvalidInput; InvalidState; IdempotencyKeyReused; OperationInProgress; StripeUnavailable.
    """
    user = await require_user(viewer)

    async def plan(_connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        return [_step(operation, user.stripe_customer_id)] if user.stripe_customer_id is not None else []

    intent = Intent(viewer.caller, idempotency_key, KIND, {})
    operation = await services.operations.answer(
        services, await reserve(services, intent, plan, subject_id=user.id)
    )
    step = await OperationStep.filter(operation_id=operation.id, step=KIND).order_by("-attempt").first()
    assert step is not None
    assert step.response is not None
    return str(step.response["client_secret"])


def _step(operation: Operation, customer: str) -> PlannedStep:
    metadata = {"operation_id": str(operation.id), "user_id": str(operation.subject_id)}
    return PlannedStep(KIND, create_request(customer=customer, metadata=metadata))


class CreateSetupIntent:
    """How making a setup intent goes on: a customer if the guest is none yet, then the intent."""

    name = KIND

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The setup intent, where it was not planned at reserve."""
        if answers.get(KIND) is not None:
            return None
        return _step(operation, await ensure_customer(services, await User.get(id=operation.subject_id)))

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Keep the secret, which is all there is to it; what the guest saves with it is settled on its own."""
        answer = answers.get(KIND)
        error: DomainError | None = answers.error
        if isinstance(answer, Refusal):
            error = calls.refusal_of(
                answers, otherwise=InvalidState("Nothing can be saved at the moment.", state="REFUSED")
            )
            step = await OperationStep.filter(operation_id=operation.id, step=KIND).order_by("attempt").first()
            if step is not None and is_customer_gone(answer.error):
                await forget_customer(services, operation.subject_id, customer_in(step))
        async with services.database.transaction() as connection:
            if answer is not None:
                await record_answers(connection, [(operation.id, KIND, answer)])
            if answer is not None and not isinstance(answer, Refusal):
                await connection.execute(_KEEP, operation.id, answer.body["client_secret"])
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The setup intent among those of the customer that the stored request names."""
        made = list_setup_intents(customer=customer_in(step), created_gte=made_since(operation))
        return await find_made(services, made, operation_id=str(operation.id))
