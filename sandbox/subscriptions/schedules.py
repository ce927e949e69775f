"""Subscription schedules: made, changed, let go, and canceled ("The Subscription Schedule object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import clocks
from sandbox.errors import Json, invalid, missing_param
from sandbox.ids import random_text
from sandbox.operations import new_metadata
from sandbox.subscriptions import bodies, cancelling, changing, creating, items, periods, phases, timers, updating
from sandbox.subscriptions.periods import Anchor, Cycle
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.work import Work

_LIVE: Final = ("not_started", "active")
_LONGEST: Final = 1_000
_NOT_BUILT_IN: Final = ("automatic_tax", "billing_thresholds", "default_tax_rates")


def from_subscription(work: Work, subscription: Json, params: Json) -> Json:
    """A schedule that takes over a subscription, with its current period as the only phase.

    Raises: ApiError for a subscription that has one, or has ended.
    """
    if subscription["schedule"] is not None:
        raise invalid(
            "You cannot migrate a subscription that is already attached to a schedule: "
            f"{subscription['schedule']}.", "from_subscription",
        )  # fmt: skip
    if subscription["status"] in bodies.ENDED:
        raise invalid("You cannot migrate a subscription that has ended.", "from_subscription")
    for name in ("phases", "customer", "start_date", "end_behavior", "default_settings", "billing_mode"):
        if name in params:
            raise invalid(f"You cannot set `{name}` if `from_subscription` is set.", name)
    schedule = _new(work, subscription["customer"], params, subscription["billing_mode"])
    default = schedule["default_settings"]
    for name in ("application_fee_percent", "collection_method", "default_payment_method", "description",
                 "on_behalf_of", "transfer_data"):  # fmt: skip
        default[name] = subscription[name]
    default["invoice_settings"]["days_until_due"] = subscription["days_until_due"]
    start, end = bodies.period_of(bodies.items_of(subscription)[0])
    schedule["phases"] = [_phase_of(work, subscription, start, end)]
    before = copied(subscription)
    subscription["schedule"] = schedule["id"]
    schedule.update(
        status="active", subscription=subscription["id"], current_phase={"end_date": end, "start_date": start}
    )
    return _announce(work, schedule, subscription, before)


def create(work: Work, params: Json, *, api_version: str) -> Json:
    """A schedule of its own phases, with a subscription once the first of them begins.

    Raises: ApiError for phases that cannot be.
    """
    for name in ("customer", "phases", "start_date"):
        if not params.get(name):
            raise missing_param(name)
    work.get("customer", params["customer"], "customer")
    now = clocks.enter(work, params["customer"])
    start = _moment(params["start_date"], now, "start_date")
    mode = creating.billing_mode(params.get("billing_mode") or {"type": "flexible"}, now)
    schedule = _new(work, params["customer"], params, mode)
    _set_defaults(schedule, params.get("default_settings"))
    schedule["end_behavior"] = params.get("end_behavior") or "release"
    schedule["phases"] = _phases(work, params["phases"], start, None)
    work.add(schedule)
    if start <= now:
        begin(work, schedule, api_version=api_version)
    work.emit("subscription_schedule.created", schedule)
    phases.plan(work, schedule)
    return schedule


def begin(work: Work, schedule: Json, *, api_version: str = "") -> None:
    """Start the subscription of a schedule's first phase; its first invoice is a draft for an hour.

    Raises: ApiError for what the subscription cannot be.
    """
    first = schedule["phases"][0]
    params: Json = {
        "customer": schedule["customer"], "currency": first["currency"],
        "items": [
            {"price": item["price"], "quantity": item["quantity"], "metadata": item["metadata"],
             "_may_be_archived": True}
            for item in first["items"]
        ],
        "proration_behavior": first["proration_behavior"], **phases.settings_of(schedule, first),
        "add_invoice_items": [phases.one_off(entry) for entry in first["add_invoice_items"]],
        "discounts": [{name: value for name, value in entry.items() if value} for entry in first["discounts"]],
    }  # fmt: skip
    if first["trial_end"] is not None and first["trial_end"] > work.now:
        params["trial_end"] = first["trial_end"]
    if first["start_date"] < work.now:
        params["backdate_start_date"] = first["start_date"]
    subscription = creating.create(
        work, params, api_version=api_version, schedule=schedule["id"], mode=schedule["billing_mode"]
    )
    schedule.update(
        status="active", subscription=subscription["id"],
        current_phase={"end_date": first["end_date"], "start_date": first["start_date"]},
    )  # fmt: skip
    phases.set_end(subscription, schedule)
    phases.enter_due(work, subscription)
    bodies.keep_items(work, subscription)
    timers.plan(work, subscription)


def update(work: Work, schedule: Json, params: Json) -> None:
    """Change a schedule; what changes of the current phase is applied to its subscription at once.

    Raises: ApiError for a schedule that is over, or phases that cannot be.
    """
    _check_live(schedule, "update")
    bodies.not_built_in(params, "pause_schedules")
    before = copied(schedule)
    _set_defaults(schedule, params.get("default_settings"))
    if params.get("end_behavior"):
        schedule["end_behavior"] = params["end_behavior"]
    subscription = work.edit("subscription", schedule["subscription"]) if schedule["subscription"] else None
    then = copied(subscription) if subscription is not None else None
    if params.get("phases"):
        _replace_phases(work, schedule, subscription, params)
    if subscription is not None and then is not None:
        phases.set_end(subscription, schedule)
        phases.enter_due(work, subscription)
        updating.keep(work, subscription, then)
    phases.plan(work, schedule)
    work.emit_updated("subscription_schedule.updated", schedule, before)


def _replace_phases(work: Work, schedule: Json, subscription: Json | None, params: Json) -> None:
    current = schedule["current_phase"]
    if current is None:
        given = params["phases"][0].get("start_date", schedule["phases"][0]["start_date"])
        start = _moment(given, work.now, "phases[0][start_date]")
        schedule["phases"] = _phases(work, params["phases"], start, None)
        return
    past = [phase for phase in schedule["phases"] if phase["end_date"] <= current["start_date"]]
    now = next(phase for phase in schedule["phases"] if phase["start_date"] == current["start_date"])
    # Phases that are over may be left out.
    wanted = [entry for entry in params["phases"] if entry.get("start_date") not in [p["start_date"] for p in past]]
    if not wanted or wanted[0].get("start_date", current["start_date"]) != current["start_date"]:
        raise invalid("You can not modify the start date of the current phase.", "phases[0][start_date]")
    made = _phases(work, wanted, current["start_date"], subscription)
    schedule["phases"] = [*past, *made]
    schedule["current_phase"] = {"end_date": made[0]["end_date"], "start_date": made[0]["start_date"]}
    if subscription is not None and made[0]["end_date"] > work.now and _differs(now, made[0]):
        behavior = params.get("proration_behavior") or "create_prorations"
        phases.enter(work, subscription, schedule, made[0], behavior)


def _differs(old: Json, new: Json) -> bool:
    dates = ("start_date", "end_date", "proration_behavior")
    return any(old[name] != new[name] for name in new if name not in dates)


def release(work: Work, schedule: Json, *, preserve_cancel_date: bool = False) -> None:
    """Leave the subscription to itself.

    Raises: ApiError for a schedule that is over.
    """
    _check_live(schedule, "release")
    subscription = work.edit("subscription", schedule["subscription"]) if schedule["subscription"] else None
    before = copied(subscription) if subscription is not None else None
    phases.let_go(work, schedule, subscription)
    if subscription is not None and before is not None:
        if schedule["end_behavior"] == "cancel" and not preserve_cancel_date:
            subscription["cancel_at"] = None
            changing.cut(subscription)
        updating.keep(work, subscription, before)
    phases.plan(work, schedule)


def cancel(work: Work, schedule: Json, *, invoice_now: bool = True, prorate: bool = True) -> None:
    """End a schedule and its subscription.

    Raises: ApiError for a schedule that is over.
    """
    _check_live(schedule, "cancel")
    schedule.update(status="canceled", canceled_at=work.now, current_phase=None)
    phases.plan(work, schedule)
    if schedule["subscription"] is not None:
        subscription = work.edit("subscription", schedule["subscription"])
        subscription["schedule"] = None
        cancelling.cancel(work, subscription, prorate=prorate, invoice_now=invoice_now)
    work.emit("subscription_schedule.canceled", schedule)


def next_phase(work: Work, id_: str) -> None:
    """A schedule's next phase has come, or its first (the action `next_phase`)."""
    schedule = work.find("subscription_schedule", id_)
    if schedule is None or schedule["status"] not in _LIVE:
        return
    schedule = work.edit("subscription_schedule", id_)
    if schedule["status"] == "not_started":
        if schedule["phases"][0]["start_date"] <= work.now:
            before = copied(schedule)
            begin(work, schedule)
            phases.plan(work, schedule)
            work.emit_updated("subscription_schedule.updated", schedule, before)
        return
    subscription = work.edit("subscription", schedule["subscription"])
    then = copied(subscription)
    phases.enter_due(work, subscription)
    if subscription["status"] not in bodies.ENDED:
        updating.keep(work, subscription, then)


def remind(work: Work, id_: str) -> None:
    """A schedule ends in seven days (the action `remind_schedule`)."""
    schedule = work.find("subscription_schedule", id_)
    if schedule is not None and schedule["status"] == "active":
        work.emit("subscription_schedule.expiring", schedule)


def _check_live(schedule: Json, wish: str) -> None:
    if schedule["status"] not in _LIVE:
        raise invalid(
            f"You cannot {wish} a subscription schedule that is currently in the `{schedule['status']}` status. It "
            f"must be in one of the following statuses: {', '.join(_LIVE)}."
        )


def _announce(work: Work, schedule: Json, subscription: Json, before: Json) -> Json:
    work.add(schedule)
    work.emit("subscription_schedule.created", schedule)
    updating.keep(work, subscription, before)
    phases.plan(work, schedule)
    return schedule


def _new(work: Work, customer: str, params: Json, mode: Json) -> Json:
    bodies.not_built_in(params, "pause_schedules", "customer_account")
    return {
        "id": f"sub_sched_1{random_text(23)}", "object": "subscription_schedule", "application": None,
        "billing_mode": mode, "canceled_at": None, "completed_at": None, "created": work.now, "current_phase": None,
        "customer": customer, "customer_account": None,
        "default_settings": {
            "application_fee_percent": None,
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": "automatic", "billing_thresholds": None,
            "collection_method": "charge_automatically", "default_payment_method": None, "description": None,
            "invoice_settings": {
                "account_tax_ids": None, "custom_fields": None, "days_until_due": None, "description": None,
                "footer": None, "issuer": {"type": "self"},
            },
            "on_behalf_of": None, "transfer_data": None,
        },
        "end_behavior": "release", "livemode": False, "metadata": new_metadata(params), "pause_schedules": [],
        "phases": [], "released_at": None, "released_subscription": None, "status": "not_started",
        "subscription": None, "test_clock": clocks.clock_of(work, customer),
    }  # fmt: skip


def _set_defaults(schedule: Json, wanted: Json | None) -> None:
    if not wanted:
        return
    bodies.not_built_in(wanted, *_NOT_BUILT_IN)
    default = schedule["default_settings"]
    for name, value in wanted.items():
        if name == "invoice_settings":
            default[name].update({key: item or None for key, item in value.items()})
        else:
            default[name] = _plain(value)


def _plain(value: Any) -> Any:
    return None if value == "" else float(value) if hasattr(value, "as_tuple") else value


def _phase_of(work: Work, subscription: Json, start: int, end: int) -> Json:
    """A subscription as it is, as a phase."""
    known = [work.get("discount", id_) for id_ in subscription["discounts"]]
    return {
        **_empty_phase(subscription["currency"], start, end),
        "discounts": [
            {"coupon": discount["source"]["coupon"], "discount": discount["id"], "promotion_code": None}
            for discount in known
        ],
        "items": [
            _phase_item(item["price"]["id"], item["quantity"], item["metadata"])
            for item in bodies.items_of(subscription)
        ],
        "metadata": dict(subscription["metadata"]),
        "trial_end": subscription["trial_end"] if subscription["status"] == "trialing" else None,
    }  # fmt: skip


def _empty_phase(currency: str, start: int, end: int) -> Json:
    return {
        "add_invoice_items": [], "application_fee_percent": None, "billing_cycle_anchor": None,
        "billing_thresholds": None, "collection_method": None, "currency": currency, "default_payment_method": None,
        "default_tax_rates": [], "description": None, "discounts": [], "end_date": end, "invoice_settings": None,
        "items": [], "metadata": {}, "on_behalf_of": None, "proration_behavior": "create_prorations",
        "start_date": start, "transfer_data": None, "trial_end": None,
    }  # fmt: skip


def _phase_item(price: str, quantity: int, metadata: Json) -> Json:
    return {
        "billing_thresholds": None, "discounts": [], "metadata": dict(metadata), "plan": price, "price": price,
        "quantity": quantity, "tax_rates": [],
    }  # fmt: skip


def _phases(work: Work, wanted: list[Json], start: int, subscription: Json | None) -> list[Json]:
    made = []
    for index, entry in enumerate(wanted):
        phase = _phase(work, entry, start, f"phases[{index}]", subscription)
        made.append(phase)
        start = phase["end_date"]
    return made


def _phase(work: Work, entry: Json, start: int, param: str, subscription: Json | None) -> Json:
    bodies.not_built_in(entry, *_NOT_BUILT_IN)
    prices = [items.resolve_price(work, item, f"{param}[items][{i}]") for i, item in enumerate(entry["items"])]
    if not prices:
        raise missing_param(f"{param}[items]")
    currency = entry.get("currency") or (subscription or {}).get("currency") or prices[0]["currency"]
    for index, price in enumerate(prices):
        items.check_currency(price, currency, f"{param}[items][{index}][price]")
    end = _end_of(work, entry, start, prices[0], param, subscription)
    trial_end = end if entry.get("trial") else entry.get("trial_end")
    if isinstance(trial_end, int) and not start < trial_end <= end:
        raise invalid("`trial_end` must be within the phase.", f"{param}[trial_end]")
    phase = _empty_phase(currency, start, end)
    for name in ("application_fee_percent", "billing_cycle_anchor", "collection_method", "default_payment_method",
                 "description", "invoice_settings", "on_behalf_of", "transfer_data"):  # fmt: skip
        if entry.get(name):
            phase[name] = _plain(entry[name])
    phase.update(
        items=[
            _phase_item(price["id"], items.quantity_of(item, f"{param}[items][{i}]"), new_metadata(item))
            for i, (item, price) in enumerate(zip(entry["items"], prices, strict=True))
        ],
        discounts=[
            {name: discount.get(name) for name in ("coupon", "discount", "promotion_code")}
            for discount in entry.get("discounts") or []
        ],
        add_invoice_items=[_one_off(one) for one in entry.get("add_invoice_items") or []],
        metadata=new_metadata(entry), proration_behavior=entry.get("proration_behavior") or "create_prorations",
        trial_end=trial_end if isinstance(trial_end, int) else None,
    )  # fmt: skip
    return phase


def _one_off(entry: Json) -> Json:
    bodies.not_built_in(entry, "price_data", "discounts", "tax_rates", "period")
    start, end = {"timestamp": None, "type": "phase_start"}, {"timestamp": None, "type": "phase_end"}
    return {
        "discountable": entry.get("discountable"), "discounts": [], "metadata": new_metadata(entry),
        "period": {"end": end, "start": start}, "price": entry.get("price"), "quantity": entry.get("quantity", 1),
        "tax_rates": [],
    }  # fmt: skip


def _end_of(work: Work, entry: Json, start: int, price: Json, param: str, subscription: Json | None) -> int:
    if entry.get("end_date") is not None and entry.get("duration"):
        raise invalid("You may only specify one of these parameters: duration, end_date.", f"{param}[end_date]")
    if entry.get("end_date") is not None:
        end = _moment(entry["end_date"], work.now, f"{param}[end_date]")
        if end <= start and entry["end_date"] != "now":
            raise invalid("The end date of a phase must be after its start date.", f"{param}[end_date]")
        return end
    wanted = entry.get("duration") or price["recurring"]
    cycle = Cycle(wanted["interval"], _count(wanted, f"{param}[duration][interval_count]"))
    anchor = bodies.anchor_of(subscription) if subscription is not None else Anchor(start)
    # A phase that begins with a period ends with one, even where months are short.
    aligned = periods.period_at(anchor, cycle, start)[0] == start
    return bodies.moment(periods.after(anchor, cycle, start) if aligned else periods.add(start, cycle), param)


def _count(duration: Json, param: str) -> int:
    count = 1 if duration.get("interval_count") is None else int(duration["interval_count"])
    if not 1 <= count <= _LONGEST:
        raise invalid(f"This value must be between 1 and {_LONGEST}.", param, "parameter_invalid_integer")
    return count


def _moment(value: Any, now: int, param: str) -> int:
    return now if value == "now" else bodies.moment(int(value), param)
