"""Subscriptions ("The Subscription object"): what requests ask of them; the rest is in `sandbox.subscriptions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import clocks, discounts
from sandbox.errors import ApiError, Json, invalid, missing_object
from sandbox.listing import list_objects, time_range
from sandbox.operations import Call, Operation
from sandbox.subscriptions import bodies, cancelling, creating, pausing, updating
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.work import Work

_KIND: Final = "subscription"


def create(call: Call) -> Json:
    """ "Create a subscription"."""
    _check_room(call.work, call.given("customer"))
    return creating.create(call.work, call.params, api_version=call.api_version)


def _check_room(work: Work, customer: str | None) -> None:
    clock = clocks.clock_of(work, customer)
    if clock is not None:
        link = ("customer", str(customer))
        on = [one for one in work.listed(_KIND, link=link) if one["status"] not in bodies.ENDED]
        clocks.refuse_beyond_limit(work, clock, "subscriptions", len(on))


def retrieve(call: Call) -> Json:
    """ "Retrieve a subscription", also one that has ended."""
    return call.work.get(_KIND, call.path["subscription"], "id", in_path=True)


def edited(work: Work, id_: str, param: str = "id", *, in_path: bool = True) -> Json:
    """A subscription that is to be changed, in its customer's time.

    Raises: ApiError resource_missing, or 429 while its test clock advances.
    """
    subscription = work.get(_KIND, id_, param, in_path=in_path)
    clocks.enter(work, subscription["customer"])
    return work.edit(_KIND, id_)


def update(call: Call) -> Json:
    """ "Update a subscription"."""
    subscription = edited(call.work, call.path["subscription"])
    updating.update(call.work, subscription, call.params)
    return subscription


def cancel(call: Call) -> Json:
    """ "Cancel a subscription", now."""
    work, id_ = call.work, call.path["subscription"]
    if work.get(_KIND, id_, "id", in_path=True)["status"] in bodies.ENDED:
        raise missing_object(_KIND, id_, "id", in_path=True)
    subscription = edited(work, id_)
    for name, value in (call.given("cancellation_details") or {}).items():
        subscription["cancellation_details"][name] = value or None
    cancelling.cancel(
        work, subscription, prorate=bool(call.param("prorate")), invoice_now=bool(call.param("invoice_now"))
    )
    return subscription


def pause(call: Call) -> Json:
    """ "Pause a subscription"."""
    subscription = edited(call.work, call.path["subscription"])
    pausing.pause(call.work, subscription, call.params)
    return subscription


def resume(call: Call) -> Json:
    """ "Resume a subscription" that is paused."""
    subscription = edited(call.work, call.path["subscription"])
    pausing.resume(call.work, subscription, call.params)
    return subscription


def migrate(call: Call) -> Json:
    """ "Migrate a subscription" to flexible billing; there is no way back."""
    subscription = edited(call.work, call.path["subscription"])
    before = copied(subscription)
    if subscription["billing_mode"]["type"] == "flexible":
        raise invalid("This subscription is already using `billing_mode[type]=flexible`.", "billing_mode[type]")
    subscription["billing_mode"] = creating.billing_mode(call.params["billing_mode"], call.work.now)
    updating.keep(call.work, subscription, before)
    return subscription


def delete_discount(call: Call) -> Json:
    """ "Delete a subscription discount": the first, as older versions had only one."""
    work, id_ = call.work, call.path["subscription"]
    subscription = edited(work, id_)
    if not subscription["discounts"]:
        raise ApiError(
            f"No active discount for subscription: {id_}", status=404, code="resource_missing", param=_KIND
        )
    return discounts.remove(work, subscription["discounts"][0])


def list_(call: Call) -> Json:
    """ "List subscriptions": those that have not ended, unless a status is asked for."""
    if call.given("customer"):
        call.work.get("customer", call.params["customer"], "customer")
    return list_objects(
        call, _KIND, "/v1/subscriptions", filters=("customer", "collection_method", "test_clock"),
        matches=lambda subscription: _matches(call, subscription),
    )  # fmt: skip


def _matches(call: Call, subscription: Json) -> bool:
    status: Any = call.given("status")
    if status is None and subscription["status"] in bodies.ENDED:
        return False
    if status == "ended" and subscription["status"] not in bodies.ENDED:
        return False
    if status not in (None, "all", "ended", subscription["status"]):
        return False
    if not (call.given("customer") or call.given("test_clock")) and subscription["test_clock"] is not None:
        return False
    if (call.given("automatic_tax") or {}).get("enabled"):
        return False
    items = bodies.items_of(subscription)
    for name in ("price", "plan"):
        if call.given(name) and all(item["price"]["id"] != call.params[name] for item in items):
            return False
    ends, starts = time_range(call, "current_period_end"), time_range(call, "current_period_start")
    return (
        ends[0] <= bodies.period_end(subscription) <= ends[1]
        and starts[0] <= max(item["current_period_start"] for item in items) <= starts[1]
    )


_ONE: Final = "/v1/subscriptions/{subscription}"

OPERATIONS = (
    Operation("POST", "/v1/subscriptions", create, "subscription_create"),
    Operation("GET", "/v1/subscriptions", list_, "subscription_list"),
    Operation("GET", _ONE, retrieve, "subscription_retrieve"),
    Operation("POST", _ONE, update, "subscription_update"),
    Operation("DELETE", _ONE, cancel, "subscription_cancel"),
    Operation("DELETE", f"{_ONE}/discount", delete_discount, "subscription_delete_discount"),
    Operation("POST", f"{_ONE}/pause", pause, "subscription_pause"),
    Operation("POST", f"{_ONE}/resume", resume, "subscription_resume"),
    Operation("POST", f"{_ONE}/migrate", migrate, "subscription_migrate"),
)
