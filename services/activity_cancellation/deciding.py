"""What one payment of a canceled activity needs next, from where it stands now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from models.activity_cancellations import ActivityCancellationItem
from models.base import from_record
from models.operations import Operation, OperationStatus
from models.payments import Payment, PaymentStatus
from models.refunds import Refund
from models.rsvps import RsvpStatus
from models.sets import from_joined, joined_columns
from services.errors import DomainError
from services.operations import recorded_error

if TYPE_CHECKING:
    from uuid import UUID

    from asyncpg import Pool

    from models.sets import AnyConnection
    from services.viewer import Viewer

DISPUTED: Final = (
    "The guest's bank disputes this payment and holds the money: it decides who gets it. It is refunded by itself once"
    " the dispute has ended in your favour."
)
PARKED: Final = "What became of it at Stripe is not known yet: an operator has to look at it."


class Act(StrEnum):
    """What is to be done. WAIT: others act on it; LATER: a bank does, for days."""

    CANCEL_PAYMENT = "cancel_payment"
    CANCEL_RSVP = "cancel_rsvp"
    REFUND = "refund"
    WAIT = "wait"
    LATER = "later"
    NOTHING = "nothing"
    BLOCKED = "blocked"

    @property
    def gives_back(self) -> bool:
        """Whether it moves money back to the guest."""
        return self in {Act.CANCEL_RSVP, Act.REFUND}


@dataclass(frozen=True, slots=True)
class Standing:
    """An item with all that decides what it needs; `operation` and `refund` are those of its present attempt."""

    item: ActivityCancellationItem
    payment: Payment
    rsvp: RsvpStatus | None
    disputed: bool
    refunding: bool
    """Whether a refund is being asked for at this moment, by whomever."""
    operation: Operation | None
    refund: Refund | None

    @property
    def next_act(self) -> Act:
        """What it needs."""
        payment = self.payment
        if payment.status is PaymentStatus.CANCELED:
            return Act.NOTHING
        if payment.status.is_captured:
            if self.rsvp is not None and self.rsvp.takes_seats:
                return Act.CANCEL_RSVP  # it was paid while the activity was being canceled, or after that
            if payment.refundable:
                return Act.REFUND
            if self.refunding:
                return Act.WAIT
            return Act.BLOCKED if self.disputed else Act.NOTHING
        if payment.stripe_payment_intent_id is None:
            return Act.WAIT
        return Act.CANCEL_PAYMENT if payment.status.can_be_canceled else Act.LATER

    @property
    def is_running(self) -> bool:
        """Whether its operation has not ended: somebody is at it, or will be."""
        return self.operation is not None and self.operation.status is OperationStatus.RUNNING

    @property
    def is_parked(self) -> bool:
        """Whether only a person can end its operation."""
        return self.operation is not None and self.operation.status is OperationStatus.PARKED

    @property
    def was_given_back(self) -> bool:
        """Whether its own refund holds."""
        return self.refund is not None and self.refund.status.holds_money

    def tried(self, act: Act) -> bool:
        """Whether its ended operation was an attempt at just that."""
        if self.operation is None:
            return False
        return act.gives_back if self.refund is not None else act.value == self.operation.kind

    @property
    def why_not(self) -> str:
        """Why its operation came to nothing."""
        error = None if self.operation is None else recorded_error(self.operation)
        if isinstance(error, DomainError):
            return str(error)
        if self.refund is not None:
            return came_back(self.refund.failure_reason)
        return "It has changed again and again in the meantime."


def came_back(failure_reason: str | None) -> str:
    """A refund that failed, in words ("The Refund object", failure_reason)."""
    why = "" if failure_reason is None else f" ({failure_reason})"
    return f"The guest's bank did not take the refund{why}. Ask the guest for another way to be paid back."


def key_of(item: ActivityCancellationItem) -> str:
    """The idempotency key of an item's present attempt: the same whichever process asks, whatever it is asked for."""
    return f"cancel_activity:{item.id}:{item.attempts}"


async def standing_of(connection: AnyConnection | Pool[Any], viewer: Viewer, item_id: UUID) -> Standing | None:
    """Where an item stands; None where it has been dealt with.

    Args:
        viewer: who the operations of cancellations belong to.
    """
    record: Any = await connection.fetchrow(_standing(), item_id, viewer.caller)
    item = None if record is None else from_joined(ActivityCancellationItem, record, "i")
    payment = None if record is None else from_joined(Payment, record, "p")
    if item is None or payment is None:
        return None
    operation = from_joined(Operation, record, "o")
    refund = None
    if operation is not None and "refund_id" in operation.arguments:
        refund_id = operation.arguments["refund_id"]
        made = await connection.fetchrow("SELECT * FROM refunds WHERE id = $1", refund_id)
        refund = None if made is None else from_record(Refund, made)
    return Standing(
        item, payment, None if record["rsvp"] is None else RsvpStatus(record["rsvp"]), record["disputed"],
        record["refunding"], operation, refund,
    )  # fmt: skip


@cache
def _standing() -> str:
    return f"""
    SELECT {joined_columns(ActivityCancellationItem, "i")}, {joined_columns(Payment, "p")},
        {joined_columns(Operation, "o")}, r.status AS rsvp,
        EXISTS (SELECT FROM disputes d WHERE d.payment_id = p.id
            AND d.status IN ('NEEDS_RESPONSE', 'UNDER_REVIEW')) AS disputed,
        EXISTS (SELECT FROM refunds f WHERE f.payment_id = p.id AND f.status = 'PENDING'
            AND f.stripe_refund_id IS NULL) AS refunding
    FROM activity_cancellation_items i JOIN payments p ON p.id = i.payment_id LEFT JOIN rsvps r ON r.id = p.rsvp_id
    LEFT JOIN operations o ON o.caller = $2
        AND o.idempotency_key = 'cancel_activity:' || i.id::text || ':' || i.attempts::text
    WHERE i.id = $1 AND i.outcome = 'PENDING'
    """
