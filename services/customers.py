"""One Stripe customer per guest, made when it is first needed."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from models.base import from_record
from models.payment_methods import SavedPaymentMethod
from models.sets import update_rows
from models.users import User
from services.changes import ChangeSet
from services.errors import DomainError, InvalidState
from services.lookups import find_made, made_since
from services.operations import (
    Answers,
    Claimed,
    Intent,
    PlannedAtReserve,
    PlannedStep,
    Refusal,
    finish,
    record_answers,
    reserve,
)
from services.payment_methods.history import record_change, snapshot
from services.stripe_gateway import StripeInvalidRequest
from services.stripe_requests import create_customer, list_customers

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.stripe_gateway import StripeError

KIND = "create_customer"
_CALLER = "system:customers"

_FORGET = """
UPDATE users SET stripe_customer_id = NULL, updated_at = now() WHERE id = $1 AND stripe_customer_id = $2
RETURNING pg_current_xact_id()::text::bigint AS xid
"""
_THEIRS = """
SELECT * FROM payment_methods WHERE user_id = $1 AND stripe_customer_id = $2 AND detached_at IS NULL
ORDER BY id FOR NO KEY UPDATE
"""


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


async def forget_customer(services: Services, user_id: UUID, customer: str, *, actor: str = _CALLER) -> None:
    """Forget a customer that was deleted at Stripe, and what it had saved; the next payment makes another."""
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_FORGET, user_id, customer)
        if record is None:
            return
        changes = ChangeSet(actor, record["xid"])
        for known in await connection.fetch(_THEIRS, user_id, customer):
            method = from_record(SavedPaymentMethod, known)
            before = snapshot(method)
            method.detached_at, method.is_default = services.clock(), False
            record_change(changes, method, before)
            await update_rows(connection, SavedPaymentMethod, [method], ("detached_at", "is_default"))
        await changes.write(connection)


def is_customer_gone(error: StripeError) -> bool:
    """Whether a call was refused since the guest's customer was deleted ("Error codes", resource_missing)."""
    return isinstance(error, StripeInvalidRequest) and (error.code, error.param) == ("resource_missing", "customer")


def customer_in(step: OperationStep) -> str:
    """The customer that a stored request names: the guest's own may be another by now."""
    return parse_qs(step.body)["customer"][0]


async def _made(services: Services, user: User, intent: Intent) -> Claimed:
    """Make a customer once for an intent.

    Raises: InvalidState; OperationInProgress; StripeUnavailable.
    """

    async def plan(_connection: AnyConnection, _operation: Operation) -> list[PlannedStep]:
        request = create_customer(email=user.email, name=user.name, metadata={"user_id": str(user.id)})
        return [PlannedStep(KIND, request)]

    reserved = await reserve(services, intent, plan, subject_id=user.id)
    await services.operations.answer(services, reserved)
    return reserved.claimed


class CreateCustomer(PlannedAtReserve):
    """How making a customer goes on: one call, planned at reserve."""

    name = KIND

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
        made = list_customers(created_gte=made_since(operation))
        return await find_made(services, made, user_id=str(operation.subject_id))
