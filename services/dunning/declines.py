"""Which failed payments cannot come right by trying the same method again without the guest.

Source: "Automate payment retries", which lists the hard declines that Stripe itself does not try again, and "Decline
codes" with the `advice_code` of card networks, who fine those that try again against it.
"""

from __future__ import annotations

from typing import Final

HARD_DECLINES: Final = frozenset(
    {
        "authentication_required", "highest_risk_level", "incorrect_number", "lost_card", "pickup_card",
        "revocation_of_all_authorizations", "revocation_of_authorization", "stolen_card", "transaction_not_allowed",
    }
)  # fmt: skip
"""Stripe's own list."""

_FOR_GOOD: Final = frozenset(
    {
        "card_not_supported", "currency_not_supported", "do_not_try_again", "expired_card", "invalid_account",
        "invalid_number", "new_account_information_available", "not_permitted", "restricted_card", "security_violation",
        "service_not_allowed", "stop_payment_order", "testmode_decline",
    }
)  # fmt: skip
"""What "Decline codes" answers with another card alone: time does not change it. An expired card may be replaced by its
network, which comes in as a changed method."""

CONFIRMATION: Final = "authentication_required"
"""The bank wants to hear it from the guest: the same card will do."""
NO_METHOD: Final = "payment_method_missing"
"""Nothing was tried, as there is nothing to try with; no code of Stripe's."""


def may_be_tried_again(code: str | None, decline_code: str | None, advice_code: str | None = None) -> bool:
    """Whether the same method may do later without the guest."""
    if advice_code == "do_not_try_again":
        return False
    return not ({code, decline_code} & (HARD_DECLINES | _FOR_GOOD | {NO_METHOD}))
