"""The Subscription object and the Subscription Item object, and what may be read off them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox.clocks import clock_of
from sandbox.errors import Json, invalid
from sandbox.ids import random_text
from sandbox.subscriptions.periods import Anchor, Cycle
from sandbox.subscriptions.proration import Debit
from sandbox.work import visible

if TYPE_CHECKING:
    from sandbox.work import Work

# What has come to its end does not begin again.
ENDED: Final = frozenset({"canceled", "incomplete_expired"})
# Subscriptions for which periods go by.
RUNNING: Final = frozenset({"trialing", "active", "past_due", "unpaid"})
INCOMPLETE_S: Final = 23 * 3_600
_LATEST: Final = 7_258_118_400  # The year 2200.


def new_subscription(work: Work, customer: str, currency: str, now: int) -> Json:
    """A subscription without items, of which nothing is known yet; it is not stored."""
    id_ = f"sub_1{random_text(23)}"
    return {
        "id": id_, "object": "subscription", "application": None, "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": now, "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": now},
        "billing_schedules": [], "billing_thresholds": None, "cancel_at": None, "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        "collection_method": "charge_automatically", "created": work.now, "currency": currency, "customer": customer,
        "customer_account": None, "days_until_due": None, "default_payment_method": None, "default_source": None,
        "default_tax_rates": [], "description": None, "discounts": [], "ended_at": None,
        "invoice_settings": {
            "account_tax_ids": None, "custom_fields": None, "description": None, "footer": None,
            "issuer": {"type": "self"},
        },
        "items": item_list(id_, []), "latest_invoice": None, "livemode": False, "managed_payments": {"enabled": False},
        "metadata": {}, "next_pending_invoice_item_invoice": None, "on_behalf_of": None, "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None, "payment_method_types": None, "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None, "pending_setup_intent": None, "pending_update": None,
        "schedule": None, "start_date": now, "status": "incomplete",
        "status_details": None, "test_clock": clock_of(work, customer), "transfer_data": None, "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}}, "trial_start": None,
        "_debits": {},
    }  # fmt: skip


def item_list(subscription: str, items: list[Json]) -> Json:
    """A subscription's items as it shows them."""
    return {
        "object": "list", "data": items, "has_more": False,
        "url": f"/v1/subscription_items?subscription={subscription}",
    }  # fmt: skip


def new_item(subscription: str, price: Json, quantity: int, now: int) -> Json:
    """An item whose period is yet to be set; it is not stored."""
    return {
        "id": f"si_{random_text(14)}", "object": "subscription_item", "billing_thresholds": None,
        "created": now, "current_period_end": now, "current_period_start": now, "current_trial": None,
        "discounts": [], "metadata": {}, "plan": plan_of(price), "price": price, "quantity": quantity,
        "subscription": subscription, "tax_rates": [],
    }  # fmt: skip


def set_price(item: Json, price: Json) -> None:
    """Give an item another price."""
    item.update(price=price, plan=plan_of(price))


def plan_of(price: Json) -> Json:
    """A price as the older object that it stands for ("The Plan object")."""
    recurring = price["recurring"]
    return {
        "id": price["id"], "object": "plan", "active": price["active"], "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"], "billing_scheme": price["billing_scheme"],
        "created": price["created"], "currency": price["currency"], "interval": recurring["interval"],
        "interval_count": recurring["interval_count"], "livemode": False, "metadata": price["metadata"],
        "meter": recurring["meter"], "nickname": price["nickname"], "product": price["product"],
        "tiers_mode": price["tiers_mode"], "transform_usage": None,
        "trial_period_days": recurring["trial_period_days"], "usage_type": recurring["usage_type"],
    }  # fmt: skip


def items_of(subscription: Json) -> list[Json]:
    """The items, in their order."""
    items: list[Json] = subscription["items"]["data"]
    return items


def shown_items(work: Work, subscription: Json) -> Json:
    """The items as an answer shows them, with what their prices are called now."""
    items = []
    for item in items_of(subscription):
        price = work.any(item["price"]["id"])
        now = visible(price) if price is not None and not price.get("deleted") else item["price"]
        items.append({**item, "plan": plan_of(now), "price": now})
    return {**subscription["items"], "data": items}


def put_items(subscription: Json, items: list[Json]) -> None:
    """Give a subscription these items."""
    subscription["items"] = item_list(subscription["id"], items)


def keep_items(work: Work, subscription: Json) -> None:
    """Let the items be found by their own ids, as they are now; those that are gone no longer."""
    items = {item["id"]: item for item in items_of(subscription)}
    known = work.listed("subscription_item", link=("subscription", subscription["id"]))
    for gone in [item["id"] for item in known if item["id"] not in items]:
        work.remove("subscription_item", gone)
    stored = {item["id"] for item in known}
    for id_, item in items.items():
        if id_ in stored:
            work.edit("subscription_item", id_).update(item)
        else:
            work.add(dict(item))


def cycle_of(item: Json) -> Cycle:
    """How often an item is billed."""
    recurring = item["price"]["recurring"]
    return Cycle(recurring["interval"], recurring["interval_count"])


def anchor_of(subscription: Json) -> Anchor:
    """What the subscription's periods are aligned with."""
    config = subscription["billing_cycle_anchor_config"]
    return Anchor(subscription["billing_cycle_anchor"], config["day_of_month"] if config else None)


def period_of(item: Json) -> tuple[int, int]:
    """An item's current period."""
    return item["current_period_start"], item["current_period_end"]


def set_period(item: Json, period: tuple[int, int]) -> None:
    """Let an item's period be this one."""
    item["current_period_start"], item["current_period_end"] = period


def period_end(subscription: Json) -> int:
    """When the first of the items' periods ends."""
    return min(int(item["current_period_end"]) for item in items_of(subscription))


def debit_of(subscription: Json, item_id: str) -> Debit | None:
    """What an item's current period was charged with, as far as it was not given back."""
    debit = subscription["_debits"].get(item_id)
    return None if debit is None else Debit(debit["amount"], debit["start"], debit["end"])


def default_method(work: Work, subscription: Json) -> str | None:
    """What invoices are paid with: the subscription's own method, or the customer's."""
    own = subscription["default_payment_method"]
    if own is not None:
        return str(own)
    customer = work.find("customer", subscription["customer"])
    method = customer["invoice_settings"]["default_payment_method"] if customer is not None else None
    return str(method) if method is not None else None


def moment(value: int, param: str) -> int:
    """A time that a request names, in seconds since the epoch.

    Raises: ApiError for one that no calendar has.
    """
    if not 0 <= value <= _LATEST:
        raise invalid("Invalid timestamp: must be an integer Unix timestamp in seconds.", param)
    return value


def not_built_in(params: Json, *names: str) -> None:
    """Refuse parameters of Stripe's that the sandbox does not have."""
    for name in names:
        value: Any = params.get(name)
        if value not in (None, "", [], {}, False):
            raise invalid(f"The parameter `{name}` is not built into the sandbox.", name)
