"""Rows that were changed behind our back, restored to what Stripe and the ledger say."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

from models.base import from_record
from models.ledger import LedgerTransactionKind
from models.payments import ChargeModel, Payment, PaymentAllocation, PaymentAttempt, PaymentStatus
from models.refunds import Refund, RefundOrigin, RefundStatus
from models.sets import insert_rows, update_rows
from services.balances.settlement import settle_again
from services.changes import ChangeSet
from services.errors import InvalidState
from services.ledger import PLATFORM, REFUNDS, LedgerBatch, host_balance
from services.payments.captures import take_in
from services.payments.facts import ChargeFacts
from services.payments.history import record_change, snapshot
from services.payments.settlement import attempt_of
from services.reconciliation.corrections import post_what_is_missing
from services.refunds.amounts import derive_refunded

if TYPE_CHECKING:
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services
    from services.payments.facts import IntentFacts
    from services.refunds.facts import RefundFacts

_LOCK: Final = "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE"
_POSTED_FEE: Final = """
SELECT sum(l.amount_minor)::bigint FROM ledger_transactions t JOIN ledger_postings l ON l.transaction_id = t.id
JOIN ledger_accounts a ON a.id = l.account_id WHERE t.reference = $1 AND a.kind = 'APPLICATION_FEES'
"""
_REFUND_PARTS: Final = """
WITH of AS (SELECT refund_id FROM ledger_transactions WHERE reference = 'refund:' || $1)
SELECT t.refund_id,
    coalesce(-sum(l.amount_minor) FILTER (WHERE a.kind IN ('APPLICATION_FEES', 'SUBSCRIPTION_INCOME')), 0)::bigint
        AS fee_minor,
    coalesce(-sum(l.amount_minor) FILTER (WHERE a.kind IN ('HOST_BALANCE', 'HOST_OWED')), 0)::bigint AS host_minor,
    coalesce(-sum(l.amount_minor) FILTER (WHERE a.kind = 'HOST_BALANCE' AND t.kind = 'TRANSFER_REVERSAL'), 0)::bigint
        AS transfer_reversed_minor,
    coalesce(-sum(l.amount_minor) FILTER (
        WHERE a.kind = 'APPLICATION_FEES' AND t.kind = 'APPLICATION_FEE_REFUND'), 0)::bigint
        AS application_fee_refunded_minor,
    (SELECT CASE WHEN bool_or(kind = 'REFUND_FAILED') THEN 'FAILED' WHEN bool_or(kind = 'REFUND_PAID') THEN 'SUCCEEDED'
        ELSE 'PENDING' END FROM ledger_transactions f WHERE f.refund_id = t.refund_id) AS status
FROM ledger_transactions t JOIN of ON of.refund_id = t.refund_id
JOIN ledger_postings l ON l.transaction_id = t.id AND l.currency = $2 JOIN ledger_accounts a ON a.id = l.account_id
WHERE t.kind NOT IN ('REFUND_FAILED', 'REFUND_PAID') AND t.payment_id = $3
GROUP BY t.refund_id
"""
_REFUND_COLUMNS: Final = (
    "amount_minor", "fee_minor", "host_minor", "platform_minor", "transfer_reversed_minor",
    "application_fee_refunded_minor", "status", "failure_reason",
)  # fmt: skip
_COLUMNS: Final = (
    "status", "version", "position", "captured_minor", "refunded_minor", "refund_pending_minor", "fee_refunded_minor",
    "platform_fee_minor", "host_amount_minor", "stripe_charge_id",
)  # fmt: skip


async def restore_payment(
    services: Services, payment_id: UUID, facts: IntentFacts, charge: dict[str, Any], *, actor: str
) -> None:
    """Restore a payment that has been settled: its attempt by this charge, and, where it was captured, its amounts,
    its status, and whatever the ledger lacks of it.

    Args:
        charge: one of the payment's, as Stripe has it.

    Raises: InvalidState where it is captured or canceled here and not at Stripe, or where the ledger was changed.
    """
    now, corrected = services.clock(), list[str]()
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_LOCK, payment_id)
        if record is None:
            raise LookupError(f"no payment {payment_id}")
        payment = from_record(Payment, record)
        before = snapshot(payment)
        await _restore_attempt(connection, payment, charge)
        if payment.status.is_final and payment.status.is_captured is not (facts.status is PaymentStatus.SUCCEEDED):
            text = f"The payment is {payment.status.value} here, and {facts.status.value} at Stripe."
            raise InvalidState(f"{text} Nothing can safely be done about that.", state=payment.status.value)
        if payment.status.is_captured:
            allocations = await _rows(connection, PaymentAllocation, payment_id)
            refunds = await _rows(connection, Refund, payment_id)
            meant, parts, wanted = copy(payment), [copy(each) for each in allocations], LedgerBatch()
            if payment.charge_model is ChargeModel.SEPARATE:
                # Stripe knows nothing of this fee: what was agreed is what was posted, of what was captured.
                posted = await connection.fetchval(_POSTED_FEE, f"allocation:{facts.charge_id}")
                meant.platform_fee_minor = payment.platform_fee_minor if posted is None else posted
                meant.amount_minor = facts.received.minor
            take_in(meant, parts, facts, wanted, now=now, release_at=now)
            payment.captured_minor, payment.stripe_charge_id = meant.captured_minor, facts.charge_id
            payment.platform_fee_minor, payment.host_amount_minor = meant.platform_fee_minor, meant.host_amount_minor
            for allocation, part in zip(allocations, parts, strict=True):
                allocation.amount_minor = part.amount_minor
            derive_refunded(payment, refunds)
            await update_rows(connection, PaymentAllocation, allocations, ("amount_minor",))
            corrected = await post_what_is_missing(connection, wanted, payment_id, now=now)
        if snapshot(payment) != before:
            changes = ChangeSet(actor, record["xid"])
            record_change(changes, payment, "payment.restored", before)
            await changes.write(connection)
        await update_rows(connection, Payment, [payment], _COLUMNS)
    await settle_again(services, corrected)
    services.live.wake()


async def restore_refund(services: Services, payment_id: UUID, facts: RefundFacts, *, actor: str) -> None:
    """Restore a refund that the ledger knows: its row, its amount, who bore it, and its status as far as was posted.

    What became of it since is for `settle_refund`, and so is a refund that was never posted.

    Raises: InvalidState where the ledger has it as failed, and Stripe has not.
    """
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_LOCK, payment_id)
        if record is None:
            raise LookupError(f"no payment {payment_id}")
        payment = from_record(Payment, record)
        before = snapshot(payment)
        posted = await connection.fetchrow(_REFUND_PARTS, facts.id, payment.currency, payment_id)
        if posted is None:
            return
        refunds = await _rows(connection, Refund, payment_id)
        refund = next((each for each in refunds if each.stripe_refund_id == facts.id), None)
        status = RefundStatus(posted["status"])
        if not status.holds_money and facts.status.holds_money:
            raise InvalidState("This refund has failed here, and not at Stripe.", state=status.value)
        if refund is None:
            refund = _made_again(payment, posted["refund_id"], facts, actor)
            refunds.append(refund)
            await insert_rows(connection, Refund, [refund])
        refund.amount_minor = facts.amount.minor
        refund.fee_minor, refund.host_minor = posted["fee_minor"], posted["host_minor"]
        refund.platform_minor = refund.amount_minor - refund.fee_minor - refund.host_minor
        refund.transfer_reversed_minor = posted["transfer_reversed_minor"]
        refund.application_fee_refunded_minor = posted["application_fee_refunded_minor"]
        refund.status, refund.failure_reason = status, facts.failure_reason
        if not status.holds_money:
            refund.status = facts.status
        await update_rows(connection, Refund, [refund], _REFUND_COLUMNS)
        derive_refunded(payment, refunds)
        changes = ChangeSet(actor, record["xid"])
        if snapshot(payment) != before:
            record_change(changes, payment, "refund.restored", before)
        await update_rows(connection, Payment, [payment], _COLUMNS)
        await changes.write(connection)


async def post_refund(services: Services, payment_id: UUID, facts: RefundFacts) -> None:
    """Post what the ledger lacks of the amount of a refund that is known here.

    Raises: InvalidState where the ledger was changed.
    """
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_LOCK, payment_id)
        refund_id = await connection.fetchval("SELECT id FROM refunds WHERE stripe_refund_id = $1", facts.id)
        if record is None or refund_id is None:
            raise LookupError(f"no refund {facts.id}")
        payment, wanted = from_record(Payment, record), LedgerBatch()
        source = PLATFORM
        if payment.charge_model is ChargeModel.DIRECT and payment.host_id is not None:
            source = host_balance(payment.host_id)
        wanted.move(
            LedgerTransactionKind.REFUND, f"refund:{facts.id}", [(source, -facts.amount), (REFUNDS, facts.amount)],
            occurred_at=facts.created_at, payment_id=payment_id, refund_id=refund_id, stripe_object_id=facts.id,
            stripe_account=payment.stripe_account,
        )  # fmt: skip
        corrected = await post_what_is_missing(connection, wanted, payment_id, now=services.clock())
    await settle_again(services, corrected)


def _made_again(payment: Payment, refund_id: UUID, facts: RefundFacts, actor: str) -> Refund:
    """The row of a refund that was lost, under its own id; who asked for it the audit trail alone remembers."""
    return Refund(
        id=refund_id, payment_id=payment.id, amount_minor=facts.amount.minor, currency=facts.amount.currency,
        fee_minor=0, host_minor=0, platform_minor=facts.amount.minor, status=RefundStatus.PENDING,
        reason=facts.reason, origin=RefundOrigin.PAYDESK, stripe_refund_id=facts.id, requested_by=actor,
    )  # fmt: skip


async def _restore_attempt(connection: AnyConnection, payment: Payment, charge: dict[str, Any]) -> None:
    facts = ChargeFacts.parse(charge)
    if facts is not None:
        await insert_rows(
            connection, PaymentAttempt, [attempt_of(payment, facts)],
            conflict="ON CONFLICT (stripe_charge_id) DO UPDATE SET status = excluded.status,"
            " amount_minor = excluded.amount_minor, currency = excluded.currency",
        )  # fmt: skip


async def _rows(connection: AnyConnection, model: Any, payment_id: UUID) -> list[Any]:
    """All of a payment's, in their order; they are changed under the payment's lock alone."""
    table = model._meta.db_table
    records = await connection.fetch(f'SELECT * FROM "{table}" WHERE payment_id = $1 ORDER BY id', payment_id)
    return [from_record(model, record) for record in records]
