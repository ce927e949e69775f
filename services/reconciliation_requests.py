"""Requests to Stripe that a reconciliation makes, as data: its lists by the time of creation, newest first."""

from __future__ import annotations

from typing import Any

from services.stripe_requests import StripeRequest


def _listed(path: str, account: str, created_gte: int, created_lt: int, **params: Any) -> StripeRequest:
    query = {"created": {"gte": created_gte, "lt": created_lt}, "limit": 100, **params}
    return StripeRequest.build("get", path, query, stripe_account=account or None)


def list_charges(account: str, created_gte: int, created_lt: int) -> StripeRequest:
    """ "List all charges" of an account ('' for the platform) that were made then, in seconds since the epoch."""
    return _listed("/v1/charges", account, created_gte, created_lt)


def list_all_refunds(account: str, created_gte: int, created_lt: int) -> StripeRequest:
    """ "List all refunds" that were made then, with their charges."""
    return _listed("/v1/refunds", account, created_gte, created_lt, expand=["data.charge"])


def list_transfers(account: str, created_gte: int, created_lt: int) -> StripeRequest:
    """ "List all transfers" that were made then."""
    return _listed("/v1/transfers", account, created_gte, created_lt)


def list_payouts(account: str, created_gte: int, created_lt: int) -> StripeRequest:
    """ "List all payouts" that were made then."""
    return _listed("/v1/payouts", account, created_gte, created_lt)


def list_disputes(account: str, created_gte: int, created_lt: int) -> StripeRequest:
    """ "List all disputes" that were opened then."""
    return _listed("/v1/disputes", account, created_gte, created_lt)


def list_balance_transactions(account: str, created_gte: int, created_lt: int) -> StripeRequest:
    """ "List all balance transactions" that were made then."""
    return _listed("/v1/balance_transactions", account, created_gte, created_lt)


def retrieve(path: str, account: str, **params: Any) -> StripeRequest:
    """One object of an account, by its path."""
    return StripeRequest.build("get", path, params, stripe_account=account or None)
