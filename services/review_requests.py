"""Requests to Stripe that a review of billing makes, as data."""

from __future__ import annotations

from services.stripe_requests import StripeRequest
from services.subscription_requests import SUBSCRIPTION_EXPANSIONS


def retrieve_with_customer(subscription: str) -> StripeRequest:
    """ "Retrieve a subscription", with all that it is settled by and what its customer pays with."""
    return StripeRequest.build(
        "get", f"/v1/subscriptions/{subscription}", {"expand": [*SUBSCRIPTION_EXPANSIONS, "customer"]}
    )


def list_invoices(*, subscription: str) -> StripeRequest:
    """ "List all invoices" of a subscription, the newest first."""
    return StripeRequest.build("get", "/v1/invoices", {"subscription": subscription, "limit": 100})


def list_subscriptions_of_all() -> StripeRequest:
    """ "List subscriptions" of every customer, without those that were canceled."""
    return StripeRequest.build("get", "/v1/subscriptions", {"limit": 100})
