"""The phases of a subscription schedule: what they are, and what a subscription becomes in each ("Phases")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import clocks, discounts
from sandbox.subscriptions import bodies, changing, ending, invoicing, items, settings
from sandbox.subscriptions.changing import Change
from sandbox.work import copied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.errors import Json
    from sandbox.work import Work

NEXT: Final = "next_phase"
EXPIRING: Final = "remind_schedule"
_WEEK_S: Final = 7 * 86_400


def plan(work: Work, schedule: Json) -> None:
    """Schedule the next change that a schedule makes by itself, and the word of its coming end."""
    for action in (NEXT, EXPIRING):
        clocks.unschedule(work, action, schedule["id"])
    if schedule["status"] == "not_started":
        clocks.schedule(work, schedule["customer"], schedule["phases"][0]["start_date"], NEXT, schedule["id"])
    if schedule["status"] != "active":
        return
    clocks.schedule(work, schedule["customer"], schedule["current_phase"]["end_date"], NEXT, schedule["id"])
    warning = schedule["phases"][-1]["end_date"] - _WEEK_S
    if warning > work.now:
        clocks.schedule(work, schedule["customer"], warning, EXPIRING, schedule["id"])


def enter_due(work: Work, subscription: Json) -> None:
    """Enter the phases whose time has come, one after the other; the last one's end ends the schedule.

    Args:
        subscription: is being edited.
    """
    while subscription["schedule"] is not None:
        schedule = work.edit("subscription_schedule", subscription["schedule"])
        end = schedule["current_phase"]["end_date"]
        if end > work.now:
            return
        before = copied(schedule)
        following = next((phase for phase in schedule["phases"] if phase["start_date"] >= end), None)
        if following is None and schedule["end_behavior"] == "renew":
            last = schedule["phases"][-1]
            following = {**copied(last), "start_date": end, "end_date": end + last["end_date"] - last["start_date"]}
            schedule["phases"].append(following)
        if following is None:
            _finish(work, schedule, subscription)
            return
        schedule["current_phase"] = {"end_date": following["end_date"], "start_date": following["start_date"]}
        enter(work, subscription, schedule, following, following["proration_behavior"])
        plan(work, schedule)
        work.emit_updated("subscription_schedule.updated", schedule, before)


def _finish(work: Work, schedule: Json, subscription: Json) -> None:
    schedule["current_phase"] = None
    subscription["schedule"] = None
    if schedule["end_behavior"] == "cancel":
        schedule.update(status="completed", completed_at=work.now)
        ending.end(work, subscription)
        work.emit("subscription_schedule.completed", schedule)
    else:
        let_go(work, schedule, subscription)
    plan(work, schedule)


def let_go(work: Work, schedule: Json, subscription: Json | None) -> None:
    """Leave a subscription as it is, to go on by itself; `subscription_schedule.released`."""
    schedule.update(status="released", released_at=work.now, current_phase=None)
    if subscription is not None:
        subscription["schedule"] = None
        schedule.update(released_subscription=subscription["id"], subscription=None)
    work.emit("subscription_schedule.released", schedule)


def enter(work: Work, subscription: Json, schedule: Json, phase: Json, behavior: str) -> None:
    """Make a subscription what a phase says, and bill what that costs.

    Args:
        behavior: how differences are prorated: "create_prorations", "always_invoice" or "none".

    Raises: ApiError for what the subscription cannot become.
    """
    settings.apply(work, subscription, settings_of(schedule, phase))
    _set_discounts(work, subscription, phase)
    set_end(subscription, schedule)
    wanted = _wanted_items(subscription, phase["items"])
    begins_trial = phase["trial_end"] is not None and phase["trial_end"] > work.now
    at_boundary = subscription["status"] in bodies.RUNNING and bodies.period_end(subscription) <= work.now
    if at_boundary and not begins_trial:
        _swap_items(work, subscription, wanted, phase)
        return
    anchors = phase["billing_cycle_anchor"] or schedule["default_settings"]["billing_cycle_anchor"]
    change = Change(
        items=wanted, trial_end=phase["trial_end"] if begins_trial else None,
        anchor="now" if anchors == "phase_start" and not begins_trial else None, behavior=behavior,
    )  # fmt: skip
    outcome = changing.change(work, subscription, change)
    invoicing.add_items(work, subscription, [one_off(entry) for entry in phase["add_invoice_items"]])
    invoice = invoicing.bill(work, subscription, outcome)
    if invoice is not None:
        invoicing.pay_in_an_hour(work, invoice)


def _swap_items(work: Work, subscription: Json, wanted: list[Json], phase: Json) -> None:
    """At the turn of a period nothing is prorated: the next one is for the new items."""
    before = {bodies.cycle_of(item) for item in bodies.items_of(subscription)}
    start, end = bodies.items_of(subscription)[0]["current_period_start"], bodies.period_end(subscription)
    changed = changing.changed_items(work, subscription, wanted)
    kept = {item["id"] for item in bodies.items_of(subscription)}
    bodies.put_items(subscription, changed)
    items.check(subscription, changed)
    after = {bodies.cycle_of(item) for item in changed}
    for item in changed:
        if item["id"] not in kept or after != before:
            bodies.set_period(item, (start, end))
    if after != before or phase["billing_cycle_anchor"] == "phase_start":
        subscription.update(billing_cycle_anchor=end, billing_cycle_anchor_config=None)
    invoicing.add_items(work, subscription, [one_off(entry) for entry in phase["add_invoice_items"]])


def _wanted_items(subscription: Json, wanted: Sequence[Json]) -> list[Json]:
    """A phase's items as the `items` of an update: an item with the same price stays, others change or go."""
    left = {item["price"]["id"]: item["id"] for item in bodies.items_of(subscription)}
    entries: list[Json] = []
    for item in wanted:
        id_ = left.pop(item["price"], None)
        # What a phase names was for sale when the phase was made, which is enough.
        price = {"price": item["price"], "_may_be_archived": True} if id_ is None else {}
        entries.append({"id": id_, "quantity": item["quantity"], "metadata": item["metadata"], **price})
    free = list(left.values())
    for entry in entries:
        if entry["id"] is None and free:
            entry["id"] = free.pop(0)
    return [*entries, *({"id": id_, "deleted": True} for id_ in free)]


def one_off(entry: Json) -> Json:
    """What a phase adds to an invoice, as an entry of `add_invoice_items`."""
    return {name: entry[name] for name in ("price", "quantity", "discountable", "metadata") if entry[name] is not None}


def settings_of(schedule: Json, phase: Json) -> Json:
    """What a phase says, or else the schedule's default settings, as the parameters of an update."""
    default = schedule["default_settings"]
    chosen: dict[str, Any] = {
        name: default[name] if phase[name] is None else phase[name]
        for name in ("application_fee_percent", "collection_method", "description", "on_behalf_of", "transfer_data")
    }
    method = phase["default_payment_method"] or default["default_payment_method"]
    if method is not None:
        chosen["default_payment_method"] = method
    days = ((phase["invoice_settings"] or {}).get("days_until_due")
            or default["invoice_settings"]["days_until_due"])  # fmt: skip
    if days is not None and chosen["collection_method"] == "send_invoice":
        chosen["days_until_due"] = days
    if chosen["collection_method"] is None:
        del chosen["collection_method"]
    return {**chosen, "metadata": phase["metadata"]}


def _set_discounts(work: Work, subscription: Json, phase: Json) -> None:
    known = {
        discount["source"]["coupon"]: discount["id"] for id_ in subscription["discounts"]
        if (discount := work.find("discount", id_)) is not None
    }  # fmt: skip
    chosen = []
    for entry in phase["discounts"]:
        if entry["coupon"] in known:
            chosen.append(known[entry["coupon"]])
            continue
        redeemed = discounts.redeem_all(
            work, [{name: value for name, value in entry.items() if value}], customer=subscription["customer"],
            subscription=subscription["id"], currency=subscription["currency"],
        )  # fmt: skip
        chosen.append(redeemed[0]["id"])
    for id_ in [id_ for id_ in subscription["discounts"] if id_ not in chosen]:
        discounts.remove(work, id_)
    subscription["discounts"] = chosen


def set_end(subscription: Json, schedule: Json) -> None:
    """A subscription shows when its schedule will end it."""
    ends = schedule["phases"][-1]["end_date"] if schedule["end_behavior"] == "cancel" else None
    if ends != subscription["cancel_at"]:
        subscription.update(cancel_at=ends, cancel_at_period_end=False)
        changing.cut(subscription)
