"""Settling refunds: apply what Stripe says of one, derive the payment's amounts anew, post the movements.

A refund can fail after it succeeded ("Handle failed refunds"); an older state never overwrites a newer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.base import from_record, new_id
from models.ledger import LedgerTransactionKind
from models.money import Money
from models.payments import Payment, PaymentAllocation, PaymentStatus
from models.refunds import Refund, RefundOrigin, RefundReason, RefundStatus
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.fees import refund_parts
from services.ledger import FEES, GUESTS, PLATFORM, REFUNDS, LedgerBatch, host_balance, host_owed
from services.operations import finish, record_answers
from services.payments.facts import instant
from services.payments.history import record_change, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.errors import DomainError
    from services.operations import Answers

_STATUSES = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.REQUIRES_ACTION,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.CANCELED,
}
_REASONS = {
    "requested_by_customer": RefundReason.REQUESTED_BY_CUSTOMER,
    "duplicate": RefundReason.DUPLICATE,
    "fraudulent": RefundReason.FRAUDULENT,
    "expired_uncaptured_charge": None,
}
_PAYMENT_COLUMNS = (
    "status", "version", "position", "refunded_minor", "refund_pending_minor", "fee_refunded_minor",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """What Stripe says of a refund ("The Refund object")."""

    id: str
    amount: Money
    status: RefundStatus
    failure_reason: str | None
    reason: RefundReason | None
    created_at: datetime
    metadata: dict[str, str]

    @classmethod
    def parse(cls, body: dict[str, Any]) -> RefundFacts:
        """From a Refund."""
        return cls(
            id=body["id"],
            amount=Money.from_wire(body["amount"], body["currency"]),
            status=_STATUSES[body.get("status") or "pending"],
            failure_reason=body.get("failure_reason"),
            reason=_REASONS.get(body.get("reason") or ""),
            created_at=instant(body["created"]),
            metadata=body.get("metadata") or {},
        )


async def settle_refund(
    services: Services,
    payment_id: UUID,
    refund_id: UUID | None,
    facts: RefundFacts | None,
    *,
    actor: str,
    operation: Operation | None = None,
    answers: Answers | None = None,
    error: DomainError | None = None,
) -> None:
    """Apply facts to a refund in one transaction, which also ends the operation that made it.

    Args:
        refund_id: None for a refund that was made at Stripe and is not known here yet.
        facts: None where Stripe refused to make it.
    """
    async with services.database.transaction() as connection:
        rows = await _Rows.lock(connection, payment_id)
        before = snapshot(rows.payment)
        refund = rows.refund(refund_id, facts)
        if refund is None and facts is not None:
            refund = rows.adopt(facts)
        if refund is not None:
            rows.apply(refund, facts)
        rows.derive()
        changes = ChangeSet(actor, rows.xid)
        if snapshot(rows.payment) != before and refund is not None:
            record_change(changes, rows.payment, f"refund.{refund.status.value.lower()}", before)
        await rows.write(connection)
        await changes.write(connection)
        if operation is not None and answers is not None:
            await record_answers(
                connection, [(operation.id, name, answer) for name, answer in answers.by_step.items()]
            )
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)
    services.live.wake()


class _Rows:
    """A locked payment with its refunds and its host's part."""

    def __init__(
        self, payment: Payment, xid: int, refunds: Sequence[Refund], allocation: PaymentAllocation | None
    ) -> None:
        self.payment = payment
        self.xid = xid
        self.refunds = list(refunds)
        self.allocation = allocation
        self.ledger = LedgerBatch()
        self.new: list[Refund] = []
        self.changed: dict[UUID, Refund] = {}

    @classmethod
    async def lock(cls, connection: AnyConnection, payment_id: UUID) -> _Rows:
        """Lock the payment; its refunds are only changed under that lock."""
        record = await connection.fetchrow(
            "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE",
            payment_id,
        )
        if record is None:
            raise LookupError(f"no payment {payment_id}")
        refunds = await connection.fetch("SELECT * FROM refunds WHERE payment_id = $1 ORDER BY id", payment_id)
        allocation = await connection.fetchrow("SELECT * FROM payment_allocations WHERE payment_id = $1", payment_id)
        return cls(
            from_record(Payment, record),
            record["xid"],
            [from_record(Refund, row) for row in refunds],
            None if allocation is None else from_record(PaymentAllocation, allocation),
        )

    def refund(self, refund_id: UUID | None, facts: RefundFacts | None) -> Refund | None:
        """The refund meant: by our id, or by Stripe's."""
        for refund in self.refunds:
            if refund.id == refund_id or (facts is not None and refund.stripe_refund_id == facts.id):
                return refund
        return None

    def adopt(self, facts: RefundFacts) -> Refund:
        """Take in a refund that was made at Stripe, in its dashboard or by another program."""
        fee, host = refund_parts(self.payment, facts.amount)
        refund = Refund(
            id=new_id(), payment_id=self.payment.id, amount_minor=facts.amount.minor, currency=facts.amount.currency,
            fee_minor=fee.minor, host_minor=host.minor, status=RefundStatus.PENDING, reason=facts.reason,
            origin=RefundOrigin.STRIPE, requested_by="stripe",
        )  # fmt: skip
        self.refunds.append(refund)
        self.new.append(refund)
        return refund

    def apply(self, refund: Refund, facts: RefundFacts | None) -> None:
        """Move a refund on, and post what that moves."""
        if facts is None:
            if refund.stripe_refund_id is None and refund.status is RefundStatus.PENDING:
                refund.status = RefundStatus.FAILED
                self.changed[refund.id] = refund
            return
        first = refund.stripe_refund_id is None
        was = refund.status
        if first:
            refund.stripe_refund_id = facts.id
            self._post_made(refund, facts)
        if was.may_become(facts.status):
            refund.status = facts.status
            refund.failure_reason = facts.failure_reason
            self._post_moved(refund, was, facts)
        if first or refund.status is not was:
            self.changed[refund.id] = refund

    def derive(self) -> None:
        """The payment's amounts and status from its refunds, not from messages."""
        payment = self.payment
        holding = [refund for refund in self.refunds if refund.status.holds_money]
        done = [refund for refund in holding if refund.status is RefundStatus.SUCCEEDED]
        payment.refunded_minor = sum(refund.amount_minor for refund in done)
        payment.refund_pending_minor = sum(refund.amount_minor for refund in holding) - payment.refunded_minor
        payment.fee_refunded_minor = sum(refund.fee_minor for refund in holding)
        if not payment.status.is_captured:
            return
        if not payment.refunded_minor:
            payment.status = PaymentStatus.SUCCEEDED
        elif payment.refunded_minor == payment.captured_minor:
            payment.status = PaymentStatus.REFUNDED
        else:
            payment.status = PaymentStatus.PARTIALLY_REFUNDED

    def _post_made(self, refund: Refund, facts: RefundFacts) -> None:
        """The platform gives the amount, the host gives it to the platform, and the platform its fee to the host."""
        amount, fee = refund.amount, Money(refund.fee_minor, refund.currency)
        common = self._common(refund, facts)
        self.ledger.move(
            LedgerTransactionKind.REFUND, f"refund:{facts.id}", [(PLATFORM, -amount), (REFUNDS, amount)], **common
        )
        if self.allocation is None:
            return
        host = host_balance(self.allocation.host_id)
        self.ledger.move(
            LedgerTransactionKind.TRANSFER_REVERSAL, f"transfer_reversal:{facts.id}",
            [(host, -amount), (PLATFORM, amount)], **common,
        )  # fmt: skip
        self.ledger.move(
            LedgerTransactionKind.APPLICATION_FEE_REFUND, f"application_fee_refund:{facts.id}",
            [(FEES, -fee), (host, fee)], **common,
        )  # fmt: skip
        self.allocation.reversed_minor += refund.host_minor

    def _post_moved(self, refund: Refund, was: RefundStatus, facts: RefundFacts) -> None:
        amount = refund.amount
        common = self._common(refund, facts)
        if refund.status is RefundStatus.SUCCEEDED:
            self.ledger.move(
                LedgerTransactionKind.REFUND_PAID, f"refund_paid:{facts.id}", [(REFUNDS, -amount), (GUESTS, amount)],
                **common,
            )  # fmt: skip
            return
        if refund.status.holds_money:
            return
        # The money comes back to the platform, which owes the host its part and keeps its fee again.
        fee, host_part = Money(refund.fee_minor, refund.currency), Money(refund.host_minor, refund.currency)
        source = GUESTS if was is RefundStatus.SUCCEEDED else REFUNDS
        self.ledger.move(
            LedgerTransactionKind.REFUND_FAILED, f"refund_failed:{facts.id}",
            [(source, -amount), (PLATFORM, amount)], **common,
        )  # fmt: skip
        if self.allocation is None:
            return
        self.ledger.move(
            LedgerTransactionKind.REFUND_FAILED, f"refund_failed_owed:{facts.id}",
            [(PLATFORM, -amount), (FEES, fee), (host_owed(self.allocation.host_id), host_part)], **common,
        )  # fmt: skip
        self.allocation.owed_minor += refund.host_minor

    def _common(self, refund: Refund, facts: RefundFacts) -> dict[str, Any]:
        return {
            "occurred_at": facts.created_at,
            "payment_id": self.payment.id,
            "refund_id": refund.id,
            "stripe_object_id": facts.id,
        }

    async def write(self, connection: AnyConnection) -> None:
        """Write what changed."""
        await insert_rows(connection, Refund, self.new)
        known = [refund for refund in self.changed.values() if refund not in self.new]
        await update_rows(connection, Refund, known, ("status", "stripe_refund_id", "failure_reason"))
        await update_rows(connection, Payment, [self.payment], _PAYMENT_COLUMNS)
        if self.allocation is not None:
            await update_rows(connection, PaymentAllocation, [self.allocation], ("reversed_minor", "owed_minor"))
        await self.ledger.write(connection)
