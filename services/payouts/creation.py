"""Payouts that hosts ask for: standard ones, and those within minutes ("Manual payouts", "Instant Payouts")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.base import new_id
from models.connect_accounts import ConnectAccount
from models.currencies import currency as currency_by_code
from models.money import WIRE_AMOUNT_MAX, Money
from models.payouts import Payout
from models.sets import insert_rows
from services.changes import ChangeSet
from services.connect.balance import balances_of
from services.connect.own import own_account
from services.connect.settlement import lock_account
from services.errors import DomainError, InvalidInput, InvalidState
from services.lookups import find_made, made_since
from services.operations import (
    Answers,
    Intent,
    PlannedAtReserve,
    PlannedStep,
    Refusal,
    known_operation,
    recorded_error,
    reserve,
)
from services.payout_requests import create_payout as create_payout_request
from services.payout_requests import list_payouts
from services.payouts.facts import PayoutFacts
from services.payouts.failures import FAILURES, not_ready, refusal
from services.payouts.settlement import record_creation, refuse_payout, settle_payout

if TYPE_CHECKING:
    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

KIND: Final = "create_payout"


@dataclass(frozen=True, slots=True)
class PayoutResult:
    """A payout and why it was refused; a refused one has both."""

    payout: Payout
    error: DomainError | None


async def create_payout(
    services: Services, *, viewer: Viewer, amount: Money, instant: bool, idempotency_key: str
) -> PayoutResult:
    """Pay so much of the viewer's own balance out to their bank, within minutes where that is asked for.

    The same key resumes or replays, never repeats. Of two payouts that want the same money Stripe makes one: the other
    is refused, and says so.

    Raises: Forbidden; InvalidInput for more than there is, and what cannot be paid out; InvalidState; HostNotReady;
        IdempotencyKeyReused; OperationInProgress; StripeUnavailable.
    """
    intent = Intent(viewer.caller, idempotency_key, KIND, {"amount": str(amount), "instant": instant})
    reserved = await known_operation(services, intent)
    if reserved is None:
        account = await own_account(viewer)
        _check_amount(amount)
        _check_account(account)
        await _check_balance(services, account, amount, instant=instant)
        payout = Payout(
            id=new_id(), connect_account_id=account.id, stripe_account=account.stripe_account_id,
            amount_minor=amount.minor, currency=amount.currency, instant=instant, requested_by=viewer.caller,
        )  # fmt: skip

        async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
            return [await _plan(connection, operation, payout)]

        reserved = await reserve(services, intent, plan, subject_id=payout.id)
    operation = (await services.operations.end(services, reserved)).operation
    return PayoutResult(await Payout.get(id=operation.subject_id), recorded_error(operation))


def _check_amount(amount: Money) -> None:
    if amount.minor <= 0:
        raise InvalidInput("amount", "Only more than nothing can be paid out.")
    if amount.wire > WIRE_AMOUNT_MAX:
        raise InvalidInput("amount", "This is more than can be paid out at once.")
    step = Money(currency_by_code(amount.currency).payout_step_minor, amount.currency)
    if amount.minor % step.minor:
        raise InvalidInput("amount", f"Payouts in {amount.currency} go in steps of {step.amount}.")


def _check_account(account: ConnectAccount) -> None:
    if account.deauthorized_at is not None:
        raise InvalidState("Your account is no longer connected.", state="DEAUTHORIZED")
    if not account.payouts_enabled:
        raise not_ready(account)


async def _check_balance(services: Services, account: ConnectAccount, amount: Money, *, instant: bool) -> None:
    """Say what there is, before Stripe would say only that it is too little; Stripe decides where many ask at once."""
    found = {balance.available.currency: balance for balance in await balances_of(services, account)}
    balance = found.get(amount.currency)
    if balance is None:
        raise InvalidInput("amount", f"You have no balance in {amount.currency}.")
    most = balance.instant_available if instant else balance.available
    if most is None:
        raise InvalidState(FAILURES["instant_payouts_unsupported"], state="INSTANT_PAYOUTS_UNSUPPORTED")
    if amount > most:
        there = Money(max(0, most.minor), most.currency)
        waiting = f" {balance.pending} more is on its way." if not instant and balance.pending.minor > 0 else ""
        raise InvalidInput("amount", f"Only {there} can be paid out now.{waiting}")


async def _plan(connection: AnyConnection, operation: Operation, payout: Payout) -> PlannedStep:
    """Make the payout's row, and plan the call; the account may have changed since it was looked at."""
    assert payout.connect_account_id is not None
    account, xid = await lock_account(connection, payout.connect_account_id)
    _check_account(account)
    changes = ChangeSet(operation.caller, xid)
    record_creation(changes, payout, account)
    await insert_rows(connection, Payout, [payout])
    await changes.write(connection)
    request = create_payout_request(
        amount=payout.amount.wire, currency=payout.currency.lower(), instant=payout.instant,
        metadata={"payout_id": str(payout.id), "operation_id": str(operation.id)}, account=payout.stripe_account,
    )  # fmt: skip
    return PlannedStep(KIND, request)


class CreatePayout(PlannedAtReserve):
    """How a payout's operation goes on: one call, planned at reserve."""

    name = KIND

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Apply what Stripe made of it; a refusal leaves a payout that has FAILED and says why."""
        answer = answers.by_step[KIND]
        payout = await Payout.get(id=operation.subject_id)
        account = await ConnectAccount.get(id=payout.connect_account_id)
        if isinstance(answer, Refusal):
            code: str = getattr(answer.error, "code", None) or "refused"
            error = refusal(code, payout.amount, account)
            await refuse_payout(services, account, operation, answers, code=code, error=error)
        else:
            facts = PayoutFacts.parse(answer.body)
            await settle_payout(
                services, account, facts, actor=operation.caller, operation=operation, answers=answers
            )  # fmt: skip

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The payout among those of the account made since, by our metadata."""
        made = list_payouts(created_gte=made_since(operation), account=step.stripe_account)
        return await find_made(services, made, payout_id=str(operation.subject_id))
