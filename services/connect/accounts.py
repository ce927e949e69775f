"""Opening a host's connected account, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.base import from_record, new_id
from models.connect_accounts import ConnectAccount
from models.countries import DEFAULT_CURRENCIES
from models.sets import insert_rows
from services.connect.facts import AccountFacts
from services.connect.settlement import apply_facts, lock_account
from services.errors import DomainError, InvalidInput, InvalidState
from services.lookups import find_made, made_since
from services.operations import (
    Answers,
    Intent,
    PlannedAtReserve,
    PlannedStep,
    Refusal,
    finish,
    record_answers,
    reserve,
)
from services.stripe_requests import create_account, list_accounts
from services.users import require_user

if TYPE_CHECKING:
    from models.connect_accounts import ConnectAccountType
    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from models.users import User
    from services.core import Services
    from services.stripe_gateway import StripeError
    from services.viewer import Viewer

KIND = "create_connect_account"


async def create_connect_account(
    services: Services, *, viewer: Viewer, type_: ConnectAccountType, country: str | None, idempotency_key: str
) -> ConnectAccount:
    """Open the viewer's connected account at Stripe; a host has one.

    Args:
        country: ISO 3166 alpha-2; the viewer's own where None, else the platform's.

    Raises: Forbidden, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    user = await require_user(viewer)
    where = country if country is not None else user.country or services.settings.platform_country
    if where not in DEFAULT_CURRENCIES:
        supported = ", ".join(DEFAULT_CURRENCIES)
        raise InvalidInput("country", f"Stripe cannot open accounts for hosts in {where!r}. It can in: {supported}.")
    intent = Intent(viewer.caller, idempotency_key, KIND, {"type": type_, "country": country})
    account = ConnectAccount(
        id=new_id(), user_id=user.id, type=type_, country=where, default_currency=DEFAULT_CURRENCIES[where]
    )

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        return [await _plan(connection, operation, user, account)]

    reserved = await reserve(services, intent, plan, subject_id=account.id)
    operation = await services.operations.answer(services, reserved)
    return await ConnectAccount.get(id=operation.subject_id)


async def _plan(connection: AnyConnection, operation: Operation, user: User, account: ConnectAccount) -> PlannedStep:
    """Make the account's row, which no other call of this host can make beside it, and plan the call."""
    await connection.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user.id)
    record = await connection.fetchrow(
        "SELECT * FROM connect_accounts WHERE user_id = $1 AND deauthorized_at IS NULL", user.id
    )
    if record is not None:
        existing = from_record(ConnectAccount, record)
        raise InvalidState("You have an account already.", state=existing.type.value)
    await insert_rows(connection, ConnectAccount, [account])
    request = create_account(
        account.type, country=account.country, email=user.email,
        metadata={"connect_account_id": str(account.id), "user_id": str(user.id), "operation_id": str(operation.id)},
    )  # fmt: skip
    return PlannedStep(KIND, request)


def _error_of(error: StripeError) -> DomainError:
    param = getattr(error, "param", None) or ""
    code = getattr(error, "code", None) or "refused"
    if param == "country":
        return InvalidInput("country", "Stripe cannot open accounts for hosts in this country.")
    if param == "email":
        return InvalidState("Stripe does not accept your email address.", state="INVALID_EMAIL")
    return InvalidState("Stripe refused to open the account.", state=str(code).upper())


class CreateConnectAccount(PlannedAtReserve):
    """How opening an account goes on: one call, planned at reserve."""

    name = KIND

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Fill the account's row in; a refusal takes it away, so that the host can try again."""
        answer = answers.by_step[KIND]
        error: DomainError | None = None
        async with services.database.transaction() as connection:
            if isinstance(answer, Refusal):
                error = _error_of(answer.error)
                await connection.execute(
                    "DELETE FROM connect_accounts WHERE id = $1 AND stripe_account_id IS NULL", operation.subject_id
                )
            else:
                account, xid = await lock_account(connection, operation.subject_id)
                if account.stripe_account_id is None:
                    facts = AccountFacts.parse(answer.body)
                    await apply_facts(
                        connection, account, xid, facts, platform_country=services.settings.platform_country,
                        actor=operation.caller,
                    )  # fmt: skip
            await record_answers(connection, [(operation.id, KIND, answer)])
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)
        services.live.wake()

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The account among those opened since, by our metadata."""
        made = list_accounts(created_gte=made_since(operation))
        return await find_made(services, made, connect_account_id=str(operation.subject_id))
