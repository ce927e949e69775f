"""When an account is paid out by itself ("Manage payout schedule"), as its settings say."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sandbox import pricing
from sandbox.errors import invalid

if TYPE_CHECKING:
    from sandbox.errors import Json

DAY_S: Final = 86_400
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WORKING_DAYS: Final = 5
_LONGEST_DELAY: Final = 31
_OF_AN_INTERVAL: Final = {
    "weekly": ("weekly_anchor", "weekly_payout_days"), "monthly": ("monthly_anchor", "monthly_payout_days"),
}  # fmt: skip


def new_schedule(country: str) -> Json:
    """An account's schedule before anybody has changed it: what is available, every day."""
    return {"delay_days": pricing.settlement_days(country), "interval": "daily"}


def change(account: Json, given: Json, path: str) -> None:
    """Change an account's schedule.

    Args:
        given: `delay_days` ("minimum" or a number), `interval`, and its days.
        path: where that was given, for errors.

    Raises: ApiError for days that there are none of, and for a delay that is too short or too long.
    """
    schedule = account["settings"]["payouts"]["schedule"]
    changed = {"delay_days": schedule["delay_days"], "interval": given.get("interval", schedule["interval"])}
    if "delay_days" in given:
        changed["delay_days"] = delay(account, given["delay_days"], f"{path}[delay_days]")
    names = _OF_AN_INTERVAL.get(changed["interval"])
    for interval, (anchor, days) in _OF_AN_INTERVAL.items():
        if changed["interval"] != interval and (given.get(anchor) or given.get(days)):
            raise invalid(f"{days} can only be set where the interval is {interval}.", f"{path}[{days}]")
    if names is not None:
        changed.update(_days_of(names, {**schedule, **_both(names, given)}, path))
    schedule.clear()
    schedule.update(changed)


def _both(names: tuple[str, str], given: Json) -> Json:
    """What was given as one day or as several, as both."""
    anchor, days = names
    if given.get(days):
        return {anchor: given[days][0], days: given[days]}
    return {anchor: given[anchor], days: [given[anchor]]} if given.get(anchor) else {}


def _days_of(names: tuple[str, str], schedule: Json, path: str) -> Json:
    anchor, days = names
    if not schedule.get(days):
        raise invalid(f"You must specify {days} for this interval.", f"{path}[{days}]", "parameter_missing")
    for day in schedule[days]:
        if day not in _DAYS and not (isinstance(day, int) and 1 <= day <= _LONGEST_DELAY):
            raise invalid(f"There is no day {day}.", f"{path}[{days}]")
    return {anchor: schedule[anchor], days: schedule[days]}


def delay(account: Json, wanted: object, param: str) -> int:
    """How many days an account's money waits; as few as its country allows for "minimum" and nothing.

    Raises: ApiError for fewer than that, or too many.
    """
    least = pricing.settlement_days(account["country"])
    if not isinstance(wanted, int):
        return least
    if wanted < least:
        raise invalid(f"You cannot lower this merchant's delay below {least}.", param)
    if wanted > _LONGEST_DELAY:
        raise invalid(f"You cannot raise this merchant's delay above {_LONGEST_DELAY}.", param)
    return wanted


def pays_on(schedule: Json, day: date) -> bool:
    """Whether a schedule pays out on a day. Banks do not work at weekends: what would be paid then is on Monday."""
    interval = schedule["interval"]
    if interval == "manual" or day.weekday() >= _WORKING_DAYS:
        return False
    if interval == "daily":
        return True
    due = [day - timedelta(days=back) for back in range(3 if day.weekday() == 0 else 1)]
    if interval == "weekly":
        return any(_DAYS[one.weekday()] in schedule["weekly_payout_days"] for one in due)
    return any(_is_of_month(one, schedule["monthly_payout_days"]) for one in due)


def _is_of_month(day: date, days: list[int]) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    return day.day in days or (day.day == last and any(one > last for one in days))


def day_of(now: int) -> date:
    """The day, in UTC."""
    return datetime.fromtimestamp(now, UTC).date()


def next_day(now: int) -> int:
    """When the next day begins, in UTC."""
    return (now // DAY_S + 1) * DAY_S


def arrival(now: int) -> int:
    """When a bank has a payout that leaves now: on its next working day."""
    due = next_day(now)
    while day_of(due).weekday() >= _WORKING_DAYS:
        due += DAY_S
    return due
