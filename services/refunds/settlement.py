"""Settling refunds: apply what Stripe says of one, derive the payment's amounts anew, post the movements.

A refund can fail after it succeeded ("Handle failed refunds"); an older state never overwrites a newer one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from models.base import from_record, new_id
from models.payments import Payment
from models.refunds import Refund, RefundOrigin, RefundStatus
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.errors import OperationInProgress, StripeUnavailable
from services.ledger import LedgerBatch
from services.operations import finish, record_answers
from services.payments.history import record_change, snapshot
from services.refunds.amounts import derive_refunded
from services.refunds.bearers import lags
from services.refunds.disputed import lost_of
from services.refunds.facts import RefundFacts
from services.refunds.postings import post_made, post_moved
from services.refunds.taking_back import begin_take_back
from services.stripe_gateway import Priority
from services.stripe_requests import retrieve_refund
from services.transfers.parts import HostParts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.money import Money
    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.errors import DomainError
    from services.operations import Answers
    from services.refunds.disputed import Lost

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
        begun = None
        if refund is not None and rows.taken and refund.status.holds_money:
            begun = await begin_take_back(services, connection, rows.parts, refund, rows.taken, rows.ledger)
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
    if begun is not None:
        # The refund is made whatever becomes of this; where Stripe is away, its recovery goes on with it.
        with suppress(StripeUnavailable, OperationInProgress):
            await services.operations.end(services, begun)


class _Rows:
    """A locked payment with its refunds and its hosts' parts."""

    def __init__(self, payment: Payment, xid: int, refunds: Sequence[Refund], parts: HostParts, lost: Lost) -> None:
        self.payment = payment
        self.xid = xid
        self.refunds = list(refunds)
        self.parts = parts
        self.lost = lost
        self.taken: dict[UUID, Money] = {}
        """What is still to be taken back of each allocation."""
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
        payment = from_record(Payment, record)
        return cls(
            payment,
            record["xid"],
            [from_record(Refund, row) for row in refunds],
            await HostParts.read(connection, payment),
            await lost_of(connection, payment),
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
            self.taken = post_made(self.ledger, self.parts, refund, self._others(refund), self.lost, facts)
        if was.may_become(facts.status):
            refund.status = facts.status
            refund.failure_reason = facts.failure_reason
            post_moved(self.ledger, self.parts, refund, was, facts)
        if first or refund.status is not was:
            self.changed[refund.id] = refund

    def derive(self) -> None:
        """The payment's amounts and status from its refunds, not from messages."""
        derive_refunded(self.payment, self.refunds)

    async def write(self, connection: AnyConnection) -> None:
        """Write what changed."""
        await insert_rows(connection, Refund, self.new)
        known = [refund for refund in self.changed.values() if refund not in self.new]
        await update_rows(connection, Refund, known, _REFUND_COLUMNS)
        await update_rows(connection, Payment, [self.payment], _PAYMENT_COLUMNS)
        await self.parts.write(connection)
        await self.ledger.write(connection)
