"""What the ledger has of invoices before they are paid: what guests owe, and what of that was given up.

An open invoice is owed until it is paid, credited or voided; an uncollectible one is written off, and owed again for
the moment in which it is paid after all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.invoices import InvoiceStatus
from models.ledger import LedgerTransactionKind
from models.money import Money
from services.ledger import GUESTS, RECEIVABLES, UNCOLLECTIBLE

if TYPE_CHECKING:
    from datetime import datetime

    from models.invoices import Invoice
    from services.ledger import LedgerBatch, Pot


def claim(invoice: Invoice) -> None:
    """Set what is owed and what is written off as the invoice's status and what remains of it say."""
    remaining = invoice.amount_remaining_minor
    invoice.receivable_minor = remaining if invoice.status is InvoiceStatus.OPEN else 0
    invoice.written_off_minor = remaining if invoice.status is InvoiceStatus.UNCOLLECTIBLE else 0


def post_claim(
    ledger: LedgerBatch, invoice: Invoice, *, owed_before: int, written_off_before: int, at: dict[str, datetime]
) -> None:
    """Post how the claim has changed, if it has, under references that the invoice's version makes unique.

    Args:
        owed_before: minor units, as `written_off_before`.
        at: when it came to be owed ("due"), was written off ("uncollectible"), and ended ("closed").
    """
    owed = owed_before
    more = invoice.receivable_minor + invoice.written_off_minor - owed_before - written_off_before
    given_up = invoice.written_off_minor - written_off_before

    def move(kind: LedgerTransactionKind, what: str, source: Pot, target: Pot, minor: int) -> None:
        amount = Money(minor, invoice.currency)
        ledger.move(
            kind, f"invoice_{what}:{invoice.stripe_invoice_id}:{invoice.version}",
            [(source, -amount), (target, amount)], occurred_at=at[what], payment_id=None,
            stripe_object_id=invoice.stripe_invoice_id,
        )  # fmt: skip

    if more > 0:
        move(LedgerTransactionKind.INVOICE_DUE, "due", GUESTS, RECEIVABLES, more)
        owed += more
    if given_up:
        move(LedgerTransactionKind.INVOICE_UNCOLLECTIBLE, "uncollectible", RECEIVABLES, UNCOLLECTIBLE, given_up)
        owed -= given_up
    if owed > invoice.receivable_minor:
        move(LedgerTransactionKind.INVOICE_CLOSED, "closed", RECEIVABLES, GUESTS, owed - invoice.receivable_minor)
