"""Taking the hosts' part of a payment back: first what the platform still holds of it, then what was sent.

A refund, a lost dispute or a debt takes so much of the hosts' part. It is split by what is left of each allocation
(its amount less what was taken of it before), with the largest remainder, so that no host gives more than is left and
the last unit of all is taken exactly. Of each host's part what was not sent is taken where it lies (`owed`); the rest
is reversed, the latest transfer first ("Create a transfer reversal"), each reversal a step of the same operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from models.money import Money
    from models.operations import Operation
    from models.payments import Payment
    from models.sets import AnyConnection
    from services.ledger import LedgerBatch
    from services.operations import Answers, PlannedStep

REVERSE_TRANSFER = "reverse_transfer"
"""What the steps are called: `reverse_transfer:{id of the TransferReversal}`."""


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
    """Plan to take this much of the hosts' part of a locked payment back.

    Lowers `owed_minor` of the allocations by what was not sent, writes a PLANNED `TransferReversal` for each transfer
    that has to be reversed, and keeps what it took of each allocation in the operation's arguments.

    Args:
        payment: locked by the caller; SEPARATE, or DESTINATION where Stripe did not reverse its transfer by itself.
        host_part: in the payment's currency; no more than is left of the hosts' part.
        refund_id, dispute_id: what it is taken for; neither for a debt.

    Returns: a step for each reversal, none where everything is still held.
    Raises: OperationInProgress while a transfer of this payment is under way that would have to be reversed.
    """
    raise NotImplementedError


async def settle_take_back(
    connection: AnyConnection, payment: Payment, answers: Answers, operation: Operation, ledger: LedgerBatch
) -> TakenBack:
    """Settle the reversals of an operation whose take-back was planned, and post what moved.

    A reversal that Stripe made is PAID, and what it covers counts as reversed. One that was refused (the host's balance
    did not have it) is REFUSED, and the host owes it to the platform (`owed_minor` goes down, below zero too). Called
    again it changes nothing more.

    Args:
        payment: locked by the caller.
        ledger: gets the movements; the caller writes it in the same transaction.
    """
    raise NotImplementedError
