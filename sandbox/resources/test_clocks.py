"""Test clocks ("The Test Clock object"): what moves the time of the customers on them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.clocks import KIND
from sandbox.errors import Json, invalid
from sandbox.ids import random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation
from sandbox.resources import customer_deletion, customers
from sandbox.subscriptions import bodies, periods

if TYPE_CHECKING:
    from sandbox.work import Work

_LIFETIME_S: Final = 30 * 86_400
_LATEST: Final = 7_258_118_400  # The year 2200: calendars end, and periods are reckoned beyond a clock's time.
_NAME: Final = 300


def create(call: Call) -> Json:
    """ "Create a test clock"."""
    work = call.work
    name = call.given("name")
    if name is not None and len(name) > _NAME:
        raise invalid(f"Invalid string: {name[:10]}…; must be at most {_NAME} characters", "name")
    frozen_time = _timestamp(call.params["frozen_time"])
    clock = work.add(
        {
            "id": f"clock_1{random_text(23)}", "object": KIND, "created": work.now,
            "deletes_after": work.now + _LIFETIME_S, "frozen_time": frozen_time, "livemode": False, "name": name,
            "status": "ready", "status_details": {}, "_limits": dict(clocks.LIMITS),
        }
    )  # fmt: skip
    if call.given("customer"):
        customers.put_on_clock(work, call.params["customer"], clock)
    work.later("delete_test_clock", clock["id"], after_s=_LIFETIME_S)
    work.emit("test_helpers.test_clock.created", clock)
    return clock


def _timestamp(value: int) -> int:
    if not 0 <= value <= _LATEST:
        raise invalid("Invalid timestamp: must be a Unix timestamp in seconds.", "frozen_time")
    return value


def _clock(call: Call) -> Json:
    return call.work.get(KIND, call.path["test_clock"], "test_clock", in_path=True)


def retrieve(call: Call) -> Json:
    """ "Retrieve a test clock"."""
    return _clock(call)


def list_(call: Call) -> Json:
    """ "List all test clocks"."""
    return list_objects(call, KIND, "/v1/test_helpers/test_clocks")


def delete(call: Call) -> Json:
    """ "Delete a test clock": its customers go with it."""
    clock = _clock(call)
    clocks.refuse_while_advancing(call.work, clock)
    return remove(call.work, clock["id"])


def remove(work: Work, id_: str) -> Json:
    """Delete a clock with its customers; also what happens to it after thirty days."""
    before = work.get(KIND, id_)
    for customer in work.listed("customer", link=("test_clock", id_)):
        customer_deletion.remove(work, customer["id"])
    work.now = work.wall
    work.emit("test_helpers.test_clock.deleted", before)
    return work.remove(KIND, id_)


def expire(work: Work, id_: str) -> None:
    """A clock's thirty days are over (the action `delete_test_clock`)."""
    if work.find(KIND, id_) is not None:
        remove(work, id_)


def advance(call: Call) -> Json:
    """ "Advance a test clock": it starts, and is there once its status is `ready`."""
    work = call.work
    known = _clock(call)
    clocks.refuse_while_advancing(work, known)
    if known["status"] != "ready":
        raise invalid("This test clock has failed to advance and can only be deleted.")
    target, now = _timestamp(call.params["frozen_time"]), known["frozen_time"]
    if target <= now:
        raise invalid(
            f"The frozen time of this clock is {_shown(now)}. You can only advance it to a later time.", "frozen_time"
        )
    latest = _latest(work, known)
    if target > latest:
        raise invalid(
            f"The frozen time of this clock is {_shown(now)}. You can only advance it up to {_shown(latest)}. You can "
            "only advance a test clock up to two intervals from the current frozen time at a time, based on the "
            "shortest subscription interval in the test clock. For example, if a test clock has a monthly and yearly "
            "subscription, you may only advance up to two months at a time. If the test clock has no subscriptions or "
            "subscription schedules, you can advance up to 2 years from the current frozen time.", "frozen_time",
        )  # fmt: skip
    clock = work.edit(KIND, known["id"])
    clock.update(status="advancing", status_details={"advancing": {"target_frozen_time": target}})
    work.emit("test_helpers.test_clock.advancing", clock)
    clocks.start(work, clock)
    return clock


def _shown(second: int) -> str:
    return f"{second} ({datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S} UTC)"


def _latest(work: Work, clock: Json) -> int:
    """Two intervals of the shortest subscription on, or two years where there is none."""
    cycles = {
        bodies.cycle_of(item)
        for customer in work.listed("customer", link=("test_clock", clock["id"]))
        for subscription in work.listed("subscription", link=("customer", customer["id"]))
        if subscription["status"] not in bodies.ENDED
        for item in bodies.items_of(subscription)
    }
    return min(periods.add(clock["frozen_time"], cycle, 2) for cycle in cycles or {periods.Cycle("year")})


_ALL: Final = "/v1/test_helpers/test_clocks"
_ONE: Final = f"{_ALL}/{{test_clock}}"

OPERATIONS = (
    Operation("POST", _ALL, create, "test_helpers.test_clock_create"),
    Operation("GET", _ALL, list_, "test_helpers.test_clock_list"),
    Operation("GET", _ONE, retrieve, "test_helpers.test_clock_retrieve"),
    Operation("DELETE", _ONE, delete, "test_helpers.test_clock_delete"),
    Operation("POST", f"{_ONE}/advance", advance, "test_helpers.test_clock_advance"),
)
