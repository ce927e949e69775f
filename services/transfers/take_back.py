"""Taking the hosts' part of a payment back: first what the platform still holds of it, then what was sent.

A refund or a lost dispute takes so much of the hosts' part. It is split by what is left of each allocation (its amount
less what was taken of it before), with the largest remainder, so that no host gives more than is left and the last unit
of all is taken exactly. The platform has it at once: what it held for a host (`owed`) is less by it, below zero as far
as it was sent, and that much the host owes until it has come back. Then what was sent is reversed, the latest transfer
first ("Create a transfer reversal"), each reversal a step of the same operation. Where Stripe refuses one, and for what
no transfer brought, the host goes on owing it; `services/transfers/debts.py` says how that is recovered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from models.base import from_record, new_id
from models.ledger import LedgerTransactionKind
from models.money import Money
from models.sets import insert_rows, update_rows
from models.transfers import TransferReversal, TransferStatus
from services.errors import OperationInProgress
from services.ledger import PLATFORM, LedgerBatch, host_balance, host_owed
from services.lookups import find_made
from services.operations import PlannedStep, Refusal, keep_arguments
from services.payments.facts import instant
from services.transfer_requests import create_transfer_reversal, list_transfer_reversals
from services.transfers.parts import HostPart, HostParts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from models.operations import Operation, OperationStep
    from models.payments import Payment, PaymentAllocation
    from models.sets import AnyConnection
    from services.core import Services
    from services.operations import Answers

REVERSE_TRANSFER: Final = "reverse_transfer"
"""What the steps are called: `reverse_transfer:{id of the TransferReversal}`."""

_TAKEN: Final = "taken_back"
_HELD: Final = "taken_of_held"
_RETRY_AFTER_S: Final = 2
_OF_OPERATION: Final = "SELECT * FROM transfer_reversals WHERE operation_id = $1 ORDER BY id"
_REVERSAL_COLUMNS: Final = ("status", "stripe_reversal_id", "failure_code")


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What one operation took of the hosts' part, in the payment's currency; together that is what was planned."""

    held: Money
    """What the platform had not sent yet, or held again."""
    reversed: Money
    """What came back to the platform by reversals."""
    refused: Money
    """What Stripe did not reverse: the hosts owe it to the platform."""


async def plan_take_back(
    connection: AnyConnection,
    payment: Payment,
    host_part: Money,
    operation: Operation,
    *,
    refund_id: UUID | None = None,
    dispute_id: UUID | None = None,
) -> list[PlannedStep]:
    """Take this much of the hosts' part of a locked payment back, and plan the reversals of what of it was sent.

    Lowers `owed_minor` of the allocations and posts that, writes a PLANNED `TransferReversal` for each transfer that
    has to be reversed, and keeps what it took of each allocation in the operation's arguments.

    Args:
        payment: locked by the caller; SEPARATE, or DESTINATION where Stripe did not reverse its transfer by itself.
        host_part: in the payment's currency; what exceeds all that is left of the hosts' part is not taken.
        refund_id, dispute_id: what it is taken for.

    Returns: a step for each reversal, none where everything is still held.
    Raises: OperationInProgress while a transfer of this payment is under way that would have to be reversed; nothing is
        changed then.
    """
    parts = await HostParts.read(connection, payment)
    taken = parts.lower(host_part)
    due = parts.to_reverse(taken)
    require_known(parts, due)
    ledger = LedgerBatch()
    kind = LedgerTransactionKind.DISPUTE_LOST if dispute_id else LedgerTransactionKind.REFUND
    post_lowered(
        parts, taken, ledger, kind=kind, reference=f"taken_back:{operation.id}",
        occurred_at=await connection.fetchval("SELECT now()"), refund_id=refund_id,
    )  # fmt: skip
    await remember(connection, operation, taken, due)
    reversals = await plan_reversals(
        connection, parts, due, operation, ledger, refund_id=refund_id, dispute_id=dispute_id
    )
    await parts.write(connection)
    await ledger.write(connection)
    return steps_of(reversals)


def require_known(parts: HostParts, due: Mapping[UUID, int]) -> None:
    """Refuse to reverse a host's part while a transfer of it is under way: nobody can tell yet what there is.

    Raises: OperationInProgress.
    """
    if any(parts.part(allocation_id).under_way for allocation_id in due):
        raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)


def post_lowered(
    parts: HostParts, taken: Mapping[UUID, Money], ledger: LedgerBatch, *, kind: LedgerTransactionKind, reference: str,
    occurred_at: datetime, refund_id: UUID | None = None, stripe_object_id: str | None = None,
) -> None:  # fmt: skip
    """Post what `HostParts.lower` took: what the hosts were owed is the platform's."""
    whole = sum(taken.values(), Money.zero(parts.payment.currency))
    ledger.move(
        kind, reference,
        [*((host_owed(part.allocation.host_id), -taken[part.allocation.id]) for part in parts.parts),
         (PLATFORM, whole)],
        occurred_at=occurred_at, payment_id=parts.payment.id, refund_id=refund_id, stripe_object_id=stripe_object_id,
    )  # fmt: skip


async def remember(
    connection: AnyConnection, operation: Operation, taken: Mapping[UUID, Money], due: Mapping[UUID, int]
) -> None:
    """Keep in the operation what it took of each allocation, and how much of that the platform held."""
    whole = sum(money.minor for money in taken.values())
    await keep_arguments(
        connection, operation,
        {
            _TAKEN: {str(allocation_id): money.minor for allocation_id, money in taken.items()},
            _HELD: whole - sum(due.values()),
        },
    )  # fmt: skip


def taken_by_allocation(operation: Operation) -> dict[UUID, int]:
    """What an operation took of each allocation, in minor units of the payment's currency."""
    return {UUID(id_): minor for id_, minor in operation.arguments.get(_TAKEN, {}).items()}


async def plan_reversals(
    connection: AnyConnection,
    parts: HostParts,
    due: Mapping[UUID, int],
    operation: Operation,
    ledger: LedgerBatch,
    *,
    refund_id: UUID | None = None,
    dispute_id: UUID | None = None,
) -> list[TransferReversal]:
    """Plan to reverse so much of each allocation, as far as transfers brought it; the rows, which are written.

    What is less than one unit of a transfer's currency is not asked for: it is made up for by later reversals.
    """
    rows: list[TransferReversal] = []
    for allocation_id, minor in due.items():
        part = parts.part(allocation_id)
        for source, covered, amount in parts.draw(part, minor):
            row = TransferReversal(
                id=new_id(), payment_id=parts.payment.id, allocation_id=allocation_id, transfer_id=source.transfer_id,
                refund_id=refund_id, dispute_id=dispute_id, operation_id=operation.id,
                stripe_transfer_id=source.stripe_transfer_id, amount_minor=amount.minor, currency=amount.currency,
                covers_minor=covered, status=TransferStatus.PLANNED if amount else TransferStatus.PAID,
            )  # fmt: skip
            rows.append(row)
            if not amount:
                _come_back(part, row, ledger, occurred_at=await connection.fetchval("SELECT now()"))
    await insert_rows(connection, TransferReversal, rows)
    return rows


def steps_of(reversals: list[TransferReversal]) -> list[PlannedStep]:
    """The calls that make reversals that have no answer yet; each is the same whenever it is asked for."""
    return [
        PlannedStep(
            f"{REVERSE_TRANSFER}:{row.id}",
            create_transfer_reversal(
                row.stripe_transfer_id,
                amount=row.amount.wire,
                metadata={
                    "transfer_reversal_id": str(row.id),
                    "operation_id": str(row.operation_id),
                    "payment_id": str(row.payment_id),
                },
            ),
        )
        for row in reversals
        if row.status is TransferStatus.PLANNED
    ]


async def find_reversal(services: Services, step: OperationStep) -> dict[str, Any] | None:
    """What a step of reversing a transfer made, among the reversals of that transfer ("List all reversals")."""
    row = await TransferReversal.get(id=UUID(step.step.partition(":")[2]))
    return await find_made(
        services, list_transfer_reversals(row.stripe_transfer_id), transfer_reversal_id=str(row.id)
    )


async def reversals_of(connection: AnyConnection, operation: Operation) -> list[TransferReversal]:
    """The reversals that an operation planned."""
    return [from_record(TransferReversal, record) for record in await connection.fetch(_OF_OPERATION, operation.id)]


async def settle_take_back(
    connection: AnyConnection, payment: Payment, answers: Answers, operation: Operation, ledger: LedgerBatch
) -> TakenBack:
    """Settle the reversals of an operation whose take-back was planned, and post what moved.

    A reversal that Stripe made is PAID: what it covers counts as reversed, and the host does not owe it any more. One
    that was refused (the host's balance did not have it) is REFUSED, and the host goes on owing it (`owed_minor` is
    below zero). Called again it changes nothing more.

    Args:
        payment: locked by the caller.
        ledger: gets the movements; the caller writes it in the same transaction.
    """
    parts = await HostParts.read(connection, payment)
    rows = await reversals_of(connection, operation)
    changed = [row for row in rows if row.status is TransferStatus.PLANNED and _answer(row, answers, parts, ledger)]
    await update_rows(connection, TransferReversal, changed, _REVERSAL_COLUMNS)
    if changed:
        await parts.write(connection)
    whole = sum(taken_by_allocation(operation).values())
    held: int = operation.arguments.get(_HELD, 0)
    came_back = sum(row.covers_minor for row in rows if row.status is TransferStatus.PAID)
    return TakenBack(
        Money(held, payment.currency),
        Money(came_back, payment.currency),
        Money(max(0, whole - held - came_back), payment.currency),
    )


def _answer(row: TransferReversal, answers: Answers, parts: HostParts, ledger: LedgerBatch) -> bool:
    """Apply Stripe's answer to a reversal; whether there is one."""
    answer = answers.get(f"{REVERSE_TRANSFER}:{row.id}")
    if answer is None:
        return False
    if isinstance(answer, Refusal):
        row.status = TransferStatus.REFUSED
        row.failure_code = getattr(answer.error, "code", None) or "refused"
        return True
    row.status = TransferStatus.PAID
    row.stripe_reversal_id = answer.body["id"]
    _come_back(parts.part(row.allocation_id), row, ledger, occurred_at=instant(answer.body["created"]))
    return True


def _come_back(part: HostPart, row: TransferReversal, ledger: LedgerBatch, *, occurred_at: datetime) -> None:
    """What a reversal took is back with the platform: the host owes so much less, or is owed so much more."""
    allocation = part.allocation
    allocation.reversed_minor += row.covers_minor
    allocation.owed_minor += row.covers_minor
    part.look_at(occurred_at)
    ledger.move(
        LedgerTransactionKind.TRANSFER_REVERSAL, f"transfer_reversal:{row.stripe_reversal_id or row.id}",
        legs_of_reversal(allocation, row), occurred_at=occurred_at, payment_id=row.payment_id,
        refund_id=row.refund_id, stripe_object_id=row.stripe_reversal_id,
    )  # fmt: skip


def legs_of_reversal(allocation: PaymentAllocation, row: TransferReversal) -> list[tuple[Any, Money]]:
    """The postings of a reversal, the exact opposite of its transfer's.

    A destination charge's own transfer was posted in the payment's currency; any other in the one that it was made in,
    which the platform changed what it held into.
    """
    covered = Money(row.covers_minor, allocation.currency)
    host, owed = host_balance(allocation.host_id), host_owed(allocation.host_id)
    if row.transfer_id is None or row.amount == covered:
        return [(host, -covered), (owed, covered)]
    return [(host, -row.amount), (PLATFORM, row.amount), (PLATFORM, -covered), (owed, covered)]
