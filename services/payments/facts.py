"""What Stripe says of payment intents, read once into our own terms (the PaymentIntent and Charge objects)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from models.money import Money
from models.payments import PaymentStatus
from services.payments.declines import explain

_STATUSES = {
    "requires_confirmation": PaymentStatus.PENDING,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "processing": PaymentStatus.PROCESSING,
    "requires_capture": PaymentStatus.AUTHORIZED,
    "succeeded": PaymentStatus.SUCCEEDED,
    "canceled": PaymentStatus.CANCELED,
}


@dataclass(frozen=True, slots=True)
class BalanceFacts:
    """A balance transaction: what an account was credited with, in the currency it settles in."""

    id: str
    amount: Money
    fee: Money
    exchange_rate: Decimal | None
    available_on: datetime

    @classmethod
    def parse(cls, body: Any) -> BalanceFacts | None:
        """From an expanded balance transaction; None where it is not there yet, or is only an id."""
        if not isinstance(body, dict):
            return None
        rate = body.get("exchange_rate")
        return cls(
            id=body["id"],
            amount=Money.from_wire(body["amount"], body["currency"]),
            fee=Money.from_wire(body["fee"], body["currency"]),
            exchange_rate=None if rate is None else Decimal(str(rate)),
            available_on=instant(body["available_on"]),
        )


@dataclass(frozen=True, slots=True)
class ChargeFacts:
    """One charge: a try to take the money."""

    id: str
    status: str
    amount: Money
    created_at: datetime
    payment_method: dict[str, Any] | None
    capture_before: datetime | None
    failure_code: str | None
    decline_code: str | None
    fee: Money
    """The platform's fee, as it was asked for; `application_fee` is there once it was taken."""
    transfer_id: str | None
    transfer_amount: Money | None
    application_fee_id: str | None
    application_fee: Money | None
    balance: BalanceFacts | None

    @classmethod
    def parse(cls, body: Any) -> ChargeFacts | None:
        """From an expanded charge; None for none, or where it is only an id."""
        if not isinstance(body, dict):
            return None
        details = body.get("payment_method_details") or {}
        card = details.get("card") or {}
        outcome = body.get("outcome") or {}
        return cls(
            id=body["id"],
            status=body["status"],
            amount=Money.from_wire(body["amount"], body["currency"]),
            created_at=instant(body["created"]),
            payment_method=_payment_method(body.get("payment_method"), details),
            capture_before=instant(card["capture_before"]) if card.get("capture_before") else None,
            failure_code=body.get("failure_code"),
            decline_code=outcome.get("reason") if body["status"] == "failed" else None,
            fee=Money.from_wire(body.get("application_fee_amount") or 0, body["currency"]),
            transfer_id=id_of(body.get("transfer")),
            transfer_amount=_amount(body.get("transfer")),
            application_fee_id=id_of(body.get("application_fee")),
            application_fee=_amount(body.get("application_fee")),
            balance=BalanceFacts.parse(body.get("balance_transaction")),
        )


@dataclass(frozen=True, slots=True)
class FailureFacts:
    """Why the last try failed, in Stripe's codes and in words for the guest."""

    code: str
    decline_code: str | None
    message: str
    retryable: bool
    advice_code: str | None = None
    payment_method: str | None = None
    """The method that failed, where the error says."""

    @classmethod
    def parse(cls, error: dict[str, Any] | None) -> FailureFacts | None:
        """From a payment intent's `last_payment_error`."""
        if not error:
            return None
        code = error.get("code") or error.get("type") or "card_error"
        decline = explain(code, error.get("decline_code"), error.get("advice_code"))
        return cls(
            code, error.get("decline_code"), decline.message, decline.retryable, error.get("advice_code"),
            id_of(error.get("payment_method")),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """One state of a payment intent."""

    id: str
    status: PaymentStatus
    received: Money
    client_secret: str | None
    next_action: dict[str, Any] | None
    failure: FailureFacts | None
    charge_id: str | None
    charge: ChargeFacts | None
    ran_out: bool
    """Whether it was canceled because its time was up: by us ("abandoned") or, an authorization, by Stripe."""
    saved_to: str | None = None
    """The customer that its method is saved to once it is paid (`setup_future_usage`)."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> IntentFacts:
        """From a PaymentIntent, with `latest_charge` expanded or not."""
        failure = FailureFacts.parse(body.get("last_payment_error"))
        status = _STATUSES.get(body["status"])
        if status is None:  # requires_payment_method: declined, or not tried yet
            status = PaymentStatus.FAILED if failure else PaymentStatus.PENDING
        latest = body.get("latest_charge")
        return cls(
            id=body["id"],
            status=status,
            received=Money.from_wire(body.get("amount_received") or 0, body["currency"]),
            client_secret=body.get("client_secret"),
            next_action=next_action_of(body.get("next_action")),
            failure=failure if status is PaymentStatus.FAILED else None,
            charge_id=id_of(latest),
            charge=ChargeFacts.parse(latest),
            ran_out=body.get("cancellation_reason") in {"abandoned", "automatic"},
            saved_to=id_of(body.get("customer")) if body.get("setup_future_usage") else None,
        )


def instant(seconds: int) -> datetime:
    """A time from Stripe's seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def optional_instant(seconds: int | None) -> datetime | None:
    """A time that need not be there."""
    return None if seconds is None else instant(seconds)


def id_of(reference: Any) -> str | None:
    """The id of what a field refers to, expanded or not."""
    found: str | None = reference["id"] if isinstance(reference, dict) else reference
    return found


def _amount(reference: Any) -> Money | None:
    return Money.from_wire(reference["amount"], reference["currency"]) if isinstance(reference, dict) else None


def next_action_of(action: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the guest has to do next, from a payment intent's or setup intent's `next_action`."""
    if action is None:
        return None
    redirect = action.get("redirect_to_url") or {}
    return {"type": action["type"], "redirect_url": redirect.get("url")}


def _payment_method(id_: str | None, details: dict[str, Any]) -> dict[str, Any] | None:
    if id_ is None:
        return None
    card = details.get("card") or {}
    return {
        "stripe_id": id_,
        "type": details.get("type"),
        "brand": card.get("brand"),
        "last4": card.get("last4"),
        "exp_month": card.get("exp_month"),
        "exp_year": card.get("exp_year"),
    }
