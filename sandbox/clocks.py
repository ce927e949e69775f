"""Made-up time: what belongs to a customer with a test clock lives in that clock's time ("Test clocks").

Subscriptions, invoices and what hangs on them do; payments do not: payment intents, charges and their kin keep real
time at Stripe, whatever the clock of their customer says.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from sandbox.errors import ApiError, Json, invalid
from sandbox.work import Appointment, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND: Final = "test_helpers.test_clock"
START: Final = "advance_clock"
LIMITS: Final = {"customers": 3, "subscriptions": 3}  # On a clock; of a customer on one. A test may raise them.


def clock_of(work: Work, customer_id: str | None) -> str | None:
    """The id of a customer's clock, as subscriptions and invoices show it in `test_clock`; None without one."""
    customer = work.any(customer_id) if customer_id else None
    return customer.get("test_clock") if customer is not None else None


def now_of(work: Work, customer_id: str | None) -> int:
    """What time it is for a customer: that of the clock, in seconds since the epoch, or the real one."""
    clock = _clock(work, customer_id)
    return work.now if clock is None else int(clock["frozen_time"])


def enter(work: Work, customer_id: str | None, *, modifies: bool = True) -> int:
    """Let the rest of a request happen in a customer's time, and say which it is.

    Args:
        modifies: whether billing objects are changed; a preview changes none.

    Raises: ApiError 429 for a request that would change something while the clock is advancing.
    """
    clock = _clock(work, customer_id)
    if clock is None:
        return work.now
    if modifies:
        refuse_while_advancing(work, clock)
    work.now = clock["frozen_time"]
    return work.now


def refuse_while_advancing(work: Work, clock: Json) -> None:
    """Refuse to change what belongs to a clock that is advancing; the clock itself may.

    Raises: ApiError 429.
    """
    if clock["status"] == "advancing" and work.origin.request_id is not None:
        raise ApiError(
            f"Test clock advancement underway - cannot perform modifications: {clock['id']}", status=429,
            code="rate_limit", is_saved=False,
        )  # fmt: skip


def refuse_beyond_limit(work: Work, clock_id: str | None, what: str, count: int) -> None:
    """Refuse one more customer on a clock, or one more subscription of a customer on it ("Test clocks").

    Args:
        clock_id: None where there is no clock, and no limit.
        what: "customers" or "subscriptions".
        count: how many there are.

    Raises: ApiError.
    """
    clock = work.find(KIND, clock_id) if clock_id is not None else None
    if clock is not None and count >= clock["_limits"][what]:
        whose = "test clock" if what == "customers" else "customer on a test clock"
        raise invalid(f"You can only have up to {clock['_limits'][what]} {what} per {whose}.", "test_clock")


@contextlib.contextmanager
def real_time(work: Work) -> Iterator[None]:
    """Let something happen in real time, as payments do, in a request that is in a clock's time."""
    before, work.now = work.now, work.wall
    try:
        yield
    finally:
        work.now = before


@contextlib.contextmanager
def time_of(work: Work, customer_id: str | None) -> Iterator[None]:
    """Let something happen in a customer's time, as invoices do, in a request that is in real time.

    It may change billing objects while the clock is advancing: a payment that has gone through cannot be refused.
    """
    before, work.now = work.now, now_of(work, customer_id)
    try:
        yield
    finally:
        work.now = before


def _clock(work: Work, customer_id: str | None) -> Json | None:
    id_ = clock_of(work, customer_id)
    return work.find(KIND, id_, work.owner(id_)) if id_ is not None else None


def schedule(work: Work, customer_id: str | None, due: int, action: str, subject: str) -> None:
    """Have `ACTIONS[action](work, subject)` happen later.

    It happens in the customer's time: where there is a clock, while it advances past `due`; at once, as a step of its
    own, where that is over.

    Args:
        due: in seconds since the epoch.
        action: one of `engine.ACTIONS`; it must bear that there is nothing left to do.
        subject: the id of the object that it is about.
    """
    work.appointments.append(Appointment(clock_of(work, customer_id) or "", due, work.account, action, subject))


def unschedule(work: Work, action: str, subject: str) -> None:
    """Drop all that was scheduled of an action for a subject."""
    work.appointments = [a for a in work.appointments if (a.action, a.subject) != (action, subject)]
    work.cancelled.append((action, subject))


def start(work: Work, clock: Json) -> None:
    """Let a clock advance to its target in the background; it does so even after a kill."""
    work.appointments.append(Appointment("", work.wall, work.account, START, clock["id"]))


def move(work: Work, clock_id: str, due: int) -> None:
    """Let a clock come to what is due next: it never goes back, even for what was due before."""
    clock = work.edit(KIND, clock_id)
    clock["frozen_time"] = max(clock["frozen_time"], due)
    work.now = clock["frozen_time"]


def arrive(work: Work, clock_id: str) -> None:
    """The clock has come to where it was to go."""
    clock = work.edit(KIND, clock_id)
    clock.update(frozen_time=target_of(clock), status="ready", status_details={})
    unschedule(work, START, clock_id)
    work.emit("test_helpers.test_clock.ready", clock)


def break_down(work: Work, clock_id: str) -> None:
    """Something that was due could not be done, by a mistake of the sandbox's own."""
    clock = work.edit(KIND, clock_id)
    clock.update(status="internal_failure", status_details={})
    unschedule(work, START, clock_id)
    work.emit("test_helpers.test_clock.internal_failure", clock)


def target_of(clock: Json) -> int:
    """Where an advancing clock is going to."""
    return int(clock["status_details"]["advancing"]["target_frozen_time"])
