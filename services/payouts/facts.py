"""What Stripe says of payouts, read once into our own terms ("The Payout object" and what it expands to)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.money import Money
from models.payouts import PayoutStatus
from services.payments.facts import id_of, instant, optional_instant

if TYPE_CHECKING:
    from datetime import datetime

_STATUSES = {
    "pending": PayoutStatus.PENDING,
    "in_transit": PayoutStatus.IN_TRANSIT,
    "paid": PayoutStatus.PAID,
    "failed": PayoutStatus.FAILED,
    "canceled": PayoutStatus.CANCELED,
}


@dataclass(frozen=True, slots=True)
class PayoutFacts:
    """One state of a payout."""

    id: str
    amount: Money
    """Below zero where Stripe takes from the bank what the account owes."""
    status: PayoutStatus
    instant: bool
    automatic: bool
    arrival_date: datetime | None
    failure_code: str | None
    failure_message: str | None
    balance_transaction_id: str | None
    failure_balance_transaction_id: str | None
    created_at: datetime
    failed_at: datetime | None
    """When the money came back; None where it did not, or only an id says that it did."""
    fee: Money | None
    """What it cost the account, less what came back of that; None where only an id says."""
    destination: dict[str, str | None] | None
    """{type, name, last4} of the bank account or card; None where only an id says."""
    contents_known: bool
    """Whether Stripe has told which balance transactions it is made of ("reconciliation_status")."""
    our_id: str | None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> PayoutFacts:
        """From a Payout, with `PAYOUT_EXPANSIONS` or, as events have it, without."""
        made, returned = body.get("balance_transaction"), body.get("failure_balance_transaction")
        return cls(
            id=body["id"],
            amount=Money.from_wire(body["amount"], body["currency"]),
            status=_STATUSES[body["status"]],
            instant=body["method"] == "instant",
            automatic=body["automatic"],
            arrival_date=optional_instant(body.get("arrival_date")),
            failure_code=body.get("failure_code"),
            failure_message=body.get("failure_message"),
            balance_transaction_id=id_of(made),
            failure_balance_transaction_id=id_of(returned),
            created_at=instant(body["created"]),
            failed_at=instant(returned["created"]) if isinstance(returned, dict) else None,
            fee=_fee(made, returned),
            destination=_destination(body.get("destination")),
            contents_known=body["automatic"] and body.get("reconciliation_status") == "completed",
            our_id=(body.get("metadata") or {}).get("payout_id"),
        )


def _fee(made: Any, returned: Any) -> Money | None:
    if not isinstance(made, dict):
        return None
    fee = made["fee"] + (returned["fee"] if isinstance(returned, dict) else 0)
    return Money.from_wire(fee, made["currency"])


def _destination(destination: Any) -> dict[str, str | None] | None:
    """Of one that was removed since, the type is all that is left."""
    if not isinstance(destination, dict):
        return None
    return {
        "type": destination["object"],
        "name": destination.get("bank_name") or destination.get("brand"),
        "last4": destination.get("last4"),
    }
