"""What a change of a subscription makes of it, and what that costs ("Prorations", "Billing cycle anchor").

Nothing is billed here: what is to be billed comes back, so that a preview and an update say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sandbox import discounts
from sandbox.errors import Json, invalid, missing_object
from sandbox.operations import new_metadata, update_metadata
from sandbox.subscriptions import bodies, charges, items, periods
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.subscriptions.charges import Charge
    from sandbox.subscriptions.periods import Cycle
    from sandbox.work import Work

_TWO_YEARS: Final = periods.Cycle("year", 2)


@dataclass(frozen=True, slots=True)
class Change:
    """What is asked for, of all that a change may cost.

    Attributes:
        items: as the `items` of an update; None leaves them alone.
        trial_end: a second, "now", or None.
        anchor: "now" or "unchanged", where the request says so.
        behavior: "create_prorations", "always_invoice" or "none".
        at: the second that prorations are worked out for.
        cancel_at: a second, "" to take it back, or None to leave it alone.
    """

    items: list[Json] | None = None
    trial_end: int | str | None = None
    anchor: str | None = None
    behavior: str = "create_prorations"
    at: int | None = None
    cancel_at: int | str | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether nothing of what may cost anything is asked for."""
        return self.items is None and self.trial_end is None and self.anchor != "now" and self.cancel_at is None


@dataclass(slots=True)
class Outcome:
    """What a change costs.

    Attributes:
        prorations: go on an invoice as invoice items, at once or with the next one.
        charges: lines of an invoice that is made at once.
        is_billed_now: whether there is such an invoice.
    """

    prorations: list[Charge] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    is_billed_now: bool = False


def change(work: Work, subscription: Json, wanted: Change) -> Outcome:
    """Change a subscription that is being edited, and say what that costs.

    Raises: ApiError for items, a trial or a date that cannot be.
    """
    at = _moment(work, subscription, wanted)
    before = copied(subscription)
    outcome = Outcome()
    unused = [
        credit for item in bodies.items_of(before) if (credit := charges.unused(work, before, item, at)) is not None
    ]
    if wanted.items is not None:
        bodies.put_items(subscription, changed_items(work, subscription, wanted.items))
        items.check(subscription, bodies.items_of(subscription))
    if not _is_billed(subscription):
        _move_trial(work, subscription, wanted)
    elif _resets(work, before, subscription, wanted):
        if wanted.behavior != "none":
            outcome.prorations += unused
        outcome.charges = _begin_anew(work, subscription, wanted)
        outcome.is_billed_now = True
        return outcome
    elif subscription["status"] == "trialing":
        _move_trial(work, subscription, wanted)
    else:
        _prorate(work, before, subscription, wanted, at, unused, outcome)
    _cut(work, subscription, wanted, outcome)
    outcome.is_billed_now = wanted.behavior == "always_invoice" and bool(outcome.prorations)
    return outcome


def _moment(work: Work, subscription: Json, wanted: Change) -> int:
    if wanted.at is None:
        return work.now
    starts = [item["current_period_start"] for item in bodies.items_of(subscription)]
    if not max(starts) <= wanted.at <= bodies.period_end(subscription):
        raise invalid(
            "Invalid proration date: it must be within the subscription's current period.", "proration_date"
        )
    return wanted.at


def _is_billed(subscription: Json) -> bool:
    """Whether time that goes by is charged for; it is not for what is paused, nor yet for what is incomplete."""
    return subscription["status"] in bodies.RUNNING


def changed_items(work: Work, subscription: Json, wanted: list[Json]) -> list[Json]:
    """The items that a subscription has after an update of `items`; the subscription itself stays as it is.

    Raises: ApiError for an item that is not there, or a price that cannot be.
    """
    kept = {item["id"]: item for item in copied(subscription["items"])["data"]}
    added = []
    for index, entry in enumerate(wanted):
        param = f"items[{index}]"
        bodies.not_built_in(entry, "billing_thresholds", "current_trial", "tax_rates")
        id_ = entry.get("id")
        if id_ is None:
            added.append(made_item(work, subscription, entry, param, items.resolve_price(work, entry, param)))
            continue
        if id_ not in kept:
            raise missing_object("subscription_item", id_, f"{param}[id]")
        if entry.get("deleted"):
            del kept[id_]
        else:
            _change_item(work, subscription, kept[id_], entry, param)
    return [*kept.values(), *added]


def made_item(work: Work, subscription: Json, entry: Json, param: str, price: Json) -> Json:
    """A new item of a price, in the period that the subscription is in.

    Raises: ApiError for a price that is not sold in the subscription's currency.
    """
    bodies.not_built_in(entry, "billing_thresholds", "current_trial", "tax_rates")
    items.check_currency(price, subscription["currency"], f"{param}[price]")
    quantity = items.quantity_of(entry, param)
    item = bodies.new_item(subscription["id"], items.shown_price(price), quantity, work.now)
    item["metadata"] = new_metadata(entry)
    _set_discounts(work, subscription, item, entry, param)
    bodies.set_period(item, _current_period(work, subscription, item))
    return item


def _current_period(work: Work, subscription: Json, item: Json) -> tuple[int, int]:
    cycle = bodies.cycle_of(item)
    alike = [other for other in bodies.items_of(subscription) if bodies.cycle_of(other) == cycle]
    trial_end = subscription["trial_end"]
    if alike:
        return bodies.period_of(alike[0])
    if subscription["status"] == "trialing" and trial_end is not None:
        return min(work.now, trial_end), trial_end
    return periods.period_at(bodies.anchor_of(subscription), cycle, work.now)


def _change_item(work: Work, subscription: Json, item: Json, entry: Json, param: str) -> None:
    if any(entry.get(name) for name in ("price", "plan", "price_data")):
        price = items.resolve_price(work, entry, param)
        items.check_currency(price, subscription["currency"], f"{param}[price]")
        if price["id"] != item["price"]["id"]:
            # A new price begins with one, unless the request says how many ("Change the price of subscriptions").
            item["quantity"] = items.quantity_of(entry, param)
        bodies.set_price(item, items.shown_price(price))
    if entry.get("quantity") is not None:
        item["quantity"] = items.quantity_of(entry, param)
    update_metadata(item, entry.get("metadata"))
    _set_discounts(work, subscription, item, entry, param)


def _set_discounts(work: Work, subscription: Json, item: Json, entry: Json, param: str) -> None:
    wanted = entry.get("discounts")
    if wanted is None:
        return
    redeemed = discounts.redeem_all(
        work, wanted, customer=subscription["customer"], subscription=subscription["id"],
        subscription_item=item["id"], currency=subscription["currency"], param=f"{param}[discounts]",
    )  # fmt: skip
    item["discounts"] = [discount["id"] for discount in redeemed]


def _resets(work: Work, before: Json, subscription: Json, wanted: Change) -> bool:
    """Whether billing begins anew, with an invoice at once: see "Changes that reset the billing cycle"."""
    trialing = before["status"] == "trialing"
    if wanted.trial_end == "now" and trialing:
        return True
    if wanted.trial_end not in (None, "now") and not trialing:
        return True
    if wanted.anchor is not None:
        return wanted.anchor == "now" and not (trialing and wanted.trial_end is None)
    if trialing:
        return False
    now, then = _cycles(subscription), _cycles(before)
    if now != then and len(now) == 1:
        return True
    return _price(work, before) == 0 < _price(work, subscription)


def _cycles(subscription: Json) -> set[Cycle]:
    return {bodies.cycle_of(item) for item in bodies.items_of(subscription)}


def _price(work: Work, subscription: Json) -> int:
    currency = subscription["currency"]
    return sum(items.amount_of(work, item, currency) for item in bodies.items_of(subscription))


def _begin_anew(work: Work, subscription: Json, wanted: Change) -> list[Charge]:
    """Set new periods that begin now; what they cost."""
    now = work.now
    subscription["_debits"] = {}
    if isinstance(wanted.trial_end, int):
        begin_trial(work, subscription, wanted.trial_end, moves_anchor=wanted.anchor != "unchanged")
        return [charges.for_trial(work, item) for item in bodies.items_of(subscription)]
    if subscription["status"] == "trialing":
        subscription.update(status="active", trial_end=now)
    if wanted.anchor != "unchanged":
        subscription.update(billing_cycle_anchor=now, billing_cycle_anchor_config=None)
    return begin_periods(work, subscription, now)


def begin_periods(work: Work, subscription: Json, start: int) -> list[Charge]:
    """Let every item's period begin at a second, up to where the anchor or the cancellation ends it; the charges."""
    nets = charges.net_amounts(work, subscription)
    return [next_period(work, subscription, item, start, nets) for item in bodies.items_of(subscription)]


def next_period(work: Work, subscription: Json, item: Json, start: int, nets: dict[str, int]) -> Charge:
    """Let one item's next period begin; what it costs."""
    end = periods.after(bodies.anchor_of(subscription), bodies.cycle_of(item), start)
    stop = subscription["cancel_at"]
    if stop is not None and start < stop < end:
        end = stop
    bodies.set_period(item, (start, end))
    return charges.for_period(work, subscription, item, start, end, nets)


def begin_trial(work: Work, subscription: Json, end: int, *, moves_anchor: bool = True) -> None:
    """Put a subscription on trial until a second; periods are aligned with the trial's end.

    Raises: ApiError for an end that is past, or more than two years on.
    """
    if end <= work.now:
        raise invalid("Invalid timestamp: must be an integer Unix timestamp in the future.", "trial_end")
    if end > periods.add(work.now, _TWO_YEARS):
        raise invalid("Invalid timestamp: can be no more than two years in the future.", "trial_end")
    if subscription["status"] != "trialing":
        subscription["trial_start"] = work.now
    subscription.update(status="trialing", trial_end=end)
    if moves_anchor:
        subscription.update(billing_cycle_anchor=end, billing_cycle_anchor_config=None)
    for item in bodies.items_of(subscription):
        stop = subscription["cancel_at"]
        bodies.set_period(item, (work.now, end if stop is None else min(end, stop)))


def _move_trial(work: Work, subscription: Json, wanted: Change) -> None:
    if not isinstance(wanted.trial_end, int) or subscription["status"] != "trialing":
        return
    starts = {item["id"]: item["current_period_start"] for item in bodies.items_of(subscription)}
    begin_trial(work, subscription, wanted.trial_end, moves_anchor=wanted.anchor != "unchanged")
    for item in bodies.items_of(subscription):
        item["current_period_start"] = starts[item["id"]]


def _prorate(
    work: Work, before: Json, subscription: Json, wanted: Change, at: int, unused: list[Charge], outcome: Outcome
) -> None:
    nets = charges.net_amounts(work, subscription)
    old = {item["id"]: item for item in bodies.items_of(before)}
    new = {item["id"]: item for item in bodies.items_of(subscription)}
    changed = [id_ for id_ in {**old, **new} if id_ not in old or id_ not in new or _differs(old[id_], new[id_])]
    for id_ in changed:
        if id_ in new and (id_ not in old or bodies.cycle_of(old[id_]) != bodies.cycle_of(new[id_])):
            bodies.set_period(new[id_], _current_period(work, before, new[id_]))
        if wanted.behavior != "none":
            outcome.prorations += [credit for credit in unused if credit.item == id_]
            if id_ in new:
                outcome.prorations.append(charges.remaining(work, subscription, new[id_], nets[id_], at))
        elif id_ in new and subscription["billing_mode"]["type"] == "classic":
            # Classic credits are worked out from what the item is now, whatever was charged for it.
            charges.note_debit(subscription, charges.remaining(work, subscription, new[id_], nets[id_], at))
        if id_ not in new:
            subscription["_debits"].pop(id_, None)


def _differs(old: Json, new: Json) -> bool:
    return (old["price"]["id"], old["quantity"]) != (new["price"]["id"], new["quantity"])


def _cut(work: Work, subscription: Json, wanted: Change, outcome: Outcome) -> None:
    """Let periods end where the subscription is to, and go on where it no longer is ("Cancel subscriptions")."""
    if wanted.cancel_at is None:
        return
    nets = charges.net_amounts(work, subscription)
    ends = {item["id"]: item["current_period_end"] for item in bodies.items_of(subscription)}
    cut(subscription)
    for item in bodies.items_of(subscription):
        end, goal = ends[item["id"]], item["current_period_end"]
        if subscription["status"] == "trialing" or wanted.behavior == "none" or goal == end:
            continue
        if goal < end:
            credit = charges.unused(work, subscription, item, goal)
            if credit is not None:
                outcome.prorations.append(credit)
                debit = subscription["_debits"][item["id"]]
                debit.update(amount=debit["amount"] + credit.amount, end=goal)
        elif item["id"] in subscription["_debits"]:
            outcome.prorations.append(charges.remaining(work, subscription, item, nets[item["id"]], end))


def cut(subscription: Json) -> None:
    """Let current periods end where the subscription is to end, or else where they would by themselves."""
    stop = subscription["cancel_at"]
    for item in bodies.items_of(subscription):
        whole_end = _whole_end(subscription, item)
        item["current_period_end"] = whole_end if stop is None or stop >= whole_end else stop


def _whole_end(subscription: Json, item: Json) -> int:
    if subscription["status"] == "trialing":
        return int(subscription["trial_end"])
    start, _ = bodies.period_of(item)
    return periods.after(bodies.anchor_of(subscription), bodies.cycle_of(item), start)
