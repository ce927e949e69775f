"""One Stripe customer per guest, made when it is first needed."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from models.operations import OperationStep
from models.sets import insert_rows
from models.users import User
from services.errors import DomainError, InvalidState
from services.operations import Answers, Claimed, Intent, PlannedStep, Refusal, claim, finish, new_step, record_answers
from services.payments.intents import CLOCK_SKEW
from services.stripe_requests import create_customer, list_customers

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation
    from services.core import Services

KIND = "create_customer"
_CALLER = "system:customers"


async def ensure_customer(services: Services, user: User) -> str:
    """The guest's customer id at Stripe, made if there is none; several that ask at once get the same.

    Raises: InvalidState where Stripe refuses to make one; OperationInProgress; StripeUnavailable.
    """
    if user.stripe_customer_id is not None:
        return user.stripe_customer_id
    # A refusal is recorded for ever: what it was about is part of the key, so that a corrected address is a new try.
    arguments = {"user_id": str(user.id), "email": user.email, "name": user.name}
    key = Intent(_CALLER, "-", KIND, arguments).arguments_hash.hex()
    for generation in count(1):
        claimed = await _made(services, user, Intent(_CALLER, f"{user.id}:{key}:{generation}", KIND, arguments))
        customer = (await User.get(id=user.id)).stripe_customer_id
        if customer is not None:
            return customer
        if claimed.new:
            break
        # It was made before, and is gone at Stripe since (`forget_customer`): another one is made.
    raise RuntimeError(f"user {user.id} has no customer after one was made")


async def forget_customer(services: Services, user_id: UUID, customer: str) -> None:
    """Forget a customer that was deleted at Stripe; the next payment makes another."""
    await services.database.pool.execute(
        "UPDATE users SET stripe_customer_id = NULL, updated_at = now() WHERE id = $1 AND stripe_customer_id = $2",
        user_id,
        customer,
    )


async def _made(services: Services, user: User, intent: Intent) -> Claimed:
    """Make a customer once for an intent.

    Raises: InvalidState; OperationInProgress; StripeUnavailable.
    """
    steps: list[OperationStep] = []
    async with services.database.transaction() as connection:
        claimed = await claim(
            connection, intent, subject_id=user.id, leased_until=services.clock() + services.operations.lease
        )
        if claimed.new:
            request = create_customer(email=user.email, name=user.name, metadata={"user_id": str(user.id)})
            steps = [new_step(claimed.operation.id, PlannedStep(KIND, request))]
            await insert_rows(connection, OperationStep, steps)
    await services.operations.answer(services, claimed, planned=steps)
    return claimed


class CreateCustomer:
    """How making a customer goes on: one call, planned at reserve."""

    name = KIND

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """There is only the one."""
        return None

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Keep the customer's id; the first one stays."""
        answer = answers.by_step[KIND]
        error: DomainError | None = None
        async with services.database.transaction() as connection:
            if isinstance(answer, Refusal):
                error = InvalidState("You cannot be charged. Please check your email address.", state="NO_CUSTOMER")
            else:
                await connection.execute(
                    """
                    UPDATE users SET stripe_customer_id = $2, updated_at = now()
                    WHERE id = $1 AND stripe_customer_id IS NULL
                    """,
                    operation.subject_id,
                    answer.body["id"],
                )
            await record_answers(connection, [(operation.id, KIND, answer)])
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The customer among those made since, by our metadata."""
        created = int((operation.created_at - CLOCK_SKEW).timestamp())
        async for customer in services.stripe.list_all(list_customers(created_gte=created)):
            if customer["metadata"].get("user_id") == str(operation.subject_id):
                return customer
        return None
