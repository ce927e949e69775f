"""Requests about payouts: with parameters that the pinned version knows, and on the account that is meant."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from services import payout_requests as requests
from services.stripe_requests import StripeRequest
from tests.support.stripe_params import breaches, decoded

NEW: dict[str, Any] = {"amount": 4000, "currency": "usd", "metadata": {"payout_id": "1"}, "account": "acct_1"}

# Each builder's calls, the path they go to, and the package's name of their parameters.
CALLS: dict[str, tuple[list[StripeRequest], str, str, str]] = {
    "create_payout": (
        [requests.create_payout(**NEW, instant=instant) for instant in (False, True)],
        "/v1/payouts", "_payout_create_params", "PayoutCreateParams",
    ),
    "retrieve_payout": (
        [requests.retrieve_payout("po_1", account="acct_1")],
        "/v1/payouts/po_1", "_payout_retrieve_params", "PayoutRetrieveParams",
    ),
    "list_payouts": (
        [requests.list_payouts(created_gte=1, account="acct_1")],
        "/v1/payouts", "_payout_list_params", "PayoutListParams",
    ),
    "retrieve_balance_settings": (
        [requests.retrieve_balance_settings("acct_1")],
        "/v1/balance_settings", "_balance_settings_retrieve_params", "BalanceSettingsRetrieveParams",
    ),
    "set_payout_schedule": (
        [
            requests.set_payout_schedule("acct_1", interval=interval, weekly_days=weekly, monthly_days=monthly)
            for interval, weekly, monthly in (
                ("daily", [], []), ("weekly", ["monday", "friday"], []), ("monthly", [], [1, 31]), ("manual", [], []),
            )
        ],
        "/v1/balance_settings", "_balance_settings_update_params", "BalanceSettingsUpdateParams",
    ),
}  # fmt: skip


def test_every_builder_is_here() -> None:
    builders = {
        name for name, _ in inspect.getmembers(requests, inspect.isfunction)
        if inspect.signature(getattr(requests, name)).return_annotation == "StripeRequest"
    }  # fmt: skip
    assert builders == set(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_parameters_are_those_of_the_pinned_version(name: str) -> None:
    calls, path, module, declared = CALLS[name]
    for call in calls:
        assert (call.path, call.stripe_account) == (path, "acct_1")
        assert call.method == ("get" if name.startswith(("retrieve", "list")) else "post")
        assert breaches(module, declared, decoded(call.body)) == []


def test_the_platform_s_own_are_asked_for_on_no_account() -> None:
    assert requests.retrieve_payout("po_1").stripe_account is None
    assert requests.list_payouts(created_gte=1).stripe_account is None


def test_only_the_days_of_the_interval_are_sent() -> None:
    sent = [decoded(call.body)["payments"]["payouts"]["schedule"] for call in CALLS["set_payout_schedule"][0]]
    assert sent == [
        {"interval": "daily"}, {"interval": "weekly", "weekly_payout_days": ["monday", "friday"]},
        {"interval": "monthly", "monthly_payout_days": ["1", "31"]}, {"interval": "manual"},
    ]  # fmt: skip
