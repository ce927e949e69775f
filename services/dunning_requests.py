"""Requests to Stripe about invoices that could not be collected, as data."""

from __future__ import annotations

from services.invoice_requests import INVOICE_EXPANSIONS
from services.stripe_requests import StripeRequest


def pay_invoice(invoice: str, *, payment_method: str | None, off_session: bool) -> StripeRequest:
    """ "Pay an invoice" with a method of its customer, or with what it would be paid with by itself."""
    return StripeRequest.build(
        "post",
        f"/v1/invoices/{invoice}/pay",
        {"payment_method": payment_method, "off_session": off_session, "expand": INVOICE_EXPANSIONS},
    )


def advance_invoice(invoice: str, *, by_itself: bool) -> StripeRequest:
    """ "Update an invoice": whether Stripe finalizes it, tries to collect it, and tries again, by itself."""
    return StripeRequest.build("post", f"/v1/invoices/{invoice}", {"auto_advance": by_itself})


def mark_uncollectible(invoice: str) -> StripeRequest:
    """ "Mark an invoice as uncollectible": it is given up, though it can still be paid."""
    return StripeRequest.build("post", f"/v1/invoices/{invoice}/mark_uncollectible")


def keep_drafts(subscription: str) -> StripeRequest:
    """ "Update a subscription" to leave its invoices as drafts ("Pause payment collection")."""
    return StripeRequest.build(
        "post", f"/v1/subscriptions/{subscription}", {"pause_collection": {"behavior": "keep_as_draft"}}
    )
