"""What Stripe says of invoices, their lines, payments and credit notes, read once into our own terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.invoices import CreditNoteStatus, InvoiceStatus
from models.money import Money
from models.payments import PaymentStatus
from services.payments.facts import FailureFacts, IntentFacts, id_of, instant, optional_instant

if TYPE_CHECKING:
    from datetime import datetime

_STATUSES = {
    "draft": InvoiceStatus.DRAFT,
    "open": InvoiceStatus.OPEN,
    "paid": InvoiceStatus.PAID,
    "uncollectible": InvoiceStatus.UNCOLLECTIBLE,
    "void": InvoiceStatus.VOID,
}


@dataclass(frozen=True, slots=True)
class LineFacts:
    """One line ("The Invoice Line Item object")."""

    id: str
    description: str | None
    amount: Money
    discount: Money
    """What discounts take off `amount`."""
    quantity: int | None
    proration: bool
    price_id: str | None
    period_start: datetime
    period_end: datetime

    @classmethod
    def parse(cls, body: dict[str, Any]) -> LineFacts:
        """From a line item; its price and whether it is a proration are told by `pricing` and `parent`."""
        parent = body.get("parent") or {}
        details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
        price = ((body.get("pricing") or {}).get("price_details") or {}).get("price")
        currency = body["currency"]
        return cls(
            id=body["id"],
            description=body.get("description"),
            amount=Money.from_wire(body["amount"], currency),
            discount=Money.from_wire(sum(part["amount"] for part in body.get("discount_amounts") or []), currency),
            quantity=body.get("quantity"),
            proration=bool(details.get("proration")),
            price_id=id_of(price),
            period_start=instant(body["period"]["start"]),
            period_end=instant(body["period"]["end"]),
        )


@dataclass(frozen=True, slots=True)
class InvoicePaymentFacts:
    """One payment intent that pays, or is to pay, an invoice ("The Invoice Payment object")."""

    id: str
    status: str
    amount: Money
    is_default: bool
    intent_id: str
    intent: IntentFacts | None
    """None where it is only an id."""
    payment_method: str | None
    """The method that it was last tried with."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> InvoicePaymentFacts | None:
        """From an invoice payment; None where no payment intent is behind it, as where it was paid elsewhere."""
        intent = (body.get("payment") or {}).get("payment_intent")
        intent_id = id_of(intent)
        if intent_id is None:
            return None
        method: str | None = None
        if isinstance(intent, dict):
            failed_with = (intent.get("last_payment_error") or {}).get("payment_method")
            method = id_of(intent.get("payment_method")) or id_of(failed_with)
        return cls(
            id=body["id"],
            status=body["status"],
            amount=Money.from_wire(body["amount_requested"], body["currency"]),
            is_default=bool(body.get("is_default")),
            intent_id=intent_id,
            intent=IntentFacts.parse(intent) if isinstance(intent, dict) else None,
            payment_method=method,
        )


@dataclass(frozen=True, slots=True)
class CreditNoteFacts:
    """One credit note ("The Credit Note object")."""

    id: str
    number: str
    status: CreditNoteStatus
    type: str
    reason: str | None
    total: Money
    refunded: Money
    """What of it was given back as refunds."""
    credited: Money
    """What of it went to the customer's balance."""
    created_at: datetime

    @classmethod
    def parse(cls, body: dict[str, Any]) -> CreditNoteFacts:
        """From a credit note: after payment, what was neither refunded nor paid elsewhere went to the balance."""
        currency = body["currency"]
        refunded = sum(refund["amount_refunded"] for refund in body.get("refunds") or [])
        elsewhere = body.get("out_of_band_amount") or 0
        credited = (body.get("post_payment_amount") or 0) - refunded - elsewhere
        return cls(
            id=body["id"],
            number=body["number"],
            status=CreditNoteStatus.VOID if body["status"] == "void" else CreditNoteStatus.ISSUED,
            type=body["type"],
            reason=body.get("reason"),
            total=Money.from_wire(body["total"], currency),
            refunded=Money.from_wire(refunded, currency),
            credited=Money.from_wire(max(0, credited), currency),
            created_at=instant(body["created"]),
        )


@dataclass(frozen=True, slots=True)
class InvoiceFacts:
    """One state of an invoice; Stripe's ids as they are."""

    id: str
    status: InvoiceStatus
    number: str | None
    billing_reason: str | None
    customer: str
    subscription_id: str | None
    currency: str
    subtotal: Money
    total: Money
    amount_due: Money
    amount_paid: Money
    amount_remaining: Money
    attempt_count: int
    auto_advance: bool
    next_payment_attempt: datetime | None
    """When Stripe itself tries again; null where it does not."""
    period_start: datetime
    period_end: datetime
    hosted_invoice_url: str | None
    invoice_pdf: str | None
    created_at: datetime
    finalized_at: datetime | None
    paid_at: datetime | None
    uncollectible_at: datetime | None
    voided_at: datetime | None
    has_credit_notes: bool
    payments: tuple[InvoicePaymentFacts, ...]
    lines: tuple[LineFacts, ...]
    has_more_lines: bool
    has_more_payments: bool

    @property
    def payment(self) -> InvoicePaymentFacts | None:
        """The payment that Stripe makes for it by itself, or else the newest."""
        for payment in self.payments:
            if payment.is_default:
                return payment
        return self.payments[0] if self.payments else None

    @property
    def failure(self) -> FailureFacts | None:
        """Why its last payment failed, where it failed last."""
        intent = self._intent
        return None if intent is None else intent.failure

    @property
    def needs_action(self) -> bool:
        """Whether the guest has to confirm its payment with the bank."""
        intent = self._intent
        return intent is not None and intent.status is PaymentStatus.REQUIRES_ACTION

    @property
    def _intent(self) -> IntentFacts | None:
        return None if self.payment is None else self.payment.intent

    @classmethod
    def parse(cls, body: dict[str, Any]) -> InvoiceFacts:
        """From an Invoice, with `INVOICE_EXPANSIONS` or, as events have it, without payments."""
        currency = body["currency"]
        parent = (body.get("parent") or {}).get("subscription_details") or {}
        times = body.get("status_transitions") or {}
        lines = body.get("lines") or {}
        paid_with = body.get("payments") or {}
        payments = (InvoicePaymentFacts.parse(payment) for payment in paid_with.get("data") or [])
        credited = (body.get("pre_payment_credit_notes_amount") or 0) + (
            body.get("post_payment_credit_notes_amount") or 0
        )
        return cls(
            id=body["id"],
            status=_STATUSES[body["status"]],
            number=body.get("number"),
            billing_reason=body.get("billing_reason"),
            customer=id_of(body.get("customer")) or "",
            subscription_id=id_of(parent.get("subscription")),
            currency=currency.upper(),
            subtotal=Money.from_wire(body["subtotal"], currency),
            total=Money.from_wire(body["total"], currency),
            amount_due=Money.from_wire(body["amount_due"], currency),
            amount_paid=Money.from_wire(body["amount_paid"], currency),
            amount_remaining=Money.from_wire(body["amount_remaining"], currency),
            attempt_count=body["attempt_count"],
            auto_advance=bool(body.get("auto_advance")),
            next_payment_attempt=optional_instant(body.get("next_payment_attempt")),
            period_start=instant(body["period_start"]),
            period_end=instant(body["period_end"]),
            hosted_invoice_url=body.get("hosted_invoice_url"),
            invoice_pdf=body.get("invoice_pdf"),
            created_at=instant(body["created"]),
            finalized_at=optional_instant(times.get("finalized_at")),
            paid_at=optional_instant(times.get("paid_at")),
            uncollectible_at=optional_instant(times.get("marked_uncollectible_at")),
            voided_at=optional_instant(times.get("voided_at")),
            has_credit_notes=credited > 0,
            payments=tuple(payment for payment in payments if payment is not None),
            lines=tuple(LineFacts.parse(line) for line in lines.get("data") or []),
            has_more_lines=bool(lines.get("has_more")),
            has_more_payments=bool(paid_with.get("has_more")),
        )
