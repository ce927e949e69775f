"""Requests to Stripe about customers' payment methods: setup intents, attaching, detaching, the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


def create_setup_intent(*, customer: str, metadata: Mapping[str, str]) -> StripeRequest:
    """ "Create a SetupIntent" for payments when the guest is away; Stripe.js shows what can be saved, and confirms."""
    return StripeRequest.build(
        "post",
        "/v1/setup_intents",
        {
            "customer": customer,
            "usage": "off_session",
            "automatic_payment_methods": {"enabled": True},
            "metadata": dict(metadata),
        },
    )


def list_setup_intents(*, customer: str, created_gte: int) -> StripeRequest:
    """ "List all SetupIntents" of a customer."""
    return StripeRequest.build(
        "get", "/v1/setup_intents", {"customer": customer, "created": {"gte": created_gte}, "limit": 100}
    )


def retrieve_setup_intent(intent: str) -> StripeRequest:
    """ "Retrieve a SetupIntent"."""
    return StripeRequest.build("get", f"/v1/setup_intents/{intent}")


def attach_payment_method(method: str, *, customer: str) -> StripeRequest:
    """ "Attach a PaymentMethod to a Customer"."""
    return StripeRequest.build("post", f"/v1/payment_methods/{method}/attach", {"customer": customer})


def clone_payment_method(method: str, *, customer: str | None, stripe_account: str) -> StripeRequest:
    """ "Clone PaymentMethods across accounts": a method of the platform for one direct charge on this account.

    Args:
        customer: whose it is; None for one that is nobody's, which is used up by this.
    """
    return StripeRequest.build(
        "post", "/v1/payment_methods", {"payment_method": method, "customer": customer}, stripe_account=stripe_account
    )


def detach_payment_method(method: str) -> StripeRequest:
    """ "Detach a PaymentMethod from a Customer"; it can never be attached again."""
    return StripeRequest.build("post", f"/v1/payment_methods/{method}/detach")


def retrieve_payment_method(method: str) -> StripeRequest:
    """ "Retrieve a PaymentMethod"."""
    return StripeRequest.build("get", f"/v1/payment_methods/{method}")


def list_payment_methods(customer: str) -> StripeRequest:
    """ "List a Customer's PaymentMethods", of all types."""
    return StripeRequest.build("get", f"/v1/customers/{customer}/payment_methods", {"limit": 100})


def set_default_payment_method(customer: str, method: str) -> StripeRequest:
    """ "Update a customer": what its invoices and subscriptions are paid with."""
    return StripeRequest.build(
        "post", f"/v1/customers/{customer}", {"invoice_settings": {"default_payment_method": method}}
    )


def retrieve_customer(customer: str) -> StripeRequest:
    """ "Retrieve a customer"; one that was deleted answers `deleted`."""
    return StripeRequest.build("get", f"/v1/customers/{customer}")
