"""How an account's balance is held and paid out ("The Balance Settings object"); its schedule is the account's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import money
from sandbox.errors import invalid
from sandbox.operations import Call, Operation
from sandbox.payouts import schedule
from sandbox.resources.accounts import own
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json

_SHOWN = ("interval", "monthly_payout_days", "weekly_payout_days")
_PAYOUTS = "payments[payouts]"
_TIMING = "payments[settlement_timing]"


def retrieve(call: Call) -> Json:
    """ "Retrieve balance settings"."""
    return _body(own(call.work, call.work.account))


def _body(account: Json) -> Json:
    payouts = account["settings"]["payouts"]
    kept = payouts["schedule"]
    timing = {"delay_days": kept["delay_days"], "start_of_day": None}
    if account.get("_delay_override") is not None:
        timing["delay_days_override"] = account["_delay_override"]
    return {
        "object": "balance_settings",
        "payments": {
            "debit_negative_balances": payouts["debit_negative_balances"],
            "payouts": {
                "minimum_balance_by_currency": account.get("_minimum_balance") or None,
                "schedule": {name: kept[name] for name in _SHOWN if name in kept},
                "statement_descriptor": payouts["statement_descriptor"],
                "status": "enabled" if account["payouts_enabled"] else "disabled",
            },
            "settlement_timing": timing,
        },
    }


def update(call: Call) -> Json:
    """ "Update balance settings"."""
    work = call.work
    account = work.edit("account", work.account, work.owner(work.account))
    before = copied(account)
    payments = call.given("payments") or {}
    settings = account["settings"]["payouts"]
    if "debit_negative_balances" in payments:
        settings["debit_negative_balances"] = payments["debit_negative_balances"]
    payouts = payments.get("payouts") or {}
    if payouts.get("automatic_transfer_rules_by_currency"):
        raise invalid(
            "Financial accounts are not built into the sandbox.", f"{_PAYOUTS}[automatic_transfer_rules_by_currency]"
        )
    if "schedule" in payouts:
        schedule.change(account, payouts["schedule"], f"{_PAYOUTS}[schedule]")
    if "statement_descriptor" in payouts:
        settings["statement_descriptor"] = payouts["statement_descriptor"]
    if "minimum_balance_by_currency" in payouts:
        account["_minimum_balance"] = _minimum(account, payouts["minimum_balance_by_currency"])
    _take_timing(account, payments.get("settlement_timing") or {})
    if _body(account) != _body(before):
        work.emit("balance_settings.updated", _body(account))
    work.emit_updated("account.updated", account, before)
    return _body(account)


def _minimum(account: Json, given: Any) -> Json:
    """What is to stay in each currency: what is not named stays as it was, an empty value keeps nothing back."""
    kept = dict(account.get("_minimum_balance") or {}) if given != "" else {}
    path = f"{_PAYOUTS}[minimum_balance_by_currency]"
    for currency, amount in (given or {}).items():
        known = money.check_currency_key(currency, f"{path}[{currency}]")
        kept.pop(known, None)
        if amount == "":
            continue
        if amount < 0:
            raise invalid("This value must be greater than or equal to 0.", f"{path}[{currency}]")
        kept[known] = amount
    return kept


def _take_timing(account: Json, given: Json) -> None:
    if given.get("start_of_day"):
        raise invalid("A start of day of one's own is not built into the sandbox.", f"{_TIMING}[start_of_day]")
    if "delay_days_override" not in given:
        return
    wanted = given["delay_days_override"]
    delay = schedule.delay(account, wanted, f"{_TIMING}[delay_days_override]")
    account["settings"]["payouts"]["schedule"]["delay_days"] = delay
    account["_delay_override"] = None if wanted == "" else delay


OPERATIONS = (
    Operation("GET", "/v1/balance_settings", retrieve, "balance_settings_retrieve"),
    Operation("POST", "/v1/balance_settings", update, "balance_settings_update"),
)
