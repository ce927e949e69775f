"""What happens to subscriptions by itself: periods begin, trials end, what was to be paid in time was not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.invoices import close
from sandbox.subscriptions import bodies, changing, charges, ending, invoicing, pausing, phases, timers, updating
from sandbox.work import copied

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.errors import Json
    from sandbox.work import Work

SET_ASIDE: Final = "set_invoice_aside"
_HOUR: Final = 3_600


def renew(work: Work, id_: str) -> None:
    """A period is over: the next begins, with a draft of its invoice (the action `renew_subscription`)."""
    subscription = _running(work, id_)
    if subscription is None or subscription["status"] == "trialing" or bodies.period_end(subscription) > work.now:
        return
    before = copied(subscription)
    phases.enter_due(work, subscription)
    if subscription["status"] in bodies.ENDED or _end_if_due(work, subscription):
        return
    now = bodies.period_end(subscription)
    due = [item for item in bodies.items_of(subscription) if item["current_period_end"] <= now <= work.now]
    if due:
        _begin_periods(work, subscription, due, now)
    updating.keep(work, subscription, before)


def _begin_periods(work: Work, subscription: Json, due: list[Json], now: int) -> None:
    """Let the next periods of these items begin at a second, and draft the invoice for them."""
    past = (min(item["current_period_start"] for item in due), now)
    nets = charges.net_amounts(work, subscription)
    lines = [changing.next_period(work, subscription, item, now, nets) for item in due]
    collects = subscription["pause_collection"] is None and subscription["status"] != "unpaid"
    invoice = invoicing.new_invoice(
        work, subscription, lines, "subscription_cycle", period=past, auto_advance=collects
    )
    if invoice is not None and subscription["pause_collection"] is not None:
        clocks.schedule(work, subscription["customer"], work.now + _HOUR, SET_ASIDE, invoice["id"])


def end_trial(work: Work, id_: str) -> None:
    """A trial is over: the first paid period begins, unless there is no way to pay (the action `end_trial`)."""
    subscription = _running(work, id_)
    if subscription is None or subscription["status"] != "trialing" or bodies.period_end(subscription) > work.now:
        return
    before = copied(subscription)
    phases.enter_due(work, subscription)
    if subscription["status"] in bodies.ENDED or _end_if_due(work, subscription):
        return
    if subscription["status"] != "trialing" or subscription["trial_end"] > work.now:
        changing.cut(subscription)
        updating.keep(work, subscription, before)
        return
    lacks = _lacks_method(work, subscription)
    missing = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if lacks and missing == "cancel":
        ending.end(work, subscription)
        return
    if lacks and missing == "pause":
        pausing.enter(work, subscription, "trial_end_without_payment_method")
        updating.keep(work, subscription, before)
        work.emit("customer.subscription.paused", subscription)
        return
    subscription["status"] = "active"
    _begin_periods(work, subscription, bodies.items_of(subscription), subscription["trial_end"])
    updating.keep(work, subscription, before)


def _lacks_method(work: Work, subscription: Json) -> bool:
    return (
        subscription["collection_method"] == "charge_automatically"
        and bodies.default_method(work, subscription) is None
    )


def end(work: Work, id_: str) -> None:
    """The second has come at which a subscription was to end (the action `end_subscription`)."""
    subscription = _found(work, id_)
    if subscription is not None and subscription["status"] not in bodies.ENDED:
        phases.enter_due(work, subscription)
        _end_if_due(work, subscription)


def _end_if_due(work: Work, subscription: Json) -> bool:
    stop = subscription["cancel_at"]
    if stop is None or stop > work.now:
        return False
    if subscription["status"] not in bodies.ENDED:
        ending.end(work, subscription)
    return True


def expire_incomplete(work: Work, id_: str) -> None:
    """A first invoice was not paid in 23 hours: the subscription never began (the action `expire_incomplete`)."""
    subscription = _found(work, id_)
    if subscription is None or subscription["status"] != "incomplete":
        return
    if subscription["created"] + bodies.INCOMPLETE_S > work.now:
        return
    before = copied(subscription)
    ending.expire(work, subscription)
    _close(work, subscription["latest_invoice"])
    updating.keep(work, subscription, before)


def expire_pending_update(work: Work, id_: str) -> None:
    """An update was not paid in time: it is forgotten (the action `expire_pending_update`)."""
    subscription = _found(work, id_)
    if subscription is None or (subscription["pending_update"] or {}).get("expires_at", work.now + 1) > work.now:
        return
    before = copied(subscription)
    ending.drop_update(work, subscription)
    updating.keep(work, subscription, before)
    work.emit("customer.subscription.pending_update_expired", subscription)


def expire_resumption(work: Work, id_: str) -> None:
    """A resumption was not paid in time: the subscription stays paused (the action `expire_resumption`)."""
    subscription = _found(work, id_)
    if subscription is None or (subscription.get("_resuming", {}).get("expires_at") or work.now + 1) > work.now:
        return
    before = copied(subscription)
    ending.drop_resumption(work, subscription)
    updating.keep(work, subscription, before)


def remind_trial(work: Work, id_: str) -> None:
    """A trial ends in three days (the action `remind_trial`)."""
    subscription = _running(work, id_)
    if subscription is not None and subscription["status"] == "trialing":
        timers.warn_of_short_trial(work, subscription)


def resume_collection(work: Work, id_: str) -> None:
    """Invoices are collected again from now on (the action `resume_collection`)."""
    subscription = _found(work, id_)
    if subscription is None or ((subscription["pause_collection"] or {}).get("resumes_at") or work.now + 1) > work.now:
        return
    before = copied(subscription)
    subscription["pause_collection"] = None
    updating.keep(work, subscription, before)


def set_invoice_aside(work: Work, id_: str) -> None:
    """A renewal's draft is an hour old while collection is paused (the action `set_invoice_aside`)."""
    invoice = work.find("invoice", id_)
    subscription = work.find("subscription", (invoice or {}).get("_subscription") or "")
    if invoice is None or subscription is None or invoice["status"] != "draft":
        return
    if subscription["pause_collection"] is not None:
        invoicing.set_aside(work, subscription, work.edit("invoice", id_))


def close_invoice(work: Work, id_: str) -> None:
    """An invoice has nobody to pay it any more (the action `close_invoice`)."""
    _close(work, id_)


def _close(work: Work, id_: str | None) -> None:
    invoice = work.find("invoice", id_ or "")
    if invoice is not None and invoice["status"] in ("open", "uncollectible"):
        close.void(work, work.edit("invoice", invoice["id"]))


def _found(work: Work, id_: str) -> Json | None:
    found = work.find("subscription", id_)
    return None if found is None else work.edit("subscription", id_)


def _running(work: Work, id_: str) -> Json | None:
    subscription = _found(work, id_)
    return subscription if subscription is not None and subscription["status"] in bodies.RUNNING else None


ACTIONS: Final[dict[str, Callable[[Work, str], None]]] = {
    timers.RENEW: renew,
    timers.END_TRIAL: end_trial,
    timers.END: end,
    timers.EXPIRE: expire_incomplete,
    timers.EXPIRE_UPDATE: expire_pending_update,
    timers.EXPIRE_RESUMPTION: expire_resumption,
    timers.REMIND_TRIAL: remind_trial,
    timers.RESUME_COLLECTION: resume_collection,
    SET_ASIDE: set_invoice_aside,
    ending.CLOSE_INVOICE: close_invoice,
}
