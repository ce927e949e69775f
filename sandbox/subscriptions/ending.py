"""The end of a subscription, whoever or whatever ends it ("Cancel subscriptions")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.subscriptions import bodies, timers
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

CLOSE_INVOICE: Final = "close_invoice"
# As the invoices name it, which import what is here.
_FINALIZE: Final = "finalize_invoice"
_PHASES: Final = ("next_phase", "remind_schedule")


def end(work: Work, subscription: Json, reason: str | None = None) -> None:
    """End a subscription now: `customer.subscription.deleted`.

    Its open invoices are not collected by themselves any more, and what waited for a payment is dropped.

    Args:
        subscription: is being edited.
        reason: for `cancellation_details`, where there is none yet.
    """
    was_incomplete = subscription["status"] == "incomplete"
    subscription.update(
        status="incomplete_expired" if was_incomplete else "canceled", ended_at=work.now, status_details=None
    )
    subscription["canceled_at"] = subscription["canceled_at"] or work.now
    details = subscription["cancellation_details"]
    details["reason"] = reason or details["reason"]
    drop_update(work, subscription)
    drop_resumption(work, subscription)
    if was_incomplete and subscription["latest_invoice"] is not None:
        close_soon(work, subscription, subscription["latest_invoice"])
    stop_collection(work, subscription)
    _end_schedule(work, subscription, "aborted" if reason == "payment_failed" else "canceled")
    bodies.keep_items(work, subscription)
    timers.plan(work, subscription)
    work.emit("customer.subscription.deleted", subscription)


def expire(work: Work, subscription: Json) -> None:
    """A subscription whose first invoice is not paid in time, or is void, has never begun."""
    subscription.update(status="incomplete_expired", ended_at=work.now)
    stop_collection(work, subscription)
    _end_schedule(work, subscription, "canceled")


def drop_update(work: Work, subscription: Json) -> bool:
    """Forget an update that waits for its payment, whose invoice is voided; False where there is none."""
    pending = subscription.pop("_pending", None)
    if pending is None:
        return False
    subscription["pending_update"] = None
    close_soon(work, subscription, pending["invoice"])
    return True


def drop_resumption(work: Work, subscription: Json) -> bool:
    """Forget a resumption that waits for its payment, whose invoice is voided; False where there is none."""
    resuming = subscription.pop("_resuming", None)
    if resuming is None:
        return False
    close_soon(work, subscription, resuming["invoice"])
    return True


def close_soon(work: Work, subscription: Json, invoice: str) -> None:
    """Have an invoice voided that nobody is to pay any more, right after what is going on."""
    clocks.schedule(work, subscription["customer"], work.now, CLOSE_INVOICE, invoice)


def stop_collection(work: Work, subscription: Json) -> None:
    """Collect the subscription's invoices by itself no more; they can still be paid."""
    for invoice in work.listed("invoice", link=("_subscription", subscription["id"])):
        if invoice["status"] in ("draft", "open") and (invoice["auto_advance"] or invoice["next_payment_attempt"]):
            body = work.edit("invoice", invoice["id"])
            before = copied(body)
            clocks.unschedule(work, _FINALIZE, invoice["id"])
            body.update(auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None)
            work.emit_updated("invoice.updated", body, before)


def _end_schedule(work: Work, subscription: Json, word: str) -> None:
    id_ = subscription["schedule"]
    if id_ is None:
        return
    schedule = work.edit("subscription_schedule", id_)
    schedule.update(status="canceled", canceled_at=work.now, current_phase=None)
    for action in _PHASES:
        clocks.unschedule(work, action, id_)
    work.emit(f"subscription_schedule.{word}", schedule)
