"""Requests to Stripe as data: encoded as Stripe reads them, with parameters that the pinned version knows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.connect_accounts import ConnectAccountType
from services import stripe_requests as requests
from services.stripe_requests import StripeRequest, encode
from tests.support.stripe_params import breaches, decoded

if TYPE_CHECKING:
    from collections.abc import Callable

PAYMENT: dict[str, Any] = {
    "amount": 1000, "currency": "usd", "customer": "cus_1", "payment_method": "pm_1", "capture_method": "manual",
    "application_fee_amount": 100, "destination": "acct_1", "on_behalf_of": "acct_1",
    "setup_future_usage": "off_session", "return_url": "https://example.com/?a=b&c=d",
    "statement_descriptor_suffix": "Wine", "metadata": {"payment_id": "1"},
}  # fmt: skip
BARE_PAYMENT = {
    **PAYMENT, "on_behalf_of": None, "setup_future_usage": None, "statement_descriptor_suffix": None,
    "application_fee_amount": 0, "capture_method": "automatic",
}  # fmt: skip

# Each builder's calls, the path they go to, and the package's name of their parameters.
CALLS: dict[str, tuple[list[StripeRequest], str, str, str]] = {
    "create_customer": (
        [requests.create_customer(email="a@example.com", name="Zoë & Co", metadata={"user_id": "1"})],
        "/v1/customers", "_customer_create_params", "CustomerCreateParams",
    ),
    "list_customers": (
        [requests.list_customers(created_gte=1)], "/v1/customers", "_customer_list_params", "CustomerListParams",
    ),
    "create_payment_intent": (
        [requests.create_payment_intent(**PAYMENT), requests.create_payment_intent(**BARE_PAYMENT)],
        "/v1/payment_intents", "_payment_intent_create_params", "PaymentIntentCreateParams",
    ),
    "confirm_payment_intent": (
        [requests.confirm_payment_intent("pi_1", payment_method="pm_2", return_url="https://example.com")],
        "/v1/payment_intents/pi_1/confirm", "_payment_intent_confirm_params", "PaymentIntentConfirmParams",
    ),
    "capture_payment_intent": (
        [
            requests.capture_payment_intent("pi_1", amount_to_capture=5, application_fee_amount=1),
            requests.capture_payment_intent("pi_1", amount_to_capture=5, application_fee_amount=0),
        ],
        "/v1/payment_intents/pi_1/capture", "_payment_intent_capture_params", "PaymentIntentCaptureParams",
    ),
    "cancel_payment_intent": (
        [requests.cancel_payment_intent("pi_1", reason=reason) for reason in ("abandoned", "requested_by_customer")],
        "/v1/payment_intents/pi_1/cancel", "_payment_intent_cancel_params", "PaymentIntentCancelParams",
    ),
    "retrieve_payment_intent": (
        [requests.retrieve_payment_intent("pi_1")],
        "/v1/payment_intents/pi_1", "_payment_intent_retrieve_params", "PaymentIntentRetrieveParams",
    ),
    "retrieve_charge": (
        [requests.retrieve_charge("ch_1")], "/v1/charges/ch_1", "_charge_retrieve_params", "ChargeRetrieveParams",
    ),
    "list_payment_intents": (
        [requests.list_payment_intents(customer="cus_1", created_gte=1)],
        "/v1/payment_intents", "_payment_intent_list_params", "PaymentIntentListParams",
    ),
    "create_refund": (
        [
            requests.create_refund(
                payment_intent="pi_1", amount=5, reason=reason, reverse_transfer=True, refund_application_fee=fee,
                metadata={"refund_id": "1"},
            )
            for reason in (None, "requested_by_customer", "duplicate", "fraudulent") for fee in (True, False)
        ],
        "/v1/refunds", "_refund_create_params", "RefundCreateParams",
    ),
    "retrieve_refund": (
        [requests.retrieve_refund("re_1")], "/v1/refunds/re_1", "_refund_retrieve_params", "RefundRetrieveParams",
    ),
    "list_refunds": (
        [requests.list_refunds(payment_intent="pi_1")], "/v1/refunds", "_refund_list_params", "RefundListParams",
    ),
    "create_account": (
        [
            requests.create_account(type_, country="DE", email="a@example.com", metadata={"account_id": "1"})
            for type_ in ConnectAccountType
        ],
        "/v1/accounts", "_account_create_params", "AccountCreateParams",
    ),
    "retrieve_account": (
        [requests.retrieve_account("acct_1")],
        "/v1/accounts/acct_1", "_account_retrieve_params", "AccountRetrieveParams",
    ),
    "retrieve_capability": (
        [requests.retrieve_capability("acct_1", "transfers")], "/v1/accounts/acct_1/capabilities/transfers",
        "_account_retrieve_capability_params", "AccountRetrieveCapabilityParams",
    ),
    "list_accounts": (
        [requests.list_accounts(created_gte=1)], "/v1/accounts", "_account_list_params", "AccountListParams",
    ),
    "create_account_link": (
        [requests.create_account_link("acct_1", return_url="https://a.b/", refresh_url="https://a.b/", key="k")],
        "/v1/account_links", "_account_link_create_params", "AccountLinkCreateParams",
    ),
    "create_login_link": (
        [requests.create_login_link("acct_1", key="k")],
        "/v1/accounts/acct_1/login_links", "_account_create_login_link_params", "AccountCreateLoginLinkParams",
    ),
    "retrieve_balance": (
        [requests.retrieve_balance("acct_1")],
        "/v1/balance", "_balance_retrieve_params", "BalanceRetrieveParams",
    ),
    "list_events": (
        [requests.list_events(types=["charge.refunded"], created_gte=1, account="acct_1")],
        "/v1/events", "_event_list_params", "EventListParams",
    ),
}  # fmt: skip


def builders() -> dict[str, Callable[..., Any]]:
    return {
        name: value
        for name, value in vars(requests).items()
        if inspect.isfunction(value) and value.__annotations__.get("return") == "StripeRequest"
    }


def test_every_builder_is_tested_here() -> None:
    assert set(builders()) == set(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_parameters_are_those_of_the_pinned_version(name: str) -> None:
    calls, path, module, declared = CALLS[name]
    for call in calls:
        assert call.path == path
        assert breaches(module, declared, decoded(call.body)) == []


@pytest.mark.parametrize("name", sorted(CALLS))
def test_reads_are_gets_and_only_single_use_links_carry_a_key_of_their_own(name: str) -> None:
    for call in CALLS[name][0]:
        assert call.method == ("get" if name.startswith(("retrieve", "list")) else "post")
        assert (call.idempotency_key is not None) == name.endswith("_link")


def test_what_is_none_or_a_fee_of_nothing_is_left_out() -> None:
    bare = decoded(requests.create_payment_intent(**BARE_PAYMENT).body)
    for name in ("on_behalf_of", "setup_future_usage", "statement_descriptor_suffix", "application_fee_amount"):
        assert name not in bare
    assert bare["transfer_data"] == {"destination": "acct_1"}
    assert bare["confirm"] == "true"


def test_controllers_say_who_pays_who_bears_and_who_asks() -> None:
    bodies = [decoded(call.body)["controller"] for call in CALLS["create_account"][0]]
    assert [
        (body["fees"]["payer"], body["losses"]["payments"], body["requirement_collection"], body["stripe_dashboard"])
        for body in bodies
    ] == [
        ("application", "application", "stripe", {"type": "express"}),
        ("account", "stripe", "stripe", {"type": "full"}),
        ("application", "application", "application", {"type": "none"}),
    ]


def test_the_form_is_stripe_s() -> None:
    assert encode({"a": {"b": [1, True, None, "x&y=z é"]}, "c": None, "d": False, "e": []}) == (
        "a[b][0]=1&a[b][1]=true&a[b][3]=x%26y%3Dz+%C3%A9&d=false"
    )


leaves = st.text() | st.integers()
names = st.text("abc_", min_size=1, max_size=5)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(names, inner, min_size=1, max_size=3),
)


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return str(value)


@given(st.dictionaries(names, trees, max_size=4))
def test_whatever_goes_in_comes_out(params: dict[str, Any]) -> None:
    body = encode(params)
    assert body.isascii()
    assert decoded(body) == _as_text(params)
    assert encode(params) == body


@given(st.dictionaries(names, st.text(), max_size=4))
def test_a_flat_form_is_everybody_s_form(params: dict[str, str]) -> None:
    assert dict(parse_qsl(encode(params), keep_blank_values=True)) == params
