"""Requests to Stripe as data: what is stored before a call is what is sent, and sent again, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from models.connect_accounts import ConnectAccountType

# Without these a payment intent's answer names its charge and what was credited for it by id alone.
INTENT_EXPANSIONS = ("latest_charge.balance_transaction", "latest_charge.transfer", "latest_charge.application_fee")

# Without these a refund does not say what it took back of the host and the fee.
REFUND_EXPANSIONS = ("charge.application_fee", "charge.transfer", "transfer_reversal")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that goes out as a part of the form."""

    filename: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StripeRequest:
    """One request: `body` is form-encoded; that of a GET or DELETE is its query.

    Writes get their idempotency key from their step. With an upload, which is the form's `file`, the form goes out as
    multipart/form-data, to where Stripe takes files ("File upload guide").
    """

    method: str
    path: str
    body: str
    idempotency_key: str | None = None
    stripe_account: str | None = None
    upload: Upload | None = None

    @classmethod
    def build(
        cls, method: str, path: str, params: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None,
        stripe_account: str | None = None,
    ) -> StripeRequest:  # fmt: skip
        """Encode the parameters; those that are None are left out. No account, or '': the platform's own."""
        return cls(method, path, encode(params or {}), idempotency_key, stripe_account or None)


def encode(params: Mapping[str, Any]) -> str:
    """Stripe's nested form: `a[b][0]=…`, in the order given."""
    return "&".join(f"{quote_plus(name, safe='[]')}={quote_plus(value)}" for name, value in _flat(params))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}[{key}]" if prefix else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flat(item, f"{prefix}[{index}]")
    elif isinstance(value, bool):
        yield prefix, "true" if value else "false"
    else:
        yield prefix, str(value)


def create_customer(*, email: str, name: str, metadata: Mapping[str, str]) -> StripeRequest:
    """ "Create a customer"."""
    return StripeRequest.build("post", "/v1/customers", {"email": email, "name": name, "metadata": dict(metadata)})


def list_customers(*, created_gte: int) -> StripeRequest:
    """ "List all customers"."""
    return StripeRequest.build("get", "/v1/customers", {"created": {"gte": created_gte}, "limit": 100})


def create_payment_intent(
    *, amount: int, currency: str, customer: str | None, payment_method: str, capture_method: str,
    application_fee_amount: int | None, destination: str | None, on_behalf_of: str | None,
    setup_future_usage: str | None, return_url: str, statement_descriptor_suffix: str | None,
    metadata: Mapping[str, str], off_session: bool = False, transfer_group: str | None = None,
    stripe_account: str = "",
) -> StripeRequest:  # fmt: skip
    """ "Create a PaymentIntent", confirmed at once. Amounts are in Stripe's wire integers.

    Args:
        application_fee_amount: of a destination charge and of a direct charge.
        destination: of a destination charge.
        transfer_group: of a charge whose transfers are made separately.
        off_session: the guest is not there to confirm anything: where the bank wants that, it is a decline.
        stripe_account: the account that a direct charge is made on.
    """
    return StripeRequest.build(
        "post",
        "/v1/payment_intents",
        {
            "amount": amount,
            "currency": currency,
            "customer": customer,
            "payment_method": payment_method,
            "confirm": True,
            "capture_method": capture_method,
            # Stripe refuses a fee of zero.
            "application_fee_amount": application_fee_amount or None,
            "transfer_data": {"destination": destination} if destination else None,
            "transfer_group": transfer_group,
            "on_behalf_of": on_behalf_of,
            "setup_future_usage": setup_future_usage,
            "off_session": off_session or None,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "always"},
            "return_url": return_url,
            "statement_descriptor_suffix": statement_descriptor_suffix,
            "metadata": dict(metadata),
            "expand": INTENT_EXPANSIONS,
        },
        stripe_account=stripe_account,
    )


def confirm_payment_intent(
    intent: str, *, payment_method: str, return_url: str, stripe_account: str = "", off_session: bool = False
) -> StripeRequest:
    """ "Confirm a PaymentIntent" with another method; `off_session` as in `create_payment_intent`."""
    return StripeRequest.build(
        "post",
        f"/v1/payment_intents/{intent}/confirm",
        {
            "payment_method": payment_method, "off_session": off_session or None, "return_url": return_url,
            "expand": INTENT_EXPANSIONS,
        },
        stripe_account=stripe_account,
    )


def capture_payment_intent(
    intent: str, *, amount_to_capture: int, application_fee_amount: int, stripe_account: str = ""
) -> StripeRequest:
    """ "Capture a PaymentIntent"; the fee is that of the amount captured."""
    return StripeRequest.build(
        "post",
        f"/v1/payment_intents/{intent}/capture",
        {
            "amount_to_capture": amount_to_capture,
            "application_fee_amount": application_fee_amount or None,
            "expand": INTENT_EXPANSIONS,
        },
        stripe_account=stripe_account,
    )


def cancel_payment_intent(intent: str, *, reason: str, stripe_account: str = "") -> StripeRequest:
    """ "Cancel a PaymentIntent"."""
    return StripeRequest.build(
        "post",
        f"/v1/payment_intents/{intent}/cancel",
        {"cancellation_reason": reason, "expand": INTENT_EXPANSIONS},
        stripe_account=stripe_account,
    )


def retrieve_payment_intent(intent: str, *, stripe_account: str = "") -> StripeRequest:
    """ "Retrieve a PaymentIntent", with its charge."""
    return StripeRequest.build(
        "get", f"/v1/payment_intents/{intent}", {"expand": INTENT_EXPANSIONS}, stripe_account=stripe_account
    )


def retrieve_charge(charge: str) -> StripeRequest:
    """ "Retrieve a charge"."""
    return StripeRequest.build("get", f"/v1/charges/{charge}")


def list_payment_intents(*, customer: str | None, created_gte: int, stripe_account: str = "") -> StripeRequest:
    """ "List all PaymentIntents" of a customer or account; the list is strongly consistent, the search is not."""
    return StripeRequest.build(
        "get",
        "/v1/payment_intents",
        {
            "customer": customer,
            "created": {"gte": created_gte},
            "limit": 100,
            "expand": [f"data.{expansion}" for expansion in INTENT_EXPANSIONS],
        },
        stripe_account=stripe_account,
    )


def create_refund(
    *, payment_intent: str, amount: int, reason: str | None, reverse_transfer: bool, refund_application_fee: bool,
    metadata: Mapping[str, str], stripe_account: str = "",
) -> StripeRequest:  # fmt: skip
    """ "Create a refund", its transfer reversed and fee refunded in proportion if asked."""
    return StripeRequest.build(
        "post",
        "/v1/refunds",
        {
            "payment_intent": payment_intent,
            "amount": amount,
            "reason": reason,
            "reverse_transfer": reverse_transfer,
            "refund_application_fee": refund_application_fee,
            "metadata": dict(metadata),
            "expand": REFUND_EXPANSIONS,
        },
        stripe_account=stripe_account,
    )


def retrieve_refund(refund: str, *, stripe_account: str = "") -> StripeRequest:
    """ "Retrieve a refund"."""
    return StripeRequest.build(
        "get", f"/v1/refunds/{refund}", {"expand": REFUND_EXPANSIONS}, stripe_account=stripe_account
    )


def list_refunds(*, payment_intent: str, stripe_account: str = "") -> StripeRequest:
    """ "List all refunds" of a payment intent."""
    return StripeRequest.build(
        "get",
        "/v1/refunds",
        {
            "payment_intent": payment_intent,
            "limit": 100,
            "expand": [f"data.{expansion}" for expansion in REFUND_EXPANSIONS],
        },
        stripe_account=stripe_account,
    )


_CONTROLLERS = {
    "EXPRESS": ("application", "application", "stripe", "express"),
    "CUSTOM": ("application", "application", "application", "none"),
    "STANDARD": ("account", "stripe", "stripe", "full"),
}


def create_account(
    type_: ConnectAccountType, *, country: str, email: str, metadata: Mapping[str, str]
) -> StripeRequest:
    """ "Create an account" by its controller properties: who pays fees, bears losses, collects requirements."""
    fees, losses, requirements, dashboard = _CONTROLLERS[type_.value]
    return StripeRequest.build(
        "post",
        "/v1/accounts",
        {
            "country": country,
            "email": email,
            "controller": {
                "fees": {"payer": fees},
                "losses": {"payments": losses},
                "requirement_collection": requirements,
                "stripe_dashboard": {"type": dashboard},
            },
            "capabilities": {"card_payments": {"requested": True}, "transfers": {"requested": True}},
            "metadata": dict(metadata),
        },
    )


def retrieve_account(account: str) -> StripeRequest:
    """ "Retrieve account"."""
    return StripeRequest.build("get", f"/v1/accounts/{account}")


def retrieve_capability(account: str, capability: str) -> StripeRequest:
    """ "Retrieve an Account Capability"."""
    return StripeRequest.build("get", f"/v1/accounts/{account}/capabilities/{capability}")


def list_accounts(*, created_gte: int) -> StripeRequest:
    """ "List all connected accounts"."""
    return StripeRequest.build("get", "/v1/accounts", {"created": {"gte": created_gte}, "limit": 100})


def create_account_link(account: str, *, return_url: str, refresh_url: str, key: str) -> StripeRequest:
    """ "Create an account link" for onboarding: single use, so that its key is never used twice."""
    return StripeRequest.build(
        "post",
        "/v1/account_links",
        {"account": account, "return_url": return_url, "refresh_url": refresh_url, "type": "account_onboarding"},
        idempotency_key=key,
    )


def create_login_link(account: str, *, key: str) -> StripeRequest:
    """ "Create a login link" to the Express dashboard: single use, so that its key is never used twice."""
    return StripeRequest.build("post", f"/v1/accounts/{account}/login_links", idempotency_key=key)


def retrieve_balance(account: str) -> StripeRequest:
    """ "Retrieve balance" of a connected account."""
    return StripeRequest.build("get", "/v1/balance", stripe_account=account)


def list_events(*, types: list[str], created_gte: int, account: str | None) -> StripeRequest:
    """ "List all events" of these types since then; Stripe keeps them for 30 days and takes 20 types at once."""
    return StripeRequest.build(
        "get",
        "/v1/events",
        {"types": types, "created": {"gte": created_gte}, "limit": 100},
        stripe_account=account,
    )
