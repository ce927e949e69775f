"""What becomes of a subscription when one of its invoices is paid, fails, or is given up ("How subscriptions work").

Invoices and payment methods import this, so it imports neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import clocks
from sandbox.invoices import payments
from sandbox.subscriptions import bodies, ending, timers
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def invoice_paid(work: Work, invoice: Json) -> None:
    """An invoice was paid: its subscription goes on, or begins.

    To be called once the invoice is `paid` and its events are out; an invoice of no subscription is none's matter.
    """
    subscription = _subscription(work, invoice)
    if subscription is None:
        return
    with clocks.time_of(work, subscription["customer"]):
        before = copied(subscription)
        _keep_method(work, subscription, invoice)
        pending, resuming = _waits(subscription, "_pending", invoice), _waits(subscription, "_resuming", invoice)
        if pending is not None:
            subscription.update(subscription.pop("_pending")["state"], pending_update=None)
        elif resuming is not None:
            resume(subscription, "active")
        elif subscription["status"] == "incomplete" and subscription["latest_invoice"] == invoice["id"]:
            begin(work, subscription)
        elif subscription["status"] in ("past_due", "unpaid") and _latest(work, subscription) == invoice["id"]:
            subscription["status"] = "active"
        _store(work, subscription, before)
        if pending is not None:
            work.emit("customer.subscription.pending_update_applied", subscription)
        if resuming is not None:
            work.emit("customer.subscription.resumed", subscription)


def invoice_processing(work: Work, invoice: Json) -> None:
    """A bank has yet to answer a debit that pays an invoice: a subscription that waits for it begins meanwhile."""
    subscription = _subscription(work, invoice)
    if subscription is None or subscription["status"] != "incomplete":
        return
    with clocks.time_of(work, subscription["customer"]):
        before = copied(subscription)
        begin(work, subscription)
        _store(work, subscription, before)


def invoice_failed(work: Work, invoice: Json, *, exhausted: bool, then: str = "cancel") -> None:
    """An attempt to collect an invoice failed, or needs the guest.

    Args:
        exhausted: no further attempt will be made by itself.
        then: what the account does when attempts are exhausted: "cancel", "unpaid" or "past_due".
    """
    subscription = _subscription(work, invoice)
    if subscription is None or invoice["billing_reason"] == "manual":
        return
    # Nothing of an update that waits for its payment has happened yet.
    if "_trying" in subscription or _waits(subscription, "_pending", invoice) is not None:
        return
    with clocks.time_of(work, subscription["customer"]):
        before = copied(subscription)
        resuming = _waits(subscription, "_resuming", invoice)
        if resuming is not None:
            if resuming["on"] == "resume_on_payment_attempt":
                resume(subscription, "past_due")
                _store(work, subscription, before)
                work.emit("customer.subscription.resumed", subscription)
            return
        if subscription["status"] == "active" and _latest(work, subscription) == invoice["id"]:
            subscription["status"] = "past_due"
        if exhausted and subscription["status"] == "past_due" and then == "unpaid":
            subscription["status"] = "unpaid"
        _store(work, subscription, before)
        if exhausted and subscription["status"] == "past_due" and then == "cancel":
            ending.end(work, subscription, "payment_failed")


def invoice_closed(work: Work, invoice: Json) -> None:
    """An invoice was voided or is uncollectible: what waited for its payment waits no more."""
    subscription = _subscription(work, invoice)
    if subscription is None:
        return
    with clocks.time_of(work, subscription["customer"]):
        before = copied(subscription)
        pending, resuming = _waits(subscription, "_pending", invoice), _waits(subscription, "_resuming", invoice)
        is_void = invoice["status"] == "void"
        if pending is not None:
            del subscription["_pending"]
            subscription["pending_update"] = None
        elif resuming is not None and is_void:
            del subscription["_resuming"]
        elif resuming is not None:
            resume(subscription, "active")
        elif subscription["status"] == "incomplete" and is_void and subscription["latest_invoice"] == invoice["id"]:
            ending.expire(work, subscription)
        elif subscription["status"] in ("past_due", "unpaid") and not _owes(work, subscription):
            subscription["status"] = "active"
        _store(work, subscription, before)
        if pending is not None:
            work.emit("customer.subscription.pending_update_expired", subscription)
        if resuming is not None and not is_void:
            work.emit("customer.subscription.resumed", subscription)


def setup_succeeded(work: Work, intent: Json) -> None:
    """A setup intent has succeeded: a subscription that asked for a method has one (`pending_setup_intent`)."""
    id_ = intent.get("_subscription")
    if id_ is None or (work.find("subscription", id_) or {}).get("pending_setup_intent") != intent["id"]:
        return
    subscription = work.edit("subscription", id_)
    with clocks.time_of(work, subscription["customer"]):
        before = copied(subscription)
        subscription["pending_setup_intent"] = None
        if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
            subscription["default_payment_method"] = intent["payment_method"]
        _store(work, subscription, before)


def method_detached(work: Work, method: str, customer: str) -> None:
    """A payment method is the customer's no more: no subscription is paid with it."""
    for found in work.listed("subscription", link=("customer", customer)):
        if found["default_payment_method"] == method and found["status"] not in bodies.ENDED:
            subscription = work.edit("subscription", found["id"])
            with clocks.time_of(work, customer):
                before = copied(subscription)
                subscription["default_payment_method"] = None
                _store(work, subscription, before)


def begin(work: Work, subscription: Json) -> None:
    """What had to be paid for a subscription to begin is paid, or as good as."""
    end = subscription["trial_end"]
    subscription["status"] = "trialing" if end is not None and end > work.now else "active"


def resume(subscription: Json, status: str) -> None:
    """Let a paused subscription go on as it was to."""
    resuming = subscription.pop("_resuming", {})
    subscription.update(resuming.get("state", {}), status=status, status_details=None)


def _subscription(work: Work, invoice: Json) -> Json | None:
    """The invoice's subscription, to be changed; None for what has none, or one that has ended."""
    id_ = invoice["_subscription"]
    found = work.find("subscription", id_) if id_ is not None else None
    return work.edit("subscription", found["id"]) if found and found["status"] not in bodies.ENDED else None


def _waits(subscription: Json, name: str, invoice: Json) -> Any:
    """What waits for an invoice to be paid, under a hidden name; None where nothing does."""
    waiting = subscription.get(name)
    return waiting if waiting is not None and waiting["invoice"] == invoice["id"] else None


def _finalized(work: Work, subscription: Json) -> list[Json]:
    """The subscription's invoices that are final and not void, newest first."""
    invoices = work.listed("invoice", link=("_subscription", subscription["id"]))
    return [invoice for invoice in invoices if invoice["status"] not in ("draft", "void")]


def _latest(work: Work, subscription: Json) -> str | None:
    """The id of the last invoice that asked for money; an update that waits for its payment does not count."""
    waiting = (subscription.get("_pending") or {}).get("invoice")
    return next((one["id"] for one in _finalized(work, subscription) if one["id"] != waiting), None)


def _owes(work: Work, subscription: Json) -> bool:
    return next((one["status"] == "open" for one in _finalized(work, subscription)), False)


def _keep_method(work: Work, subscription: Json, invoice: Json) -> None:
    """Pay with what has paid from now on, where that is asked for (`save_default_payment_method`)."""
    if subscription["payment_settings"]["save_default_payment_method"] != "on_subscription":
        return
    intent = payments.paying_intent(work, invoice)
    method = work.find("payment_method", (intent or {}).get("payment_method") or "")
    if method is not None and method["customer"] == subscription["customer"]:
        subscription["default_payment_method"] = method["id"]


def _store(work: Work, subscription: Json, before: Json) -> None:
    """Tell of what has changed, unless what is going on will."""
    if "_quiet" in subscription:
        return
    bodies.keep_items(work, subscription)
    timers.plan(work, subscription)
    work.emit_updated("customer.subscription.updated", subscription, before)
