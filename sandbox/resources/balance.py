"""What an account has ("The Balance object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.operations import Call, Operation
from sandbox.resources.accounts import own

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def retrieve(call: Call) -> Json:
    """ "Retrieve balance"."""
    return of_account(call.work, call.work.account)


def of_account(work: Work, account: str) -> Json:
    """What an account has now."""
    balance = work.balance(account)
    balance.setdefault(own(work, account)["default_currency"], (0, 0))
    return {
        "object": "balance",
        "available": [_amount(available, currency) for currency, (available, _) in sorted(balance.items())],
        "connect_reserved": [{"amount": 0, "currency": currency} for currency in sorted(balance)],
        "livemode": False,
        "pending": [_amount(pending, currency) for currency, (_, pending) in sorted(balance.items())],
        "refund_and_dispute_prefunding": {
            "available": [{"amount": 0, "currency": currency} for currency in sorted(balance)],
            "pending": [{"amount": 0, "currency": currency} for currency in sorted(balance)],
        },
    }


def _amount(amount: int, currency: str) -> Json:
    return {"amount": amount, "currency": currency, "source_types": {"card": amount}}


OPERATIONS = (Operation("GET", "/v1/balance", retrieve, "balance_retrieve"),)
