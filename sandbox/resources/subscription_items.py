"""Subscription items ("The Subscription Item object"): each change is one of the subscription."""

from __future__ import annotations

from typing import Final

from sandbox.errors import Json, invalid
from sandbox.listing import page_of
from sandbox.operations import Call, Operation
from sandbox.resources.subscriptions import edited
from sandbox.subscriptions import bodies, updating

_KIND: Final = "subscription_item"
# What is said of the change, not of the item.
_OF_CHANGE: Final = ("payment_behavior", "proration_behavior", "proration_date", "off_session")
_NOT_OF_ITEM: Final = (*_OF_CHANGE, "subscription", "expand", "clear_usage")


def create(call: Call) -> Json:
    """ "Create a subscription item"."""
    subscription = edited(call.work, call.params["subscription"], "subscription", in_path=False)
    known = {item["id"] for item in bodies.items_of(subscription)}
    updating.update(call.work, subscription, _change(call, _entry(call)))
    return next(item for item in _wanted(subscription) if item["id"] not in known)


def update(call: Call) -> Json:
    """ "Update a subscription item"."""
    id_ = call.path["item"]
    subscription = edited(call.work, _item(call)["subscription"])
    updating.update(call.work, subscription, _change(call, {**_entry(call), "id": id_}))
    return next(item for item in bodies.items_of(subscription) if item["id"] == id_)


def delete(call: Call) -> Json:
    """ "Delete a subscription item"; the last one stays."""
    id_ = call.path["item"]
    subscription = edited(call.work, _item(call)["subscription"])
    if len(bodies.items_of(subscription)) == 1:
        raise invalid(
            "A subscription must have at least one active plan. In order to cancel a subscription, please use the "
            "cancel API endpoint (/v1/subscriptions/:id) instead."
        )
    updating.update(call.work, subscription, _change(call, {"id": id_, "deleted": True}))
    return {"id": id_, "object": _KIND, "deleted": True}


def _entry(call: Call) -> Json:
    return {name: value for name, value in call.params.items() if name not in _NOT_OF_ITEM}


def _change(call: Call, entry: Json) -> Json:
    return {"items": [entry], **{name: call.params[name] for name in _OF_CHANGE if name in call.params}}


def _wanted(subscription: Json) -> list[Json]:
    """The items, and those that wait for a payment."""
    waiting = (subscription["pending_update"] or {}).get("subscription_items") or []
    return [*bodies.items_of(subscription), *waiting]


def _item(call: Call) -> Json:
    return call.work.get(_KIND, call.path["item"], "id", in_path=True)


def retrieve(call: Call) -> Json:
    """ "Retrieve a subscription item"."""
    return _item(call)


def list_(call: Call) -> Json:
    """ "List all subscription items" of one subscription."""
    id_ = call.params["subscription"]
    subscription = call.work.get("subscription", id_, "subscription")
    return page_of(call, bodies.items_of(subscription), f"/v1/subscription_items?subscription={id_}")


_ONE: Final = "/v1/subscription_items/{item}"

OPERATIONS = (
    Operation("POST", "/v1/subscription_items", create, "subscription_item_create"),
    Operation("GET", "/v1/subscription_items", list_, "subscription_item_list"),
    Operation("GET", _ONE, retrieve, "subscription_item_retrieve"),
    Operation("POST", _ONE, update, "subscription_item_update"),
    Operation("DELETE", _ONE, delete, "subscription_item_delete"),
)
