"""Balance transactions: every movement of an account's balance ("The Balance Transaction object")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox import money
from sandbox.errors import invalid
from sandbox.ids import new_id
from sandbox.listing import as_list, list_objects
from sandbox.operations import Call, Operation

if TYPE_CHECKING:
    from decimal import Decimal

    from sandbox.errors import Json
    from sandbox.work import Work

DAY_S: Final = 86_400
# What a movement is to accountants ("Reporting categories"), by its type; a type that is not here is its own category.
_CATEGORIES: Final = {
    "payment": "charge", "payment_refund": "refund", "transfer_refund": "transfer_reversal",
    "application_fee": "platform_earning", "application_fee_refund": "platform_earning_refund",
    "payment_failure_refund": "refund_failure", "adjustment": "other_adjustment", "payout_cancel": "payout_reversal",
    "payout_failure": "payout_reversal", "stripe_fee": "fee", "stripe_fx_fee": "fee", "tax_fee": "tax",
    "reserve_transaction": "connect_reserved_funds", "reserved_funds": "risk_reserved_funds",
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
    source: str | None,
    *,
    fees: tuple[Fee, ...] = (),
    description: str | None = None,
    available_on: int | None = None,
    exchange_rate: Decimal | None = None,
    category: str | None = None,
    payout: str = "",
) -> Json:
    """Move an account's balance.

    Args:
        amount: before fees, in `currency`, which the account settles in.
        source: the object that it is about; what Stripe charges for by the day has none.
        available_on: when it can be used; at once where None.
        exchange_rate: from the currency of the source, if that is another.
        category: what it counts as, if not what its type does.
        payout: the automatic payout that it is part of from the start.
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
        "net": amount - fee, "reporting_category": category or _CATEGORIES.get(type_, type_), "source": source,
        "status": "pending", "type": type_, "_payout": payout,
    }  # fmt: skip
    work.credit(account, currency, body["available_on"], body["net"])
    return work.add(body, account=account)


def pending_until(work: Work, account: Json, *, bypasses_pending: bool = False) -> int:
    """When an account can use a payment's money: at midnight (UTC), after the days that it waits for it."""
    if bypasses_pending:
        return work.now
    days: int = account["settings"]["payouts"]["schedule"]["delay_days"]
    return (work.now // DAY_S + 1 + days) * DAY_S


def rate(source: str, target: str) -> Decimal | None:
    """The exchange rate; None where there is nothing to exchange."""
    return None if source == target else money.exchange_rate(source, target)


def retrieve(call: Call) -> Json:
    """ "Retrieve a balance transaction"."""
    return call.work.get("balance_transaction", call.path["id"], "id", in_path=True)


def list_(call: Call) -> Json:
    """ "List all balance transactions"; those of a payout where it was made by itself."""
    url = "/v1/balance_transactions"
    where: Json = {}
    if call.given("payout"):
        payout = call.work.get("payout", call.params["payout"], "payout")
        if not payout["automatic"]:
            raise invalid("Balance transaction history can only be filtered on automatic transfers, not manual.")
        where["_payout"] = payout["id"]
    # Those of disputes name the dispute as their source, yet are not found by it.
    if (call.given("source") or "").startswith("du_"):
        return as_list([], url)
    return list_objects(call, "balance_transaction", url, where=where, filters=("currency", "source", "type"))


OPERATIONS = (
    Operation("GET", "/v1/balance_transactions", list_, "balance_transaction_list"),
    Operation("GET", "/v1/balance_transactions/{id}", retrieve, "balance_transaction_retrieve"),
    Operation("GET", "/v1/balance/history", list_, "balance_transaction_list"),
    Operation("GET", "/v1/balance/history/{id}", retrieve, "balance_transaction_retrieve"),
)
