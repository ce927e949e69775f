"""What becomes of an invoice when its payment succeeds, fails, or needs the customer ("The Invoice object").

The hooks are called by what confirms payment intents, whoever confirmed: the account's own collection, a request, or
the customer's browser. Payments happen in real time, their invoices in the customer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.invoices import payments
from sandbox.invoices.policy import policy
from sandbox.resources import customers
from sandbox.subscriptions import lifecycle
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

RETRY: Final = "retry_invoice"
DUE: Final = "invoice_due"
RELEASE: Final = "release_invoice_intents"
_DAY: Final = 86_400


def intent_succeeded(work: Work, intent: Json) -> None:
    """A payment intent has succeeded: its invoice is paid, if it has one."""
    if intent.get("_invoice") is None:
        return
    invoice = work.edit("invoice", intent["_invoice"])
    with clocks.time_of(work, invoice["customer"]):
        amount = intent["amount_received"]
        if invoice["status"] not in ("open", "uncollectible"):
            _overpaid(work, invoice, intent, amount)
            return
        before = copied(invoice)
        _count(invoice)
        credited = min(amount, invoice["amount_remaining"])
        invoice["amount_paid"] += credited
        invoice["amount_remaining"] -= credited
        if invoice["amount_remaining"] > 0:
            payments.mark_paid(work, intent, credited)
            payments.synchronize(work, invoice)
            work.emit_updated("invoice.updated", invoice, before)
            return
        if not intent["_is_default"]:
            work.later(RELEASE, invoice["id"], after_s=0)
        close_as_paid(work, invoice, before)
        work.emit("invoice.payment_succeeded", invoice)
        payments.mark_paid(work, intent, credited)
        if amount > credited:
            _overpaid(work, invoice, intent, amount - credited)
        lifecycle.invoice_paid(work, invoice)


def close_as_paid(work: Work, invoice: Json, before: Json) -> None:
    """Mark an invoice paid that nothing is left to pay of: `invoice.updated`, `invoice.paid`."""
    invoice.update(status="paid", auto_advance=False, next_payment_attempt=None, status_details=None)
    invoice["status_transitions"]["paid_at"] = work.now
    for action in (RETRY, DUE):
        clocks.unschedule(work, action, invoice["id"])
    customers.set_delinquent(work, invoice["customer"], False)
    work.emit_updated("invoice.updated", invoice, before)
    work.emit("invoice.paid", invoice)


def _overpaid(work: Work, invoice: Json, intent: Json, amount: int) -> None:
    """Money for an invoice that wants none any more is kept for the customer ("amount_overpaid")."""
    before = copied(invoice)
    invoice["amount_overpaid"] += amount
    payments.mark_paid(work, intent, 0)
    move_balance(work, invoice, -amount, "invoice_overpaid")
    work.emit_updated("invoice.updated", invoice, before)
    work.emit("invoice.overpaid", invoice)


def move_balance(work: Work, invoice: Json, amount: int, type_: str) -> None:
    """Move the balance of an invoice's customer, who may have been deleted meanwhile."""
    if amount and work.find("customer", invoice["customer"]) is not None:
        customers.change_balance(
            work, invoice["customer"], amount, type_, invoice["id"], currency=invoice["currency"]
        )


def intent_failed(work: Work, intent: Json) -> None:
    """A try to pay has failed: a decline, a challenge that was not passed, a debit that bounced."""
    if intent.get("_invoice") is None:
        return
    invoice = work.edit("invoice", intent["_invoice"])
    if invoice["status"] not in ("open", "uncollectible"):
        return
    error = intent["last_payment_error"] or {}
    method = (error.get("payment_method") or {}).get("id")
    charge = work.any(error.get("charge") or "") or {}
    # Of a payment that was blocked for its risk, the charge alone says so.
    codes = [error.get("decline_code"), (charge.get("outcome") or {}).get("reason")]
    invoice["_declined"] = {"codes": codes, "payment_method": method}
    with clocks.time_of(work, invoice["customer"]):
        not_paid(work, invoice)


def intent_needs_action(work: Work, intent: Json) -> None:
    """A payment waits for the customer to authenticate; `invoice.payment_action_required`."""
    if intent.get("_invoice") is None:
        return
    invoice = work.edit("invoice", intent["_invoice"])
    with clocks.time_of(work, invoice["customer"]):
        under_way(work, invoice)
        work.emit("invoice.payment_action_required", invoice)


def intent_processing(work: Work, intent: Json) -> None:
    """A bank has yet to answer a debit; what the invoice is for begins meanwhile."""
    if intent.get("_invoice") is not None:
        lifecycle.invoice_processing(work, work.get("invoice", intent["_invoice"]))


def under_way(work: Work, invoice: Json) -> None:
    """An attempt has begun that is not decided yet."""
    before = copied(invoice)
    _count(invoice)
    work.emit_updated("invoice.updated", invoice, before)


def not_paid(work: Work, invoice: Json) -> None:
    """An attempt has come to nothing: the next one is scheduled, or there is none; `invoice.payment_failed`."""
    before = copied(invoice)
    is_last = _schedule_next(work, invoice)
    work.emit_updated("invoice.updated", invoice, before)
    work.emit("invoice.payment_failed", invoice)
    customers.set_delinquent(work, invoice["customer"], True)
    if is_last:
        _give_up(work, invoice)
    else:
        lifecycle.invoice_failed(work, invoice, exhausted=False)


def not_tried(work: Work, invoice: Json) -> None:
    """The bank has said that the method will never do, and there is no other: the attempt counts, but is not made."""
    before = copied(invoice)
    is_last = _schedule_next(work, invoice)
    work.emit_updated("invoice.updated", invoice, before)
    if is_last:
        _give_up(work, invoice)


def overdue(work: Work, invoice: Json) -> None:
    """An invoice that was sent to the customer was not paid by its date."""
    customers.set_delinquent(work, invoice["customer"], True)
    lifecycle.invoice_failed(work, invoice, exhausted=False)


def _count(invoice: Json) -> None:
    # After the first attempt, whoever made it, only those count that the account makes by itself.
    if invoice.pop("_is_retry", False):
        invoice.update(attempt_count=invoice["attempt_count"] + 1, next_payment_attempt=None)
    invoice.update(attempted=True, attempt_count=max(1, invoice["attempt_count"]))


def _schedule_next(work: Work, invoice: Json) -> bool:
    """Count an attempt and plan the next; whether it was the last that the account makes by itself."""
    _count(invoice)
    if not is_retried(invoice) or invoice["next_payment_attempt"] is not None:
        return False
    days, done = policy(work.store).retry_days, invoice["attempt_count"]
    if done > len(days):
        return True
    due = work.now + days[done - 1] * _DAY
    invoice["next_payment_attempt"] = due
    clocks.schedule(work, invoice["customer"], due, RETRY, invoice["id"])
    return False


def _give_up(work: Work, invoice: Json) -> None:
    """No attempt is left: what the account's settings say becomes of invoice and subscription."""
    settings = policy(work.store)
    before = copied(invoice)
    invoice["auto_advance"] = False
    if settings.invoice == "uncollectible":
        invoice["status"] = "uncollectible"
        invoice["status_transitions"]["marked_uncollectible_at"] = work.now
        invoice["status_details"] = {"uncollectible": {"reason": "max_payment_attempts"}}
    work.emit_updated("invoice.updated", invoice, before)
    if settings.invoice == "uncollectible":
        work.emit("invoice.marked_uncollectible", invoice)
    lifecycle.invoice_failed(work, invoice, exhausted=True, then=settings.then)


def is_retried(invoice: Json) -> bool:
    """Whether the account tries again by itself; the invoice that begins a subscription does not advance."""
    is_charged = invoice["collection_method"] == "charge_automatically"
    return bool(invoice["auto_advance"] and invoice["status"] == "open" and is_charged)

