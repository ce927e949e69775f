"""Requests to Stripe about subscriptions, as data."""

from __future__ import annotations

from services.stripe_requests import StripeRequest

# Without these a subscription does not say what its guest has to confirm, and what is to become of it.
SUBSCRIPTION_EXPANSIONS = (
    "latest_invoice.confirmation_secret", "latest_invoice.payments", "pending_setup_intent", "schedule",
)  # fmt: skip


def retrieve_subscription(subscription: str) -> StripeRequest:
    """ "Retrieve a subscription", with what its guest has to confirm and its schedule."""
    return StripeRequest.build("get", f"/v1/subscriptions/{subscription}", {"expand": SUBSCRIPTION_EXPANSIONS})
