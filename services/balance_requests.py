"""Requests to Stripe for its own books, as data."""

from __future__ import annotations

from services.stripe_requests import StripeRequest

# Without it a balance transaction does not say what its source came of: a host's payment of which transfer.
_EXPANSIONS = ("data.source",)


def list_balance_transactions(
    account: str, *, created_gte: int | None = None, created_lt: int | None = None, payout: str | None = None
) -> StripeRequest:
    """ "List all balance transactions" of an account ('' for the platform), newest first.

    Args:
        created_gte: made then or later, in seconds since the epoch.
        payout: those in this payout, which has to be an automatic one.
    """
    created = {"gte": created_gte, "lt": created_lt}
    return StripeRequest.build(
        "get", "/v1/balance_transactions",
        {"created": created, "payout": payout, "limit": 100, "expand": _EXPANSIONS}, stripe_account=account or None,
    )  # fmt: skip


def retrieve_balance_transaction(account: str, id_: str) -> StripeRequest:
    """ "Retrieve a balance transaction"."""
    return StripeRequest.build(
        "get", f"/v1/balance_transactions/{id_}", {"expand": ["source"]}, stripe_account=account or None
    )
