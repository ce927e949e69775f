"""Balance transactions: every movement of an account's balance ("The Balance Transaction object")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox import money
from sandbox.ids import new_id
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation

if TYPE_CHECKING:
    from decimal import Decimal

    from sandbox.errors import Json
    from sandbox.work import Work

_DAY: Final = 86_400
_PENDING_DAYS: Final = 2
_CATEGORIES: Final = {
    "charge": "charge", "payment": "charge", "refund": "refund", "payment_refund": "refund", "transfer": "transfer",
    "transfer_refund": "transfer_reversal", "application_fee": "platform_earning",
    "application_fee_refund": "platform_earning_refund", "refund_failure": "refund_failure",
    "payment_failure_refund": "refund_failure", "adjustment": "other_adjustment",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fee:
    """One part of what is kept of a movement, in the movement's currency."""

    type: str
    amount: int
    description: str
    application: str | None = None


def post(
    work: Work,
    account: str,
    type_: str,
    amount: int,
    currency: str,
    source: str,
    *,
    fees: tuple[Fee, ...] = (),
    description: str | None = None,
    available_on: int | None = None,
    exchange_rate: Decimal | None = None,
) -> Json:
    """Move an account's balance.

    Args:
        amount: before fees, in `currency`, which the account settles in.
        available_on: when it can be used; at once where None.
        exchange_rate: from the currency of the source, if that is another.
    """
    fee = sum(part.amount for part in fees)
    body: Json = {
        "id": new_id("txn"), "object": "balance_transaction", "amount": amount,
        "available_on": work.now if available_on is None else available_on, "balance_type": "payments",
        "created": work.now, "currency": currency, "description": description,
        "exchange_rate": None if exchange_rate is None else float(exchange_rate), "fee": fee,
        "fee_details": [
            {"amount": part.amount, "application": part.application, "currency": currency,
             "description": part.description, "type": part.type}
            for part in fees
        ],
        "net": amount - fee, "reporting_category": _CATEGORIES[type_], "source": source, "status": "pending",
        "type": type_,
    }  # fmt: skip
    work.credit(account, currency, body["available_on"], body["net"])
    return work.add(body, account=account)


def pending_until(work: Work, *, bypasses_pending: bool = False) -> int:
    """When a payment's money becomes available: at midnight (UTC), two days on."""
    if bypasses_pending:
        return work.now
    return (work.now // _DAY + 1 + _PENDING_DAYS) * _DAY


def rate(source: str, target: str) -> Decimal | None:
    """The exchange rate; None where there is nothing to exchange."""
    return None if source == target else money.exchange_rate(source, target)


def retrieve(call: Call) -> Json:
    """ "Retrieve a balance transaction"."""
    return call.work.get("balance_transaction", call.path["id"], "id", in_path=True)


def list_(call: Call) -> Json:
    """ "List all balance transactions"."""
    return list_objects(
        call, "balance_transaction", "/v1/balance_transactions", filters=("currency", "source", "type")
    )


OPERATIONS = (
    Operation("GET", "/v1/balance_transactions", list_, "balance_transaction_list"),
    Operation("GET", "/v1/balance_transactions/{id}", retrieve, "balance_transaction_retrieve"),
    Operation("GET", "/v1/balance/history", list_, "balance_transaction_list"),
    Operation("GET", "/v1/balance/history/{id}", retrieve, "balance_transaction_retrieve"),
)
