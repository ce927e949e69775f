"""An invoice's changes as audit entries keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.invoices import Invoice


def snapshot(invoice: Invoice) -> dict[str, Any]:
    """What of an invoice matters later: amounts in minor units of its currency."""
    return {
        "status": invoice.status.value,
        "number": invoice.number,
        "currency": invoice.currency,
        "total_minor": invoice.total_minor,
        "amount_due_minor": invoice.amount_due_minor,
        "amount_paid_minor": invoice.amount_paid_minor,
        "amount_remaining_minor": invoice.amount_remaining_minor,
        "receivable_minor": invoice.receivable_minor,
        "written_off_minor": invoice.written_off_minor,
        "attempt_count": invoice.attempt_count,
        "stripe_invoice_id": invoice.stripe_invoice_id,
    }
