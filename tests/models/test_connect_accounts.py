"""What keeps a host from being paid."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from models.connect_accounts import ConnectAccount, ConnectAccountType


def account(**values: Any) -> ConnectAccount:
    """An account that can be paid, but for these values."""
    ready: dict[str, Any] = {
        "stripe_account_id": "acct_1",
        "type": ConnectAccountType.EXPRESS,
        "country": "DE",
        "capabilities": {"transfers": "active", "card_payments": "active"},
    }
    return ConnectAccount(**{**ready, **values})


def entry(field: str, urgency: str) -> dict[str, Any]:
    return {"field": field, "urgency": urgency, "error": None, "deadline": None}


@pytest.mark.parametrize("type_", list(ConnectAccountType))
def test_a_host_with_active_capabilities_can_be_paid(type_: ConnectAccountType) -> None:
    assert account(type=type_).can_be_paid("DE")
    assert account(type=type_).can_be_paid("US")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"stripe_account_id": None}, ["account_creation_pending"]),
        ({"deauthorized_at": datetime(2026, 1, 1, tzinfo=UTC)}, ["account_deauthorized"]),
        (
            {"type": ConnectAccountType.STANDARD, "capabilities": {"transfers": "active"}},
            ["capability.card_payments"],
        ),
        ({"capabilities": {}}, ["capability.transfers"]),
        ({"capabilities": {"transfers": "pending"}, "disabled_reason": "under_review"}, ["under_review"]),
        (
            {
                "capabilities": {"transfers": "inactive"},
                "requirements": [
                    entry("individual.dob.day", "PAST_DUE"), entry("external_account", "CURRENTLY_DUE"),
                    entry("individual.id_number", "EVENTUALLY_DUE"),
                ],
                "disabled_reason": "requirements.past_due",
            },
            ["individual.dob.day", "external_account"],
        ),
        (
            {
                "capabilities": {"transfers": "pending"},
                "requirements": [entry("individual.verification.document", "PENDING_VERIFICATION")],
            },
            ["individual.verification.document"],
        ),
    ],
)  # fmt: skip
def test_a_hindrance_is_named_in_stripe_s_words(values: dict[str, Any], expected: list[str]) -> None:
    hindered = account(**values)
    assert hindered.hindrances("DE") == expected
    assert not hindered.can_be_paid("DE")


def test_requirements_alone_do_not_keep_a_host_from_being_paid() -> None:
    assert account(requirements=[entry("individual.id_number", "CURRENTLY_DUE")]).can_be_paid("DE")


def test_card_payments_matter_only_where_the_host_is_the_settlement_merchant() -> None:
    host = account(capabilities={"transfers": "active", "card_payments": "inactive"})
    assert host.can_be_paid("DE")
    assert not host.can_be_paid("US")
    assert host.hindrances("US") == ["capability.card_payments"]
