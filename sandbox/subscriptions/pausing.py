"""Pausing a subscription and letting it go on ("Pause subscriptions", "Resume a subscription")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.errors import Json, invalid
from sandbox.subscriptions import bodies, changing, charges, ending, invoicing, lifecycle, periods, updating
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.subscriptions.charges import Charge
    from sandbox.work import Work


def pause(work: Work, subscription: Json, params: Json) -> None:
    """Stop service and billing until the subscription is resumed; what is left of the period is given back.

    Args:
        subscription: is being edited.
        params: of "Pause a subscription".

    Raises: ApiError for a subscription that cannot be paused.
    """
    _check_pause(subscription)
    before = copied(subscription)
    unused = ((params.get("bill_for") or {}).get("unused_time_from") or {}).get("type", "now")
    for credit in unused_time(work, subscription, unused):
        charges.as_invoice_item(work, subscription, credit)
    if unused != "none":
        subscription["_debits"] = {}
    enter(work, subscription, "pause_requested")
    if params.get("invoicing_behavior") == "invoice":
        invoice = invoicing.new_invoice(work, subscription, [], "subscription_update")
        if invoice is not None:
            invoicing.pay_last(work, subscription, invoice)
    updating.keep(work, subscription, before)
    work.emit("customer.subscription.paused", subscription)


def unused_time(work: Work, subscription: Json, since: str) -> list[Charge]:
    """What is given back of the current periods: from "now", from "item_current_period_start", or "none" of it."""
    if since == "none":
        return []
    found = [
        charges.unused(
            work, subscription, item,
            item["current_period_start"] if since == "item_current_period_start" else work.now,
        )
        for item in bodies.items_of(subscription)
    ]  # fmt: skip
    return [credit for credit in found if credit is not None]


def enter(work: Work, subscription: Json, why: str) -> None:
    """Let a subscription be paused, for a reason as `status_details` has it."""
    subscription["status"] = "paused"
    subscription["status_details"] = {
        "paused": {"subscription": {"type": why}, "transitioned_at": work.now, "type": "subscription"}
    }


def _check_pause(subscription: Json) -> None:
    if subscription["status"] != "active":
        raise invalid(
            f"Only active subscriptions can be paused. This subscription's status is `{subscription['status']}`."
        )
    if subscription["schedule"] is not None:
        raise invalid("Subscriptions with an attached subscription schedule cannot be paused.")
    if subscription["billing_mode"]["type"] != "flexible":
        raise invalid("Only subscriptions with `billing_mode[type]=flexible` can be paused.")
    if subscription["collection_method"] != "charge_automatically":
        raise invalid("Only subscriptions with `collection_method=charge_automatically` can be paused.")
    if subscription["pending_update"] is not None:
        raise invalid("Subscriptions with a pending update cannot be paused.")


def resume(work: Work, subscription: Json, params: Json) -> None:
    """Let a paused subscription go on, once its invoice is paid where it makes one.

    Args:
        subscription: is being edited.
        params: of "Resume a subscription".

    Raises: ApiError for a subscription that is not paused.
    """
    if subscription["status"] != "paused":
        raise invalid(
            "Only subscriptions with `status=paused` can be resumed. This subscription's status is "
            f"`{subscription['status']}`."
        )
    if subscription["collection_method"] != "charge_automatically":
        raise invalid("Only subscriptions with `collection_method=charge_automatically` can be resumed.")
    ending.drop_resumption(work, subscription)
    before = copied(subscription)
    outcome = resumption(work, subscription, params)
    on = params.get("payment_behavior") or "resume_on_payment_attempt"
    # What waits for the payment must not be retried by itself where the request only makes the invoice.
    invoice = invoicing.bill(work, subscription, outcome, auto_advance=on == "resume_on_payment_success")
    if invoice is not None:
        _wait(work, subscription, before, invoice, on)
        behavior = "allow_incomplete" if on == "resume_on_payment_success" else "default_incomplete"
        invoicing.pay_now(work, subscription, invoice, behavior, off_session=True)
    if subscription["status"] == "paused" and "_resuming" not in subscription:
        lifecycle.resume(subscription, "active")
        updating.keep(work, subscription, before)
        work.emit("customer.subscription.resumed", subscription)
    elif subscription["status"] == "paused":
        updating.keep(work, subscription, before)


def resumption(work: Work, subscription: Json, params: Json) -> changing.Outcome:
    """Set the periods that a paused subscription will have; what they cost."""
    anchor = (params.get("billing_cycle_anchor") or {}).get("type", "now")
    behavior = params.get("proration_behavior") or "create_prorations"
    at = params.get("proration_date") or work.now
    outcome = changing.Outcome()
    if anchor == "now":
        subscription["_debits"] = {}
        subscription.update(
            billing_cycle_anchor=work.now, billing_cycle_anchor_config=None, trial_end=_past(subscription, work.now)
        )
        outcome.charges = changing.begin_periods(work, subscription, work.now)
        outcome.is_billed_now = True
        return outcome
    outcome.prorations = _rest_of_periods(work, subscription, at) if behavior != "none" else []
    outcome.is_billed_now = behavior == "always_invoice" and bool(outcome.prorations)
    return outcome


def _past(subscription: Json, now: int) -> int | None:
    """A trial's end, which is not to come any more."""
    end = subscription["trial_end"]
    return None if end is None else min(int(end), now)


def _rest_of_periods(work: Work, subscription: Json, at: int) -> list[Charge]:
    nets, found = charges.net_amounts(work, subscription), []
    for item in bodies.items_of(subscription):
        whole = periods.period_at(bodies.anchor_of(subscription), bodies.cycle_of(item), at)
        bodies.set_period(item, whole)
        debit = bodies.debit_of(subscription, item["id"])
        if debit is None or debit.end <= at:
            found.append(charges.remaining(work, subscription, item, nets[item["id"]], at))
    return found


def _wait(work: Work, subscription: Json, before: Json, invoice: Json, on: str) -> None:
    """Keep what the subscription will be until its invoice is paid."""
    held = ("items", "billing_cycle_anchor", "billing_cycle_anchor_config", "trial_end", "_debits")
    state = {name: copied(subscription)[name] for name in held}
    subscription.update({name: before[name] for name in held})
    # Only an invoice that nobody has tried to pay is given up by itself.
    expires_at = work.now + bodies.INCOMPLETE_S if on == "resume_on_payment_attempt" else None
    subscription["_resuming"] = {"invoice": invoice["id"], "state": state, "on": on, "expires_at": expires_at}
