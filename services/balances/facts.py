"""What Stripe says of its own books, read once into our own terms ("The Balance Transaction object")."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from models.balances import BalanceTransaction
from models.base import new_id, new_row
from models.money import Money
from services.payments.facts import id_of, instant

# What an expanded source came of, by its own type: the first of these that it has.
_CAME_OF = {
    "charge": ("source_transfer",),
    "refund": ("source_transfer_reversal", "charge"),
    "transfer": ("source_transaction",),
    "transfer_reversal": ("source_refund", "transfer"),
    "application_fee": ("originating_transaction", "charge"),
    "fee_refund": ("fee",),
    "dispute": ("charge",),
}


def parse_balance_transaction(body: dict[str, Any], account: str) -> BalanceTransaction:
    """A new row of one of an account's balance transactions, whose source is expanded."""
    currency = body["currency"]
    fee = Money.from_wire(body["fee"], currency)
    ours = sum(part["amount"] for part in body["fee_details"] if part["type"] == "application_fee")
    rate, source = body.get("exchange_rate"), body.get("source")
    return new_row(
        BalanceTransaction,
        id=new_id(), stripe_account=account, stripe_balance_transaction_id=body["id"], type=body["type"],
        reporting_category=body["reporting_category"], amount_minor=Money.from_wire(body["amount"], currency).minor,
        fee_minor=fee.minor, application_fee_minor=Money.from_wire(ours, currency).minor, currency=fee.currency,
        exchange_rate=None if rate is None else Decimal(str(rate)), source_id=id_of(source),
        related_id=_related(source), description=body.get("description"), stripe_created_at=instant(body["created"]),
        available_on=instant(body["available_on"]),
    )  # fmt: skip


def _related(source: Any) -> str | None:
    if not isinstance(source, dict):
        return None
    names = _CAME_OF.get(source.get("object", ""), ())
    return next((id_of(source[name]) for name in names if source.get(name)), None)
