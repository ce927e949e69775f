"""Billing periods: where they begin and end ("Billing cycle anchor"). All times are whole seconds, in UTC."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sandbox.errors import Json

DAY_S: Final = 86_400
_SECONDS: Final = {"day": DAY_S, "week": 7 * DAY_S}
_MONTHS: Final = {"month": 1, "year": 12}


@dataclass(frozen=True, slots=True)
class Cycle:
    """How often something is billed.

    Attributes:
        interval: "day", "week", "month" or "year".
        count: intervals between two bills.
    """

    interval: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Anchor:
    """What periods are aligned with.

    Attributes:
        at: a second on which a period begins.
        day: of the month that is meant, where `at` is in a month too short for it; else the day of `at`.
    """

    at: int
    day: int | None = None


def boundary(anchor: Anchor, cycle: Cycle, index: int) -> int:
    """The second at which the period number `index` begins; 0 begins at the anchor.

    A day that a month does not have is that month's last one, and only in that month.
    """
    if cycle.interval in _SECONDS:
        return anchor.at + index * cycle.count * _SECONDS[cycle.interval]
    return _add_months(anchor, index * cycle.count * _MONTHS[cycle.interval])


def period_at(anchor: Anchor, cycle: Cycle, second: int) -> tuple[int, int]:
    """The period in which a second lies: its first second, and the first of the next."""
    index = _guess(anchor, cycle, second)
    while boundary(anchor, cycle, index) > second:
        index -= 1
    while boundary(anchor, cycle, index + 1) <= second:
        index += 1
    return boundary(anchor, cycle, index), boundary(anchor, cycle, index + 1)


def after(anchor: Anchor, cycle: Cycle, second: int) -> int:
    """The first boundary after a second."""
    return period_at(anchor, cycle, second)[1]


def add(start: int, cycle: Cycle, times: int = 1) -> int:
    """The second that is so many cycles after another."""
    return boundary(Anchor(start), cycle, times)


def configured_anchor(config: Json, now: int) -> int:
    """The next second that a `billing_cycle_anchor_config` names; what it leaves open is as it is now."""
    today = datetime.fromtimestamp(now, UTC)
    hour, minute, second = (
        getattr(today, name) if config.get(name) is None else config[name] for name in ("hour", "minute", "second")
    )
    year, month = today.year, config.get("month") or today.month
    while True:
        day = min(config["day_of_month"], monthrange(year, month)[1])
        at = int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
        if at >= now:
            return at
        if config.get("month") or month == 12:
            year += 1
        if not config.get("month"):
            month = month % 12 + 1


def _add_months(anchor: Anchor, months: int) -> int:
    if months == 0:
        return anchor.at
    start = datetime.fromtimestamp(anchor.at, UTC)
    total = start.year * 12 + start.month - 1 + months
    year, month = divmod(total, 12)
    day = min(anchor.day or start.day, monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def _guess(anchor: Anchor, cycle: Cycle, second: int) -> int:
    if cycle.interval in _SECONDS:
        return (second - anchor.at) // (cycle.count * _SECONDS[cycle.interval])
    start, then = datetime.fromtimestamp(anchor.at, UTC), datetime.fromtimestamp(second, UTC)
    months = (then.year - start.year) * 12 + then.month - start.month
    return months // (cycle.count * _MONTHS[cycle.interval])
