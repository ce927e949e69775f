"""Collecting an open invoice: the first try and the retries ("Automate payment retries")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import clocks
from sandbox.errors import ApiError, Json, invalid
from sandbox.invoices import payments, settle
from sandbox.invoices.finalize import finalize_by_itself, make_intent
from sandbox.invoices.methods import default_method
from sandbox.invoices.policy import HARD_DECLINES
from sandbox.resources import confirmation
from sandbox.work import visible

if TYPE_CHECKING:
    from sandbox.work import Work


def collect(
    work: Work, invoice: Json, *, payment_method: str | None = None, off_session: bool = True, raises: bool = False
) -> None:
    """Try to pay an open invoice with the method given, or its own, or the subscription's, or the customer's.

    Outcomes: paid (`invoice.paid`, `invoice.payment_succeeded`); needs the customer (`invoice.payment_failed`,
    `invoice.payment_action_required`); declined (`invoice.payment_failed`, and a next attempt where the invoice
    advances by itself); a debit that is under way. The subscription's side hears of each through `lifecycle`.

    Raises: ApiError, only where `raises` is true: card_error for a decline, and
        invoice_payment_intent_requires_action, which both stay; invalid_request_error where there is no method.
    """
    method = payment_method or default_method(work, invoice)
    if method is None:
        if raises:
            raise invalid(
                "This customer has no attached payment source or default payment method. Please consider adding a "
                "default payment method. For more information, visit "
                "https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.",
                code="resource_missing",
            )
        settle.not_paid(work, invoice)
        return
    intent = payments.default_intent(work, invoice) or make_intent(work, invoice)
    if intent["status"] == "processing":
        if raises:
            raise invalid("This invoice's payment is already being processed.", code="payment_intent_unexpected_state")
        return
    intent.update(payment_method=method, status="requires_confirmation")
    try:
        with clocks.real_time(work):
            confirmation.confirm(work, intent, off_session=off_session)
    except ApiError as error:
        if not error.keeps_changes:
            # Not the bank's refusal but a method that cannot be used at all, as one that was detached.
            intent.update(payment_method=None, status="requires_payment_method")
        if raises:
            raise
        if not error.keeps_changes:
            settle.not_paid(work, invoice)
        return
    if intent["status"] == "processing":
        settle.under_way(work, invoice)
    if intent["status"] == "requires_action":
        settle.not_paid(work, invoice)
        if raises:
            raise _requires_action(intent)


def _requires_action(intent: Json) -> ApiError:
    return ApiError(
        "This payment requires additional user action before it can be completed successfully. Payment can be "
        "completed using the PaymentIntent associated with the invoice. For more details see: "
        "https://stripe.com/docs/billing/subscriptions/overview#requires-action", status=402, type_="card_error",
        code="invoice_payment_intent_requires_action", keeps_changes=True,
        payment_intent=visible(intent),
    )  # fmt: skip


def advance(work: Work, invoice_id: str) -> None:
    """A draft's hour is over: it is finalized and collected (the action `finalize_invoice`)."""
    if work.find("invoice", invoice_id) is None:
        return
    invoice = work.edit("invoice", invoice_id)
    if invoice["status"] != "draft" or not finalize_by_itself(work, invoice):
        return
    if invoice["status"] != "open" or not invoice["auto_advance"]:
        return
    if invoice["collection_method"] == "charge_automatically":
        collect(work, invoice)
    else:
        send(work, invoice)


def send(work: Work, invoice: Json) -> None:
    """An open invoice goes to the customer by mail, which here is an event; `invoice.sent`."""
    work.emit("invoice.sent", invoice)


def retry(work: Work, invoice_id: str) -> None:
    """It is time for the next attempt (the action `retry_invoice`)."""
    if work.find("invoice", invoice_id) is None:
        return
    invoice = work.edit("invoice", invoice_id)
    if not settle.is_retried(invoice) or (invoice["next_payment_attempt"] or work.now + 1) > work.now:
        return
    invoice["_is_retry"] = True
    declined = invoice.get("_declined") or {"codes": (), "payment_method": None}
    if HARD_DECLINES & set(declined["codes"]) and declined["payment_method"] == default_method(work, invoice):
        settle.not_tried(work, invoice)
        return
    collect(work, invoice)


def fall_due(work: Work, invoice_id: str) -> None:
    """The day has come by which an invoice that was sent should have been paid (the action `invoice_due`)."""
    if work.find("invoice", invoice_id) is None:
        return
    invoice = work.edit("invoice", invoice_id)
    if invoice["status"] == "open":
        settle.overdue(work, invoice)
