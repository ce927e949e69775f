"""What Stripe says of refunds, read once into our own terms (the Refund object and what it expands to)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.money import Money
from models.refunds import RefundReason, RefundStatus
from services.payments.facts import instant

if TYPE_CHECKING:
    from datetime import datetime

_STATUSES = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.REQUIRES_ACTION,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.CANCELED,
}
_REASONS = {
    "requested_by_customer": RefundReason.REQUESTED_BY_CUSTOMER,
    "duplicate": RefundReason.DUPLICATE,
    "fraudulent": RefundReason.FRAUDULENT,
    "expired_uncaptured_charge": None,
}


@dataclass(frozen=True, slots=True)
class FeeGivenBack:
    """One refund of an application fee, which does not say which refund of the charge it was made with."""

    amount: Money
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ChargeTakenBack:
    """How far a charge was taken back when a refund was looked at, this refund and all others together."""

    refunded: Money
    transferred: Money | None
    """What went to the host, in the currency of the transfer; None where nothing did."""
    fee: Money | None
    fee_refunded: Money | None
    fee_refunds: tuple[FeeGivenBack, ...]
    """The newest ten, the oldest of them first."""

    @classmethod
    def parse(cls, body: Any) -> ChargeTakenBack | None:
        """From a charge with its transfer and fee expanded; None where it is only an id."""
        if not isinstance(body, dict):
            return None
        transfer, fee = body.get("transfer"), body.get("application_fee")
        return cls(
            # What was authorized and never captured counts as refunded, too.
            refunded=Money.from_wire(
                body["amount_refunded"] - (body["amount"] - body["amount_captured"]), body["currency"]
            ),
            transferred=_money(transfer, "amount"),
            fee=_money(fee, "amount"),
            fee_refunded=_money(fee, "amount_refunded"),
            fee_refunds=tuple(
                FeeGivenBack(Money.from_wire(made["amount"], made["currency"]), instant(made["created"]))
                for made in reversed(fee["refunds"]["data"])
            ) if isinstance(fee, dict) else (),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """What Stripe says of a refund ("The Refund object")."""

    id: str
    amount: Money
    status: RefundStatus
    failure_reason: str | None
    reason: RefundReason | None
    created_at: datetime
    transfer_reversed: Money | None
    """What was taken back of the host's transfer, in the transfer's currency; None where nothing was."""
    charge: ChargeTakenBack | None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> RefundFacts:
        """From a Refund, with `REFUND_EXPANSIONS` or, as events have it, without."""
        return cls(
            id=body["id"],
            amount=Money.from_wire(body["amount"], body["currency"]),
            status=_STATUSES[body.get("status") or "pending"],
            failure_reason=body.get("failure_reason"),
            reason=_REASONS.get(body.get("reason") or ""),
            created_at=instant(body["created"]),
            transfer_reversed=_money(body.get("transfer_reversal"), "amount"),
            charge=ChargeTakenBack.parse(body.get("charge")),
        )


def _money(thing: Any, name: str) -> Money | None:
    return Money.from_wire(thing[name], thing["currency"]) if isinstance(thing, dict) else None
