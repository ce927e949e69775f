"""Updates of a subscription: what they change, what they cost, and what happens where that is not paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import discounts
from sandbox.errors import Json, invalid
from sandbox.operations import refuse_both
from sandbox.subscriptions import bodies, changing, ending, invoicing, settings, timers
from sandbox.subscriptions.changing import Change
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.work import Work

# What is over can only be described ("Update a subscription").
_OF_ENDED: Final = frozenset({"metadata", "cancellation_details", "expand"})
# What an update may have that waits for its payment ("Pending updates reference").
_MAY_WAIT: Final = frozenset(
    {
        "expand", "payment_behavior", "proration_behavior", "proration_date", "billing_cycle_anchor", "items",
        "trial_end", "trial_from_plan", "add_invoice_items", "off_session",
    }
)  # fmt: skip
_CANCELS: Final = ("cancel_at", "cancel_at_period_end")
# What an update that waits has not changed yet.
_HELD: Final = (
    "items", "billing_cycle_anchor", "billing_cycle_anchor_config", "trial_start", "trial_end", "status", "_debits",
)  # fmt: skip


def update(work: Work, subscription: Json, params: Json) -> None:
    """Change a subscription as "Update a subscription" does.

    Args:
        subscription: is being edited.

    Raises: ApiError for what cannot be, or cannot be paid where `error_if_incomplete` is asked for.
    """
    before = copied(subscription)
    _check(subscription, params)
    bodies.not_built_in(params, "trial_from_plan")
    settings.apply(work, subscription, params)
    _set_discounts(work, subscription, params)
    _set_pause(work, subscription, params)
    wanted = change_of(work, subscription, params)
    behavior = params.get("payment_behavior") or "allow_incomplete"
    is_tentative = behavior == "pending_if_incomplete"
    if not wanted.is_nothing:
        ending.drop_update(work, subscription)
        ending.drop_resumption(work, subscription)
        subscription["_quiet"] = True
        outcome = changing.change(work, subscription, wanted)
        invoicing.add_items(work, subscription, params.get("add_invoice_items"))
        if is_tentative:
            subscription["_trying"] = True
        invoice = invoicing.bill(work, subscription, outcome, auto_advance=not is_tentative)
        if invoice is not None:
            is_paid = invoicing.pay_now(
                work, subscription, invoice, behavior, off_session=bool(params.get("off_session"))
            )
            _settle(work, subscription, before, invoice, is_paid=is_paid, is_tentative=is_tentative)
        for name in ("_trying", "_quiet"):
            subscription.pop(name, None)
    else:
        invoicing.add_items(work, subscription, params.get("add_invoice_items"))
    if subscription["status"] in bodies.ENDED and before["status"] not in bodies.ENDED:
        return
    keep(work, subscription, before)
    if subscription["trial_end"] != before["trial_end"]:
        timers.warn_of_short_trial(work, subscription)


def keep(work: Work, subscription: Json, before: Json) -> None:
    """Tell of what an operation has changed, and plan what follows from it."""
    bodies.keep_items(work, subscription)
    timers.plan(work, subscription)
    work.emit_updated("customer.subscription.updated", subscription, before)


def _check(subscription: Json, params: Json) -> None:
    status, given = subscription["status"], set(params)
    if status in bodies.ENDED and given - _OF_ENDED:
        raise invalid(
            "A canceled subscription can only update its cancellation_details and metadata.", min(given - _OF_ENDED)
        )
    costly = given & {"items", "trial_end", "billing_cycle_anchor", "add_invoice_items"}
    if status == "incomplete" and costly:
        raise invalid(
            f"This subscription is incomplete. Its {', '.join(sorted(costly))} cannot be changed until its first "
            "invoice is paid.", min(costly),
        )  # fmt: skip
    if subscription["schedule"] is not None and any(params.get(name) not in (None, False) for name in _CANCELS):
        raise invalid(
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead."
        )
    if params.get("payment_behavior") == "pending_if_incomplete":
        _check_tentative(subscription, given)


def _check_tentative(subscription: Json, given: set[str]) -> None:
    other = sorted(given - _MAY_WAIT)
    if other:
        raise invalid(
            f"When `payment_behavior` is set to `pending_if_incomplete`, you cannot update {', '.join(other)}.",
            other[0],
        )
    if subscription["collection_method"] == "send_invoice":
        raise invalid(
            "`payment_behavior=pending_if_incomplete` cannot be used with `collection_method=send_invoice`.",
            "payment_behavior",
        )


def change_of(work: Work, subscription: Json, params: Json) -> Change:
    """What the parameters of an update ask for that may cost something; the date of a cancellation is set.

    Raises: ApiError for what excludes each other, or a date that is past.
    """
    refuse_both(params, *_CANCELS)
    end: Any = params.get("trial_end")
    return Change(
        items=params.get("items"),
        trial_end=bodies.moment(int(end), "trial_end") if end not in (None, "now") else end,
        anchor=(params.get("billing_cycle_anchor") or {}).get("type"),
        behavior=params.get("proration_behavior") or "create_prorations", at=params.get("proration_date"),
        cancel_at=_set_cancellation(work, subscription, params),
    )  # fmt: skip


def _set_cancellation(work: Work, subscription: Json, params: Json) -> int | str | None:
    at, at_end = params.get("cancel_at"), params.get("cancel_at_period_end")
    if at is None and at_end is None:
        return None
    if at == "" or at_end is False:
        if at_end is False and not subscription["cancel_at_period_end"] and at is None:
            return None
        subscription.update(cancel_at=None, cancel_at_period_end=False, canceled_at=None)
        subscription["cancellation_details"]["reason"] = None
        return ""
    ends = [int(item["current_period_end"]) for item in bodies.items_of(subscription)]
    named = {"min_period_end": min(ends), "max_period_end": max(ends), "max_billed_until": max(ends)}
    stop = min(ends) if at_end else named.get(str(at), at)
    if not isinstance(stop, int) or bodies.moment(stop, "cancel_at") <= work.now:
        raise invalid("`cancel_at` must be in the future.", "cancel_at")
    subscription.update(cancel_at=stop, cancel_at_period_end=bool(at_end), canceled_at=work.now)
    subscription["cancellation_details"]["reason"] = "cancellation_requested"
    return stop


def _set_discounts(work: Work, subscription: Json, params: Json) -> None:
    wanted = params.get("discounts")
    # An empty list changes nothing, an empty value takes all off ("Update a subscription").
    if wanted is None or wanted == []:
        return
    redeemed = discounts.redeem_all(
        work, wanted, customer=subscription["customer"], subscription=subscription["id"],
        currency=subscription["currency"],
    )  # fmt: skip
    kept = [discount["id"] for discount in redeemed]
    for id_ in list(subscription["discounts"]):
        if id_ not in kept:
            discounts.remove(work, id_)
    subscription["discounts"] = kept


def _set_pause(work: Work, subscription: Json, params: Json) -> None:
    if "pause_collection" not in params:
        return
    wanted = params["pause_collection"]
    if not wanted:
        subscription["pause_collection"] = None
        return
    resumes_at = wanted.get("resumes_at")
    if resumes_at is not None and bodies.moment(resumes_at, "pause_collection[resumes_at]") <= work.now:
        raise invalid("`resumes_at` must be in the future.", "pause_collection[resumes_at]")
    subscription["pause_collection"] = {"behavior": wanted["behavior"], "resumes_at": resumes_at}


def _settle(
    work: Work, subscription: Json, before: Json, invoice: Json, *, is_paid: bool, is_tentative: bool
) -> None:
    """What becomes of an update whose invoice is not paid at once."""
    if is_paid:
        return
    if is_tentative:
        _hold(work, subscription, before, invoice)
    elif subscription["status"] == "active":
        subscription["status"] = "past_due"


def _hold(work: Work, subscription: Json, before: Json, invoice: Json) -> None:
    """Undo an update until its invoice is paid ("Pending updates")."""
    state = {name: copied(subscription)[name] for name in _HELD}
    subscription.update({name: before[name] for name in _HELD})
    latest = work.now + bodies.INCOMPLETE_S
    ends = [bodies.period_end(subscription), subscription["trial_end"] or latest]
    expires_at = min([latest, *(end for end in ends if end > work.now)])
    subscription["_pending"] = {"invoice": invoice["id"], "state": state}
    moved = state["billing_cycle_anchor"] != before["billing_cycle_anchor"]
    subscription["pending_update"] = {
        "billing_cycle_anchor": state["billing_cycle_anchor"] if moved else None, "cancel_at_period_end": None,
        "discount": None, "discounts": None, "expires_at": expires_at, "metadata": None,
        "subscription_items": state["items"]["data"],
        "trial_end": state["trial_end"] if state["trial_end"] != before["trial_end"] else None,
        "trial_from_plan": None,
    }  # fmt: skip
