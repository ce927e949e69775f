"""Payouts that are made by themselves ("Payout schedule"): of all that can be used, and nothing else.

Each movement of a balance belongs to one automatic payout at most, which is the sum of what belongs to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import pricing
from sandbox.payouts import lifecycle, schedule
from sandbox.payouts.policy import policy
from sandbox.resources import balance, balance_transactions
from sandbox.resources.accounts import own
from sandbox.work import Appointment

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

BEGIN_DAY: Final = "begin_day"
OPEN_ACCOUNT: Final = "open_day_of_account"
# Where Stripe takes from the bank what an account owes ("debit_negative_balances").
_DEBITED: Final = frozenset(
    "AT AU BE BG CA CH CY CZ DE DK EE ES FI FR GB GR HR HU IE IT LT LU LV MT NL NO NZ PL PT RO SE SI SK US".split()
)


def begin_day(work: Work, platform: str) -> None:
    """At midnight (UTC): for each account what was pending is available, and perhaps is paid out."""
    work.appointments += [
        Appointment("", work.wall, account, OPEN_ACCOUNT, account)
        for account in work.store.with_balance()
        if platform in (account, work.owner(account))
    ]
    work.appointments.append(Appointment("", schedule.next_day(work.wall), platform, BEGIN_DAY, platform))


def open_account(work: Work, id_: str) -> None:
    """What a new day does to one account."""
    account = own(work, id_)
    today = work.now // schedule.DAY_S * schedule.DAY_S
    if work.store.has_become_available(id_, today - schedule.DAY_S, today):
        work.emit("balance.available", balance.of_account(work, id_))
    is_due = schedule.pays_on(account["settings"]["payouts"]["schedule"], schedule.day_of(work.now))
    if is_due and account["payouts_enabled"] and policy(work.store)["schedules"]:
        pay_out(work, account)


def pay_out(work: Work, account: Json) -> list[Json]:
    """Pay out what an account has in each currency, as on a day of its schedule."""
    made = [
        _pay_out(work, account, currency, available, pending)
        for currency, (available, pending) in sorted(work.balance(account["id"]).items()) if available
    ]  # fmt: skip
    return [payout for payout in made if payout is not None]


def _pay_out(work: Work, account: Json, currency: str, available: int, pending: int) -> Json | None:
    destination = lifecycle.destination_for(work, account, currency)
    if destination is None or destination["status"] != "new":
        return None
    movements = [
        one for one in work.listed("balance_transaction", account=account["id"], link=("_payout", ""))
        if one["currency"] == currency and one["available_on"] <= work.now
    ]  # fmt: skip
    total = sum(one["net"] for one in movements)
    if total < 0:
        is_debited = account["settings"]["payouts"]["debit_negative_balances"] and account["country"] in _DEBITED
        amount = total if is_debited and available + pending < 0 else 0
    else:
        amount = max(0, pricing.whole_units(total - minimum(account, currency), currency))
    if not amount:
        return None
    payout = lifecycle.make(work, account, amount, currency, destination, automatic=True)
    for one in movements:
        work.edit("balance_transaction", one["id"], account["id"])["_payout"] = payout["id"]
    if amount < total:
        _hold_back(work, account["id"], total - amount, currency, payout["id"])
    return payout


def _hold_back(work: Work, account: str, amount: int, currency: str, payout: str) -> None:
    """Leave a part where it is: taken out of this payout, and put into the next ("Minimum balances")."""
    balance_transactions.post(
        work, account, "payout_minimum_balance_hold", -amount, currency, None, payout=payout,
        description="Payout minimum balance hold",
    )  # fmt: skip
    balance_transactions.post(
        work, account, "payout_minimum_balance_release", amount, currency, None,
        description="Payout minimum balance release",
    )  # fmt: skip


def minimum(account: Json, currency: str) -> int:
    """What is to stay in an account's balance."""
    return int(account.get("_minimum_balance", {}).get(currency, 0))
