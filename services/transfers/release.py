"""Releasing hosts' parts: what the platform holds of a payment is sent to its hosts, each by an operation of its own.

What is planned is taken out of what is owed in the same transaction, under the payment's lock, so that nothing is sent
twice, however many look at once; a transfer that Stripe refuses is owed again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from models.base import from_record, new_id
from models.connect_accounts import ConnectAccount
from models.ledger import LedgerTransactionKind
from models.money import Money
from models.operations import OperationStep
from models.payments import Payment, PaymentAllocation
from models.sets import insert_rows, update_rows
from models.transfers import Transfer, TransferStatus
from services.changes import ChangeSet
from services.errors import OperationInProgress, StripeUnavailable
from services.ledger import PLATFORM, LedgerBatch, Pot, host_balance, host_owed
from services.lookups import find_made
from services.operations import (
    Intent,
    PlannedAtReserve,
    PlannedStep,
    Refusal,
    Reserved,
    claim,
    finish,
    new_step,
    record_answers,
)
from services.payments.facts import instant
from services.stripe_gateway import Priority
from services.transfer_requests import create_transfer, list_transfers
from services.transfers.amounts import amount_for, sent_so_far, source_of, worths
from services.transfers.debts import set_off
from services.transfers.holds import held, held_for, state_of
from services.transfers.parts import HostParts
from services.transfers.times import AGAIN_LATER, AGAIN_SOMEDAY

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.operations import Answer, Answers
    from services.transfers.parts import HostPart

log = structlog.get_logger("transfers")

SEND = "send_transfer"
CREATE_TRANSFER = "create_transfer"
CALLER: Final = "system:release"

_LOCK = "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE"
_TRANSFER = "SELECT * FROM transfers WHERE id = $1"
_ALLOCATION = "SELECT * FROM payment_allocations WHERE id = $1"
_REFUSALS = "SELECT count(*) FROM transfers WHERE allocation_id = $1 AND status = 'REFUSED'"
_DUE = "SELECT EXISTS (SELECT FROM payment_allocations WHERE payment_id = $1 AND release_at <= $2)"
_ACCOUNTS = "SELECT * FROM connect_accounts WHERE user_id = ANY($1) AND deauthorized_at IS NULL"
_TRANSFER_COLUMNS = ("status", "stripe_transfer_id", "failure_code")
_ALLOCATION_COLUMNS = ("transferred_minor", "owed_minor", "release_at", "stripe_account_id")


async def release(services: Services, payment_id: UUID, *, priority: Priority = Priority.BACKGROUND) -> int:
    """Send the hosts of a payment what is due to them now, if anything is; what cannot be sent now is looked at again.

    What goes wrong with a transfer that was begun is no error here: it goes on by itself.

    Returns: how many transfers were begun.
    """
    if not await services.database.pool.fetchval(_DUE, payment_id, services.clock()):
        return 0
    await set_off(services, payment_id)
    planned = await _plan(services, payment_id)
    ends = await asyncio.gather(
        *(_run(services, reserved, priority) for reserved in planned), return_exceptions=True
    )
    for end in ends:
        if isinstance(end, BaseException):  # the end of this process, not of a transfer
            raise end
    return len(planned)


async def release_at_once(services: Services, payment: Payment, *, priority: Priority) -> None:
    """Send the hosts of a payment that was just made theirs, where that is due and possible; the job does the rest.

    Whoever paid has paid: what goes wrong here is not for them to know.
    """
    try:
        await release(services, payment.id, priority=priority)
    except Exception:
        log.exception("transfers.left_to_the_job", payment=str(payment.id))


async def _run(services: Services, reserved: Reserved, priority: Priority) -> None:
    operation = reserved.claimed.operation
    try:
        await services.operations.complete(services, operation, planned=reserved.steps, priority=priority)
    except (StripeUnavailable, OperationInProgress) as error:
        log.info("transfers.not_known_yet", transfer=str(operation.subject_id), error=error.code)
    except Exception:
        # A bug with one host's transfer must hide no other's; its operation is taken up again by the recovery.
        log.exception("transfers.send_failed", transfer=str(operation.subject_id), operation=str(operation.id))


async def _plan(services: Services, payment_id: UUID) -> list[Reserved]:
    """Set aside what is due, and claim an operation for each host's transfer, in one transaction."""
    async with services.database.transaction() as connection:
        payment, _ = await _locked(connection, payment_id)
        plan = _Plan(services, payment, await HostParts.read(connection, payment))
        await plan.draw(connection)
        return await plan.write(connection)


class _Plan:
    """What one look at a locked payment decides."""

    def __init__(self, services: Services, payment: Payment, parts: HostParts) -> None:
        self.services = services
        self.now = services.clock()
        self.payment = payment
        self.parts = parts
        self.transfers: list[Transfer] = []
        self.reserved: list[Reserved] = []

    async def draw(self, connection: AnyConnection) -> None:
        """Decide about each host whose part is due."""
        due = [part for part in self.parts.parts if self._is_due(part.allocation)]
        if not due:
            return
        state = await state_of(connection, self.payment.id)
        hold = held(self.payment, state, self.services.settings, self.now)
        if hold is not None:
            for part in due:
                part.allocation.release_at = hold.until
            return
        records = await connection.fetch(_ACCOUNTS, [part.allocation.host_id for part in due])
        accounts = {record["user_id"]: from_record(ConnectAccount, record) for record in records}
        worth = dict(
            zip(
                (part.allocation.id for part in self.parts.parts),
                worths(self.payment, [part.allocation for part in self.parts.parts]),
                strict=True,
            )
        )
        for part in due:
            await self._send(connection, part, accounts.get(part.allocation.host_id), worth[part.allocation.id])

    def _is_due(self, allocation: PaymentAllocation) -> bool:
        if allocation.release_at is None or allocation.release_at > self.now:
            return False
        if allocation.owed_minor <= 0 or not self.payment.status.is_captured:
            allocation.release_at = None
            return False
        return True

    async def _send(
        self, connection: AnyConnection, part: HostPart, account: ConnectAccount | None, worth: Money
    ) -> None:
        allocation = part.allocation
        hold = held_for(account, self.now)
        if hold is not None or account is None:
            allocation.release_at = hold.until if hold else None
            return
        covers = allocation.owed
        amount = amount_for(allocation, worth, sent_so_far(part), covers)
        allocation.release_at = None
        if amount.minor <= 0:
            return
        allocation.owed_minor -= covers.minor
        allocation.stripe_account_id = account.stripe_account_id or ""
        transfer = Transfer(
            id=new_id(), payment_id=self.payment.id, allocation_id=allocation.id,
            stripe_account_id=allocation.stripe_account_id, amount_minor=amount.minor, currency=amount.currency,
            covers_minor=covers.minor, status=TransferStatus.PLANNED,
        )  # fmt: skip
        claimed = await claim(
            connection, Intent(CALLER, str(transfer.id), SEND, {"payment_id": str(self.payment.id)}),
            subject_id=transfer.id, leased_until=self.now + self.services.operations.lease,
        )  # fmt: skip
        transfer.operation_id = claimed.operation.id
        step = new_step(claimed.operation.id, PlannedStep(CREATE_TRANSFER, _request(self.payment, transfer)))
        self.transfers.append(transfer)
        self.reserved.append(Reserved(claimed, [step]))

    async def write(self, connection: AnyConnection) -> list[Reserved]:
        """Write what was decided."""
        await insert_rows(connection, Transfer, self.transfers)
        await insert_rows(connection, OperationStep, [step for reserved in self.reserved for step in reserved.steps])
        allocations = [part.allocation for part in self.parts.parts]
        await update_rows(connection, PaymentAllocation, allocations, _ALLOCATION_COLUMNS)
        return self.reserved


def _request(payment: Payment, transfer: Transfer) -> Any:
    return create_transfer(
        amount=transfer.amount.wire,
        currency=transfer.currency.lower(),
        destination=transfer.stripe_account_id,
        transfer_group=str(payment.id),
        source_transaction=source_of(payment),
        metadata={
            "payment_id": str(payment.id), "transfer_id": str(transfer.id),
            "operation_id": str(transfer.operation_id),
        },
    )  # fmt: skip


class SendTransfer(PlannedAtReserve):
    """How a transfer's operation goes on: one call, planned when it was set aside."""

    name = SEND

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Count what was sent, or owe it again."""
        payment_id = (await Transfer.get(id=operation.subject_id)).payment_id
        answer = answers.by_step[CREATE_TRANSFER]
        async with services.database.transaction() as connection:
            payment, xid = await _locked(connection, payment_id)
            transfer = from_record(Transfer, (await connection.fetch(_TRANSFER, operation.subject_id))[0])
            if transfer.status is TransferStatus.PLANNED:
                changes = ChangeSet(operation.caller, xid)
                await _settle(connection, payment, transfer, answer, changes, services.clock())
                await changes.write(connection)
            await record_answers(connection, [(operation.id, CREATE_TRANSFER, answer)])
            await finish(connection, [operation.id])

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The transfer among those of the payment's group, which are listed strongly consistent."""
        transfer = await Transfer.get(id=operation.subject_id)
        made = list_transfers(transfer_group=str(transfer.payment_id))
        return await find_made(services, made, transfer_id=str(transfer.id))


async def _locked(connection: AnyConnection, payment_id: UUID) -> tuple[Payment, int]:
    record = await connection.fetchrow(_LOCK, payment_id)
    if record is None:
        raise LookupError(f"no payment {payment_id}")
    return from_record(Payment, record), record["xid"]


async def _settle(
    connection: AnyConnection, payment: Payment, transfer: Transfer, answer: Answer, changes: ChangeSet, now: datetime
) -> None:
    """Count what was sent of an allocation of a locked payment, or owe it again."""
    allocation = from_record(PaymentAllocation, (await connection.fetch(_ALLOCATION, transfer.allocation_id))[0])
    ledger = LedgerBatch()
    if isinstance(answer, Refusal):
        transfer.status = TransferStatus.REFUSED
        transfer.failure_code = getattr(answer.error, "code", None) or "refused"
        refused_before = await connection.fetchval(_REFUSALS, allocation.id)
        allocation.owed_minor += transfer.covers_minor
        allocation.release_at = now + min(AGAIN_LATER * 2 ** min(refused_before, 5), AGAIN_SOMEDAY)
        log.warning(
            "transfers.refused", payment=str(payment.id), code=transfer.failure_code,
            request_id=answer.error.request_id,
        )  # fmt: skip
    else:
        transfer.status = TransferStatus.PAID
        transfer.stripe_transfer_id = answer.body["id"]
        allocation.transferred_minor += transfer.covers_minor
        ledger.move(
            LedgerTransactionKind.TRANSFER, f"transfer:{transfer.stripe_transfer_id}",
            sending(allocation, Money(transfer.covers_minor, allocation.currency), transfer.amount),
            occurred_at=instant(answer.body["created"]), payment_id=payment.id,
            stripe_object_id=transfer.stripe_transfer_id,
        )  # fmt: skip
    changes.audit(
        f"transfer.{transfer.status.value.lower()}", "PAYMENT", payment.id, before=None,
        after={
            "transfer_id": str(transfer.id), "host_id": str(allocation.host_id), "covers_minor": transfer.covers_minor,
            "currency": allocation.currency, "amount_minor": transfer.amount_minor,
            "transfer_currency": transfer.currency, "stripe_account_id": transfer.stripe_account_id,
            "stripe_transfer_id": transfer.stripe_transfer_id, "failure_code": transfer.failure_code,
        },
    )  # fmt: skip
    await update_rows(connection, Transfer, [transfer], _TRANSFER_COLUMNS)
    await update_rows(connection, PaymentAllocation, [allocation], _ALLOCATION_COLUMNS)
    await ledger.write(connection)


def sending(allocation: PaymentAllocation, covers: Money, amount: Money) -> list[tuple[Pot, Money]]:
    """The legs of a transfer of `amount` that pays `covers` of what a host is owed; what is sent in another currency
    than the payment's is paid out of the platform's balance in that currency.
    """
    owed, host = host_owed(allocation.host_id), host_balance(allocation.host_id)
    if amount.currency == covers.currency:
        # What settled in the payment's own currency is worth itself.
        return [(owed, -covers), (host, amount), (PLATFORM, covers - amount)]
    return [(owed, -covers), (PLATFORM, covers), (PLATFORM, -amount), (host, amount)]
