"""What an account has ("The Balance object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import pricing
from sandbox.errors import invalid
from sandbox.operations import Call, Operation
from sandbox.resources.accounts import own

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

_NET: Final = "instant_available.net_available"


def retrieve(call: Call) -> Json:
    """ "Retrieve balance"."""
    work = call.work
    balance = of_account(work, work.account)
    if _NET not in call.param("expand", ()):
        return balance
    if work.account == work.platform:
        raise invalid(f"This property cannot be expanded ({_NET}).", "expand")
    for entry in balance["instant_available"]:
        entry["net_available"] = _net_available(work, entry)
    return balance


def of_account(work: Work, account: str) -> Json:
    """What an account has now."""
    body, balance = own(work, account), work.balance(account)
    balance.setdefault(body["default_currency"], (0, 0))
    reserved = dict.fromkeys(balance, 0) | (_reserved(work) if account == work.platform else {})
    instant: list[Json] = []
    if pricing.pays_out_instantly(body["country"]):
        instant = [_amount(max(0, sum(both)), currency) for currency, both in sorted(balance.items())]
    return {
        "object": "balance",
        "available": [_amount(available, currency) for currency, (available, _) in sorted(balance.items())],
        "connect_reserved": [{"amount": reserved[currency], "currency": currency} for currency in sorted(reserved)],
        "instant_available": instant,
        "livemode": False,
        "pending": [_amount(pending, currency) for currency, (_, pending) in sorted(balance.items())],
        "refund_and_dispute_prefunding": {
            "available": [{"amount": 0, "currency": currency} for currency in sorted(balance)],
            "pending": [{"amount": 0, "currency": currency} for currency in sorted(balance)],
        },
    }


def _amount(amount: int, currency: str) -> Json:
    return {"amount": amount, "currency": currency, "source_types": {"card": amount}}


def _reserved(work: Work) -> dict[str, int]:
    """What connected accounts owe that the platform answers for ("Understanding connected reserve balances")."""
    reserved: dict[str, int] = {}
    for id_, currency, total in work.store.negative_balances():
        account: Any = work.any(id_)
        if account is not None and account.get("_owner") == work.platform:
            collects = account["controller"].get("requirement_collection")
            reserved[currency] = reserved.get(currency, 0) - (total if collects == "application" else 0)
    return reserved


def _net_available(work: Work, entry: Json) -> list[Json]:
    """By where it can be paid out to within minutes; there are no fees of the platform's own here."""
    found = [work.any(id_) for id_ in own(work, work.account)["_external_accounts"]]
    return [
        {"amount": entry["amount"], "destination": one["id"], "source_types": {"card": entry["amount"]}}
        for one in found
        if one is not None and one["currency"] == entry["currency"] and "instant" in one["available_payout_methods"]
    ]


def settle(work: Work, account: str) -> Json:
    """Let an account use at once what is pending."""
    ids = [one["id"] for one in work.listed("balance_transaction", account=account, link=("_payout", ""))]
    # What was taken from a bank by itself is part of a payout from the start, and waits all the same.
    ids += [one["balance_transaction"] for one in work.listed("payout", account=account) if one["amount"] < 0]
    due = [id_ for id_ in ids if work.get("balance_transaction", id_, account=account)["available_on"] > work.now]
    for id_ in due:
        movement = work.edit("balance_transaction", id_, account)
        work.credit(account, movement["currency"], movement["available_on"], -movement["net"])
        work.credit(account, movement["currency"], work.now, movement["net"])
        movement["available_on"] = work.now
    balance = of_account(work, account)
    if due:
        work.emit("balance.available", balance, account=account)
    return balance


OPERATIONS = (Operation("GET", "/v1/balance", retrieve, "balance_retrieve"),)
