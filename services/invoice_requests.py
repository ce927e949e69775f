"""Requests to Stripe about invoices, their payments and credit notes, as data."""

from __future__ import annotations

from services.stripe_requests import StripeRequest

# Without this an invoice says nothing of its payments.
INVOICE_EXPANSIONS = ("payments.data.payment.payment_intent",)


def retrieve_invoice(invoice: str) -> StripeRequest:
    """ "Retrieve an invoice", with its payments and their payment intents."""
    return StripeRequest.build("get", f"/v1/invoices/{invoice}", {"expand": INVOICE_EXPANSIONS})


def void_invoice(invoice: str) -> StripeRequest:
    """ "Void an invoice": nothing is owed for it, and what waited for its payment waits no more."""
    return StripeRequest.build("post", f"/v1/invoices/{invoice}/void")


def list_invoice_lines(invoice: str) -> StripeRequest:
    """ "Retrieve an invoice's line items": an invoice itself shows the first ten."""
    return StripeRequest.build("get", f"/v1/invoices/{invoice}/lines", {"limit": 100})


def list_invoice_payments(*, invoice: str | None = None, payment_intent: str | None = None) -> StripeRequest:
    """ "List all payments for an invoice", or those that a payment intent makes."""
    return StripeRequest.build(
        "get",
        "/v1/invoice_payments",
        {
            "invoice": invoice,
            "payment": payment_intent and {"type": "payment_intent", "payment_intent": payment_intent},
            "limit": 100,
            "expand": ["data.payment.payment_intent"] if invoice else None,
        },
    )


def list_credit_notes(*, invoice: str) -> StripeRequest:
    """ "List all credit notes" of an invoice, with the refunds that they name."""
    return StripeRequest.build("get", "/v1/credit_notes", {"invoice": invoice, "limit": 100})
