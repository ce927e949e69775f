"""How a subscription begins: with a payment, with a trial, or with neither ("Create a subscription")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import clocks, discounts, money
from sandbox.errors import Json, invalid, missing_param
from sandbox.operations import Call, refuse_both
from sandbox.resources import customers, setup_intents
from sandbox.subscriptions import bodies, changing, charges, invoicing, items, lifecycle, periods, settings, timers

if TYPE_CHECKING:
    from sandbox.subscriptions.charges import Charge
    from sandbox.work import Work

_TRIAL_DAYS: Final = 730
_RANGES: Final = {"day_of_month": (1, 31), "hour": (0, 23), "minute": (0, 59), "month": (1, 12), "second": (0, 59)}


def create(
    work: Work, params: Json, *, api_version: str = "", schedule: str | None = None, mode: Json | None = None
) -> Json:
    """A new subscription, its first invoice, and what came of paying that.

    Args:
        params: of "Create a subscription".
        schedule: whose subscription it is; its first invoice is then a draft for an hour.
        mode: the schedule's `billing_mode`.

    Raises: ApiError for what cannot be, or cannot be paid where `error_if_incomplete` is asked for.
    """
    if not params.get("customer"):
        raise missing_param("customer")
    work.get("customer", params["customer"], "customer")
    now = clocks.enter(work, params["customer"])
    place = len(work.events)
    subscription = draft(work, params, now)
    subscription.update(schedule=schedule, billing_mode=mode or subscription["billing_mode"])
    invoice_lines = begin(work, subscription, params, now)
    work.add(subscription)
    subscription["_quiet"] = True
    invoicing.add_items(work, subscription, params.get("add_invoice_items"))
    advances = schedule is not None or subscription["collection_method"] == "send_invoice"
    invoice = invoicing.new_invoice(work, subscription, invoice_lines, "subscription_create", auto_advance=advances)
    behavior, off_session = _behavior(params), bool(params.get("off_session"))
    if invoice is not None and schedule is not None:
        invoicing.pay_in_an_hour(work, invoice)
        lifecycle.begin(work, subscription)
    elif invoice is None or invoicing.pay_now(work, subscription, invoice, behavior, off_session=off_session):
        lifecycle.begin(work, subscription)
    if subscription["status"] != "incomplete" and (invoice is None or invoice["amount_due"] == 0):
        _set_up_method(work, subscription, api_version)
    del subscription["_quiet"]
    bodies.keep_items(work, subscription)
    timers.plan(work, subscription)
    work.emit("customer.subscription.created", subscription)
    # It is the first that is heard of the subscription; its invoice comes after it.
    work.events.insert(place, work.events.pop())
    timers.warn_of_short_trial(work, subscription)
    return subscription


def draft(work: Work, params: Json, now: int) -> Json:
    """A subscription as a request describes it, with its items, but before its first period; it is not stored.

    Raises: ApiError for what cannot be.
    """
    wanted = params.get("items") or []
    if not wanted:
        raise missing_param("items")
    prices = [items.resolve_price(work, entry, f"items[{index}]") for index, entry in enumerate(wanted)]
    currency = _currency(work, params, prices[0])
    subscription = bodies.new_subscription(work, params["customer"], currency, now)
    if params.get("billing_mode"):
        subscription["billing_mode"] = billing_mode(params["billing_mode"], now)
    settings.apply(work, subscription, params)
    made = [
        changing.made_item(work, subscription, entry, f"items[{index}]", price)
        for index, (entry, price) in enumerate(zip(wanted, prices, strict=True))
    ]
    items.check(subscription, made)
    bodies.put_items(subscription, made)
    redeemed = discounts.redeem_all(
        work, params.get("discounts"), customer=subscription["customer"], subscription=subscription["id"],
        currency=currency, amount=sum(items.amount_of(work, item, currency) for item in made),
    )  # fmt: skip
    subscription["discounts"] = [discount["id"] for discount in redeemed]
    return subscription


def billing_mode(wanted: Json, now: int) -> Json:
    """The billing mode that is asked for.

    Raises: ApiError for prorations whose discounts are itemized, which the sandbox does not have.
    """
    if wanted["type"] == "classic":
        return {"flexible": None, "type": "classic"}
    if (wanted.get("flexible") or {}).get("proration_discounts") == "itemized":
        raise invalid(
            "Prorations with itemized discounts are not built into the sandbox.",
            "billing_mode[flexible][proration_discounts]",
        )  # fmt: skip
    return {"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": now}


def _currency(work: Work, params: Json, price: Json) -> str:
    customer = work.get("customer", params["customer"])
    chosen: str = price["currency"]
    if params.get("currency"):
        chosen = money.check_currency(params["currency"])
    elif customer["currency"] in price["_currency_options"]:
        chosen = customer["currency"]
    for other in work.listed("subscription", link=("customer", params["customer"])):
        if other["status"] not in bodies.ENDED and other["currency"] != chosen:
            raise invalid(
                "You cannot combine currencies on a single customer. This customer has an active subscription, "
                f"subscription schedule, discount, quote, or invoice item with currency {other['currency']}", "currency"
            )
    customers.set_currency(work, params["customer"], chosen)
    return chosen


def begin(work: Work, subscription: Json, params: Json, now: int) -> list[Charge]:
    """Set the first periods and the status that a paid subscription has; what the first invoice charges.

    Raises: ApiError for a trial or an anchor that cannot be.
    """
    behavior = params.get("proration_behavior") or "create_prorations"
    trial_end = _trial_end(subscription, params, now)
    anchor = _anchor(subscription, params, trial_end or now)
    stop = _cancel_at(params, now)
    subscription["cancel_at"] = stop
    before = _backdated(work, subscription, params, now, behavior)
    if trial_end is not None:
        changing.begin_trial(work, subscription, trial_end)
        lines = before + [charges.for_trial(work, item) for item in bodies.items_of(subscription)]
    else:
        subscription["billing_cycle_anchor"] = anchor or now
        made = changing.begin_periods(work, subscription, now)
        lines = before + [charge for charge in made if not charge.is_proration or behavior != "none"]
    if trial_end is not None and anchor is not None:
        subscription["billing_cycle_anchor"] = anchor
    subscription["status"] = "incomplete"
    if params.get("cancel_at_period_end") or isinstance(params.get("cancel_at"), str):
        ends = [item["current_period_end"] for item in bodies.items_of(subscription)]
        subscription["cancel_at"] = max(ends) if params.get("cancel_at") == "max_period_end" else min(ends)
    if params.get("cancel_at_period_end"):
        subscription["cancel_at_period_end"] = True
    if subscription["cancel_at"] is not None:
        subscription["canceled_at"] = now
        subscription["cancellation_details"]["reason"] = "cancellation_requested"
    return lines


def _cancel_at(params: Json, now: int) -> int | None:
    refuse_both(params, "cancel_at", "cancel_at_period_end")
    wanted = params.get("cancel_at")
    if not isinstance(wanted, int):
        return None
    if bodies.moment(wanted, "cancel_at") <= now:
        raise invalid("`cancel_at` must be in the future.", "cancel_at")
    return wanted


def _trial_end(subscription: Json, params: Json, now: int) -> int | None:
    refuse_both(params, "trial_end", "trial_period_days")
    days: Any = params.get("trial_period_days")
    if params.get("trial_from_plan"):
        refuse_both(params, "trial_end", "trial_from_plan")
        known = [item["price"]["recurring"]["trial_period_days"] for item in bodies.items_of(subscription)]
        days = max((found for found in known if found), default=None) if days is None else days
    if days is not None:
        if not 0 <= days <= _TRIAL_DAYS:
            word = "greater than or equal to 0" if days < 0 else f"less than or equal to {_TRIAL_DAYS}"
            raise invalid(f"This value must be {word}.", "trial_period_days", "parameter_invalid_integer")
        return now + days * periods.DAY_S if days else None
    end = params.get("trial_end")
    return None if end in (None, "now") else bodies.moment(int(str(end)), "trial_end")


def _anchor(subscription: Json, params: Json, start: int) -> int | None:
    refuse_both(params, "billing_cycle_anchor", "billing_cycle_anchor_config")
    config = params.get("billing_cycle_anchor_config")
    cycles = [bodies.cycle_of(item) for item in bodies.items_of(subscription)]
    if config:
        _check_config(config, cycles)
        subscription["billing_cycle_anchor_config"] = {name: config.get(name) for name in _RANGES}
        return periods.configured_anchor(config, start)
    wanted = params.get("billing_cycle_anchor")
    if wanted is None:
        return None
    if bodies.moment(wanted, "billing_cycle_anchor") < start:
        raise invalid(
            "`billing_cycle_anchor` must be in the future, and not before the trial's end.", "billing_cycle_anchor"
        )
    latest = min(periods.add(start, cycle) for cycle in cycles)
    if wanted > latest:
        raise invalid(
            f"`billing_cycle_anchor` cannot be later than next natural billing date ({latest}) for plan.",
            "billing_cycle_anchor",
        )  # fmt: skip
    return int(wanted)


def _check_config(config: Json, cycles: list[periods.Cycle]) -> None:
    for name, value in config.items():
        first, last = _RANGES[name]
        if value is not None and not first <= value <= last:
            raise invalid(
                f"Invalid integer: this value must be between {first} and {last}.",
                f"billing_cycle_anchor_config[{name}]", "parameter_invalid_integer",
            )  # fmt: skip
    if any(cycle.interval not in ("month", "year") for cycle in cycles):
        raise invalid(
            "`billing_cycle_anchor_config` is only valid with monthly and yearly prices.", "billing_cycle_anchor_config"
        )


def _backdated(work: Work, subscription: Json, params: Json, now: int, behavior: str) -> list[Charge]:
    start = params.get("backdate_start_date")
    if start is None:
        return []
    if bodies.moment(start, "backdate_start_date") > now:
        raise invalid("`backdate_start_date` must be in the past.", "backdate_start_date")
    subscription["start_date"] = start
    if behavior == "none" or start == now:
        return []
    nets = charges.net_amounts(work, subscription)
    return [charges.past(work, item, nets[item["id"]], start, now) for item in bodies.items_of(subscription)]


def _behavior(params: Json) -> str:
    behavior = params.get("payment_behavior") or "allow_incomplete"
    if behavior == "pending_if_incomplete":
        raise invalid(
            "`payment_behavior=pending_if_incomplete` can only be used when a subscription is updated.",
            "payment_behavior",
        )
    return str(behavior)


def _set_up_method(work: Work, subscription: Json, api_version: str) -> None:
    """Nothing is charged yet: a setup intent lets the customer leave a method (`pending_setup_intent`)."""
    method = bodies.default_method(work, subscription)
    if subscription["collection_method"] != "charge_automatically" or method is not None:
        return
    with clocks.real_time(work):
        intent = setup_intents.create(
            Call(work, {"customer": subscription["customer"], "usage": "off_session"}, {}, api_version)
        )
    intent["_subscription"] = subscription["id"]
    subscription["pending_setup_intent"] = intent["id"]
