"""Requests to Stripe about payouts, and about the settings by which they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Without these a payout names what it cost, when it came back and where it went by id alone.
PAYOUT_EXPANSIONS = ("balance_transaction", "failure_balance_transaction", "destination")


def create_payout(
    *, amount: int, currency: str, instant: bool, metadata: Mapping[str, str], account: str
) -> StripeRequest:
    """ "Create a payout" of a connected account's balance, in Stripe's wire integers, to its default bank account."""
    return StripeRequest.build(
        "post",
        "/v1/payouts",
        {
            "amount": amount,
            "currency": currency,
            "method": "instant" if instant else "standard",
            "metadata": dict(metadata),
            "expand": PAYOUT_EXPANSIONS,
        },
        stripe_account=account,
    )


def retrieve_payout(payout: str, *, account: str | None = None) -> StripeRequest:
    """ "Retrieve a payout" of a connected account, or of the platform."""
    return StripeRequest.build(
        "get", f"/v1/payouts/{payout}", {"expand": PAYOUT_EXPANSIONS}, stripe_account=account
    )


def list_payouts(*, created_gte: int, account: str | None = None) -> StripeRequest:
    """ "List all payouts" of a connected account, or of the platform, made since then."""
    return StripeRequest.build(
        "get",
        "/v1/payouts",
        {
            "created": {"gte": created_gte},
            "limit": 100,
            "expand": [f"data.{expansion}" for expansion in PAYOUT_EXPANSIONS],
        },
        stripe_account=account,
    )


def retrieve_balance_settings(account: str) -> StripeRequest:
    """ "Retrieve balance settings" of a connected account."""
    return StripeRequest.build("get", "/v1/balance_settings", stripe_account=account)


def set_payout_schedule(
    account: str, *, interval: str, weekly_days: Sequence[str], monthly_days: Sequence[int]
) -> StripeRequest:
    """ "Update balance settings" of a connected account: on which days it is paid out by itself."""
    schedule: dict[str, Any] = {
        "interval": interval,
        "weekly_payout_days": list(weekly_days) or None,
        "monthly_payout_days": list(monthly_days) or None,
    }
    return StripeRequest.build(
        "post", "/v1/balance_settings", {"payments": {"payouts": {"schedule": schedule}}}, stripe_account=account
    )
