"""Settling refunds: apply what Stripe says of one, derive the payment's amounts anew, post the movements.

A refund can fail after it succeeded ("Handle failed refunds"); an older state never overwrites a newer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.base import from_record, new_id
from models.ledger import LedgerTransactionKind
from models.money import Money
from models.payments import ChargeModel, Payment, PaymentAllocation
from models.refunds import Refund, RefundOrigin, RefundStatus
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.ledger import FEES, GUESTS, INCOME, PLATFORM, REFUNDS, LedgerBatch, host_balance, host_owed
from services.operations import finish, record_answers
from services.payments.history import record_change, snapshot
from services.refunds import direct
from services.refunds.amounts import derive_refunded
from services.refunds.bearers import bearers_of, lags
from services.refunds.facts import RefundFacts
from services.stripe_gateway import Priority
from services.stripe_requests import retrieve_refund

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.errors import DomainError
    from services.operations import Answers

_PAYMENT_COLUMNS = (
    "status", "version", "position", "refunded_minor", "refund_pending_minor", "fee_refunded_minor",
)  # fmt: skip
_REFUND_COLUMNS = (
    "status", "stripe_refund_id", "failure_reason", "fee_minor", "host_minor", "platform_minor",
    "transfer_reversed_minor", "application_fee_refunded_minor",
)  # fmt: skip


class StaleRefundFactsError(Exception):
    """What was known of a refund is older than what has been settled since: it has to be fetched again."""


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

    Raises: StripeError where they have to be fetched again and Stripe cannot be reached.
    """
    ends = None if operation is None or answers is None else (operation, answers, error)
    try:
        await _settle(services, payment_id, refund_id, facts, actor, ends, or_stale=True)
    except StaleRefundFactsError:
        if facts is None:
            raise
        # Refunds made at the same time: only newer facts say how much of the fee was given back for which of them.
        account = (await Payment.get(id=payment_id)).stripe_account
        request = retrieve_refund(facts.id, stripe_account=account)
        response = await services.stripe.send(request, priority=Priority.BACKGROUND)
        newer = RefundFacts.parse(response.body)
        await _settle(services, payment_id, refund_id, newer, actor, ends, or_stale=False)


async def _settle(
    services: Services,
    payment_id: UUID,
    refund_id: UUID | None,
    facts: RefundFacts | None,
    actor: str,
    ends: tuple[Operation, Answers, DomainError | None] | None,
    *,
    or_stale: bool,
) -> None:
    async with services.database.transaction() as connection:
        rows = await _Rows.lock(connection, payment_id)
        before = snapshot(rows.payment)
        refund = rows.refund(refund_id, facts)
        if refund is None and facts is not None:
            refund = rows.adopt(facts)
        if or_stale and refund is not None and facts is not None and rows.lag_behind(refund, facts):
            raise StaleRefundFactsError(facts.id)
        if refund is not None:
            rows.apply(refund, facts)
        rows.derive()
        changes = ChangeSet(actor, rows.xid)
        if snapshot(rows.payment) != before and refund is not None:
            record_change(changes, rows.payment, f"refund.{refund.status.value.lower()}", before)
        await rows.write(connection)
        await changes.write(connection)
        if ends is not None:
            operation, answers, error = ends
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

    def lag_behind(self, refund: Refund, facts: RefundFacts) -> bool:
        """Whether the facts of a refund that is new are older than what is known of the others."""
        return refund.stripe_refund_id is None and lags(refund, self._others(refund), facts)

    def _others(self, refund: Refund) -> list[Refund]:
        return [other for other in self.refunds if other is not refund]

    def adopt(self, facts: RefundFacts) -> Refund:
        """Take in a refund that was made at Stripe, in its dashboard or by another program."""
        refund = Refund(
            id=new_id(), payment_id=self.payment.id, amount_minor=facts.amount.minor, currency=facts.amount.currency,
            status=RefundStatus.PENDING, reason=facts.reason, origin=RefundOrigin.STRIPE, requested_by="stripe",
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
        derive_refunded(self.payment, self.refunds)

    def _post_made(self, refund: Refund, facts: RefundFacts) -> None:
        """The platform gives the amount; the host gives it to the platform, and the platform its fee to the host.

        As far as Stripe did so: the platform bears the rest, out of what it still holds from a refund that failed. What
        an invoice brought in is all the platform's own.
        """
        allocation = self.allocation
        owed = Money(allocation.owed_minor if allocation else 0, refund.currency)
        parts = bearers_of(self.payment, refund, self._others(refund), owed, facts)
        refund.fee_minor, refund.host_minor, refund.platform_minor = (
            parts.fee.minor, parts.host.minor, parts.platform.minor,
        )  # fmt: skip
        refund.application_fee_refunded_minor = parts.application_fee_refunded.minor
        common = self._common(refund, facts)
        if allocation is not None and self.payment.charge_model is ChargeModel.DIRECT:
            direct.post_made(self.ledger, refund, parts, allocation, common)
            return
        refund.transfer_reversed_minor = parts.transfer_reversed.minor
        self.ledger.move(
            LedgerTransactionKind.REFUND, f"refund:{facts.id}", [(PLATFORM, -refund.amount), (REFUNDS, refund.amount)],
            **common,
        )  # fmt: skip
        if self.payment.charge_model is ChargeModel.PLATFORM:
            self.ledger.move(
                LedgerTransactionKind.INVOICE_INCOME, f"invoice_income_refund:{facts.id}",
                [(INCOME, -refund.amount), (PLATFORM, refund.amount)], **common,
            )  # fmt: skip
        if allocation is None:
            return
        host, taken, fee = host_balance(allocation.host_id), parts.transfer_reversed, parts.application_fee_refunded
        self.ledger.move(
            LedgerTransactionKind.TRANSFER_REVERSAL, f"transfer_reversal:{facts.id}",
            [(host, -taken), (PLATFORM, taken)], **common,
        )  # fmt: skip
        self.ledger.move(
            LedgerTransactionKind.APPLICATION_FEE_REFUND, f"application_fee_refund:{facts.id}",
            [(FEES, -fee), (host, fee)], **common,
        )  # fmt: skip
        self.ledger.move(
            LedgerTransactionKind.REFUND, f"refund_of_held:{facts.id}",
            [
                (FEES, -parts.fee_held), (host_owed(allocation.host_id), -parts.host_held),
                (PLATFORM, parts.fee_held + parts.host_held),
            ],
            **common,
        )  # fmt: skip
        allocation.reversed_minor += (taken - fee).minor
        allocation.owed_minor -= parts.host_held.minor

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
        if self.allocation is not None and self.payment.charge_model is ChargeModel.DIRECT:
            was_paid = was is RefundStatus.SUCCEEDED
            direct.post_failed(self.ledger, refund, self.allocation, common, was_paid=was_paid)
            return
        # The money comes back to the platform, which owes the host its part and keeps its fee again; Stripe does not
        # undo the reversal of the transfer ("Handle failed refunds").
        fee, host_part = Money(refund.fee_minor, refund.currency), Money(refund.host_minor, refund.currency)
        source = GUESTS if was is RefundStatus.SUCCEEDED else REFUNDS
        self.ledger.move(
            LedgerTransactionKind.REFUND_FAILED, f"refund_failed:{facts.id}",
            [(source, -amount), (PLATFORM, amount)], **common,
        )  # fmt: skip
        if self.payment.charge_model is ChargeModel.PLATFORM:
            self.ledger.move(
                LedgerTransactionKind.INVOICE_INCOME, f"invoice_income_kept:{facts.id}",
                [(PLATFORM, -amount), (INCOME, amount)], **common,
            )  # fmt: skip
        if self.allocation is None:
            return
        self.ledger.move(
            LedgerTransactionKind.REFUND_FAILED, f"refund_failed_owed:{facts.id}",
            [(PLATFORM, -(fee + host_part)), (FEES, fee), (host_owed(self.allocation.host_id), host_part)], **common,
        )  # fmt: skip
        self.allocation.owed_minor += refund.host_minor

    def _common(self, refund: Refund, facts: RefundFacts) -> dict[str, Any]:
        return {
            "occurred_at": facts.created_at,
            "payment_id": self.payment.id,
            "refund_id": refund.id,
            "stripe_object_id": facts.id,
            "stripe_account": self.payment.stripe_account,
        }

    async def write(self, connection: AnyConnection) -> None:
        """Write what changed."""
        await insert_rows(connection, Refund, self.new)
        known = [refund for refund in self.changed.values() if refund not in self.new]
        await update_rows(connection, Refund, known, _REFUND_COLUMNS)
        await update_rows(connection, Payment, [self.payment], _PAYMENT_COLUMNS)
        if self.allocation is not None:
            await update_rows(connection, PaymentAllocation, [self.allocation], ("reversed_minor", "owed_minor"))
        await self.ledger.write(connection)
