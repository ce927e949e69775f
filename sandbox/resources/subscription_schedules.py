"""Subscription schedules ("The Subscription Schedule object"): what the API does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.listing import list_objects, time_range
from sandbox.operations import Call, Operation, update_metadata
from sandbox.resources.subscriptions import edited
from sandbox.subscriptions import schedules

if TYPE_CHECKING:
    from sandbox.errors import Json

_KIND: Final = "subscription_schedule"


def create(call: Call) -> Json:
    """ "Create a schedule", of phases or from a subscription."""
    if call.given("from_subscription"):
        subscription = edited(call.work, call.params["from_subscription"], "from_subscription", in_path=False)
        return schedules.from_subscription(call.work, subscription, call.params)
    return schedules.create(call.work, call.params, api_version=call.api_version)


def retrieve(call: Call) -> Json:
    """ "Retrieve a schedule"."""
    return call.work.get(_KIND, call.path["schedule"], "id", in_path=True)


def _edited(call: Call) -> Json:
    schedule = call.work.get(_KIND, call.path["schedule"], "id", in_path=True)
    clocks.enter(call.work, schedule["customer"])
    return call.work.edit(_KIND, schedule["id"])


def update(call: Call) -> Json:
    """ "Update a schedule"."""
    schedule = _edited(call)
    update_metadata(schedule, call.params.get("metadata"))
    schedules.update(call.work, schedule, call.params)
    return schedule


def release(call: Call) -> Json:
    """ "Release a schedule"."""
    schedule = _edited(call)
    schedules.release(call.work, schedule, preserve_cancel_date=bool(call.param("preserve_cancel_date")))
    return schedule


def cancel(call: Call) -> Json:
    """ "Cancel a schedule", and its subscription with it."""
    schedule = _edited(call)
    schedules.cancel(
        call.work, schedule, invoice_now=call.param("invoice_now", True), prorate=call.param("prorate", True)
    )
    return schedule


def list_(call: Call) -> Json:
    """ "List all schedules"."""
    if call.given("customer"):
        call.work.get("customer", call.params["customer"], "customer")

    def matches(schedule: Json) -> bool:
        if call.given("scheduled") and schedule["status"] != "not_started":
            return False
        for name in ("canceled_at", "completed_at", "released_at"):
            first, last = time_range(call, name)
            if call.given(name) is not None and not first <= (schedule[name] or -1) <= last:
                return False
        return call.given("customer") is not None or schedule["test_clock"] is None

    return list_objects(call, _KIND, "/v1/subscription_schedules", filters=("customer",), matches=matches)


_ONE: Final = "/v1/subscription_schedules/{schedule}"

OPERATIONS = (
    Operation("POST", "/v1/subscription_schedules", create, "subscription_schedule_create"),
    Operation("GET", "/v1/subscription_schedules", list_, "subscription_schedule_list"),
    Operation("GET", _ONE, retrieve, "subscription_schedule_retrieve"),
    Operation("POST", _ONE, update, "subscription_schedule_update"),
    Operation("POST", f"{_ONE}/release", release, "subscription_schedule_release"),
    Operation("POST", f"{_ONE}/cancel", cancel, "subscription_schedule_cancel"),
)
