"""Invoices as rows: what Stripe says of one written to it, its lines, its credit notes and its payments."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.base import from_record, new_id, new_row
from models.invoices import CreditNote, Invoice, InvoiceLine
from models.payments import ChargeModel, Payment, PaymentStatus
from models.sets import insert_rows, update_rows
from services.payments.history import record_change, snapshot
from services.payments.intents import says_nothing_new

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from models.sets import AnyConnection
    from services.changes import ChangeSet
    from services.invoices.facts import CreditNoteFacts, InvoiceFacts, InvoicePaymentFacts, LineFacts

INVOICE_COLUMNS = (
    "version", "number", "status", "billing_reason", "currency", "subtotal_minor", "total_minor", "amount_due_minor",
    "amount_paid_minor", "amount_remaining_minor", "receivable_minor", "written_off_minor", "attempt_count",
    "auto_advance", "next_payment_attempt", "period_start", "period_end", "hosted_invoice_url", "invoice_pdf",
    "stripe_created_at", "finalized_at", "paid_at",
)  # fmt: skip
_LINE_COLUMNS = (
    "position", "description", "amount_minor", "discount_minor", "currency", "quantity", "proration", "stripe_price_id",
    "period_start", "period_end",
)  # fmt: skip
_NOTE_COLUMNS = ("number", "status", "type", "reason", "total_minor", "refunded_minor", "credited_minor")
_PAYMENT_COLUMNS = ("amount_minor", "platform_fee_minor", "version", "position")


def new_invoice(facts: InvoiceFacts, *, user_id: UUID, subscription_id: UUID | None) -> Invoice:
    """The row of an invoice that is not known yet, without a claim."""
    invoice = new_row(
        Invoice,
        id=new_id(), user_id=user_id, subscription_id=subscription_id, stripe_invoice_id=facts.id,
        receivable_minor=0, written_off_minor=0,
    )  # fmt: skip
    take_over(invoice, facts)
    return invoice


def take_over(invoice: Invoice, facts: InvoiceFacts) -> None:
    """Set the invoice's own columns to what Stripe says."""
    invoice.status, invoice.number, invoice.billing_reason = facts.status, facts.number, facts.billing_reason
    invoice.currency = facts.currency
    invoice.subtotal_minor, invoice.total_minor = facts.subtotal.minor, facts.total.minor
    invoice.amount_due_minor, invoice.amount_paid_minor = facts.amount_due.minor, facts.amount_paid.minor
    invoice.amount_remaining_minor = facts.amount_remaining.minor
    invoice.attempt_count, invoice.auto_advance = facts.attempt_count, facts.auto_advance
    invoice.next_payment_attempt = facts.next_payment_attempt
    invoice.period_start, invoice.period_end = facts.period_start, facts.period_end
    invoice.hosted_invoice_url, invoice.invoice_pdf = facts.hosted_invoice_url, facts.invoice_pdf
    invoice.stripe_created_at = facts.created_at
    invoice.finalized_at, invoice.paid_at = facts.finalized_at, facts.paid_at


def is_as_told(invoice: Invoice, facts: InvoiceFacts) -> bool:
    """Whether the invoice's own columns are what Stripe says."""
    told = copy(invoice)
    take_over(told, facts)
    return invoice_columns(told) == invoice_columns(invoice)


def invoice_columns(invoice: Invoice) -> tuple[Any, ...]:
    """What `take_over` and the claim set, to tell whether they changed anything."""
    return _values(invoice, INVOICE_COLUMNS)


@dataclass(slots=True)
class _Difference:
    """What has to be written so that the rows are those wanted."""

    new: list[Any] = field(default_factory=list)
    changed: list[Any] = field(default_factory=list)
    gone: list[UUID] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.new or self.changed or self.gone)


async def write_lines(connection: AnyConnection, invoice: Invoice, lines: Sequence[LineFacts]) -> bool:
    """Make the invoice's lines those that Stripe has; what is still there keeps its id.

    Returns: whether anything changed.
    """
    records = await connection.fetch("SELECT * FROM invoice_lines WHERE invoice_id = $1", invoice.id)
    wanted = [_line(invoice, line, position) for position, line in enumerate(lines)]
    difference = _difference(
        [from_record(InvoiceLine, record) for record in records], wanted, _LINE_COLUMNS,
        lambda line: str(line.stripe_line_id),
    )  # fmt: skip
    if difference.gone:
        await connection.execute("DELETE FROM invoice_lines WHERE id = ANY($1)", difference.gone)
    await insert_rows(connection, InvoiceLine, difference.new)
    await update_rows(connection, InvoiceLine, difference.changed, _LINE_COLUMNS)
    return difference.any


async def write_credit_notes(connection: AnyConnection, invoice: Invoice, notes: Sequence[CreditNoteFacts]) -> bool:
    """Add the invoice's credit notes, and move those that are known on; Stripe never deletes one.

    Returns: whether anything changed.
    """
    records = await connection.fetch("SELECT * FROM credit_notes WHERE invoice_id = $1", invoice.id)
    difference = _difference(
        [from_record(CreditNote, record) for record in records], [_note(invoice, note) for note in notes],
        _NOTE_COLUMNS, lambda note: str(note.stripe_credit_note_id),
    )  # fmt: skip
    await insert_rows(connection, CreditNote, difference.new)
    await update_rows(connection, CreditNote, difference.changed, _NOTE_COLUMNS)
    return difference.any


async def write_payments(
    connection: AnyConnection, changes: ChangeSet, invoice: Invoice, payments: Sequence[InvoicePaymentFacts]
) -> bool:
    """Make a payment for each payment intent of the invoice that has none yet; all of it is the platform's.

    One that has taken nothing yet follows the amount that is asked for, which a credit note lowers.

    Returns: whether an intent has more to tell than its payment knows.
    """
    records = await connection.fetch(
        "SELECT * FROM payments WHERE stripe_payment_intent_id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
        [payment.intent_id for payment in payments],
    )
    known = {record["stripe_payment_intent_id"]: from_record(Payment, record) for record in records}
    new: list[Payment] = []
    changed: list[Payment] = []
    for facts in payments:
        payment = known.get(facts.intent_id)
        if payment is None:
            payment = _payment(invoice, facts)
            record_change(changes, payment, "payment.created", None)
            new.append(payment)
        elif not payment.status.is_final and payment.amount != facts.amount and payment.invoice_id == invoice.id:
            before = snapshot(payment)
            payment.amount_minor = payment.platform_fee_minor = facts.amount.minor
            record_change(changes, payment, "payment.amount_changed", before)
            changed.append(payment)
    await insert_rows(connection, Payment, new)
    await update_rows(connection, Payment, changed, _PAYMENT_COLUMNS)
    return bool(new or changed) or any(
        facts.intent is None or not says_nothing_new(known[facts.intent_id], facts.intent) for facts in payments
    )


def _difference(
    known: Sequence[Any], wanted: Sequence[Any], columns: tuple[str, ...], key: Callable[[Any], str]
) -> _Difference:
    """What of `wanted` is new, and what has changed; rows that are known keep their ids."""
    by_key = {key(row): row for row in known}
    difference = _Difference(gone=[row.id for name, row in by_key.items() if name not in set(map(key, wanted))])
    for row in wanted:
        before = by_key.get(key(row))
        if before is None:
            difference.new.append(row)
        elif _values(before, columns) != _values(row, columns):
            row.id = before.id
            difference.changed.append(row)
    return difference


def _values(row: Any, columns: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in columns)


def _line(invoice: Invoice, facts: LineFacts, position: int) -> InvoiceLine:
    return new_row(
        InvoiceLine,
        id=new_id(), invoice_id=invoice.id, stripe_line_id=facts.id, position=position, description=facts.description,
        amount_minor=facts.amount.minor, discount_minor=facts.discount.minor, currency=facts.amount.currency,
        quantity=facts.quantity, proration=facts.proration, stripe_price_id=facts.price_id,
        period_start=facts.period_start, period_end=facts.period_end,
    )  # fmt: skip


def _note(invoice: Invoice, facts: CreditNoteFacts) -> CreditNote:
    return new_row(
        CreditNote,
        id=new_id(), invoice_id=invoice.id, stripe_credit_note_id=facts.id, number=facts.number, status=facts.status,
        type=facts.type, reason=facts.reason, currency=facts.total.currency, total_minor=facts.total.minor,
        refunded_minor=facts.refunded.minor, credited_minor=facts.credited.minor, stripe_created_at=facts.created_at,
    )  # fmt: skip


def _payment(invoice: Invoice, facts: InvoicePaymentFacts) -> Payment:
    return new_row(
        Payment,
        id=new_id(), payer_id=invoice.user_id, invoice_id=invoice.id, subscription_id=invoice.subscription_id,
        charge_model=ChargeModel.PLATFORM, status=PaymentStatus.PENDING, currency=facts.amount.currency,
        amount_minor=facts.amount.minor, platform_fee_minor=facts.amount.minor, host_amount_minor=0,
        stripe_payment_intent_id=facts.intent_id,
    )  # fmt: skip
