"""Settling invoices: what Stripe says of one becomes its row, its lines, its payments and the ledger's postings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.invoices import Invoice
    from services.core import Services


async def settle_invoice(services: Services, stripe_invoice_id: str, *, actor: str) -> Invoice | None:
    """Mirror an invoice as Stripe has it now, and settle the payment behind each of its payment intents.

    Returns: the invoice as it is now; None for one that is not of a guest of ours.
    Raises: StripeError where Stripe cannot be reached.
    """
    raise NotImplementedError
