"""The other ends of an invoice: void, uncollectible, deleted ("Void an invoice", "Mark an invoice uncollectible")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import clocks
from sandbox.errors import ApiError, Json, invalid
from sandbox.invoices import draft, payments, settle
from sandbox.resources import customers
from sandbox.resources.payment_intents import cancel_intent
from sandbox.subscriptions import lifecycle
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.work import Work


def void(work: Work, invoice: Json) -> None:
    """Void a finalized invoice that is not paid; its payment intent is canceled, used balance comes back.

    Raises: ApiError for another status, or where a debit is under way.
    """
    if invoice["status"] not in ("open", "uncollectible"):
        raise _wrong_status(invoice, "void")
    before = copied(invoice)
    cancel_intents(work, invoice, "void_invoice")
    invoice.update(status="void", auto_advance=False, next_payment_attempt=None, status_details=None)
    invoice["status_transitions"]["voided_at"] = work.now
    used = invoice["ending_balance"] - invoice["starting_balance"]
    settle.move_balance(work, invoice, -used, "unapplied_from_invoice")
    work.emit_updated("invoice.updated", invoice, before)
    work.emit("invoice.voided", invoice)
    lifecycle.invoice_closed(work, invoice)


def mark_uncollectible(work: Work, invoice: Json, reason: str = "user_forgiven") -> None:
    """Give an open invoice up; it can still be paid or voided.

    Raises: ApiError for another status, or where a debit is under way.
    """
    if invoice["status"] != "open":
        raise _wrong_status(invoice, "mark uncollectible")
    before = copied(invoice)
    cancel_intents(work, invoice, "failed_invoice")
    invoice.update(
        status="uncollectible", auto_advance=False, next_payment_attempt=None,
        status_details={"uncollectible": {"reason": reason}},
    )  # fmt: skip
    invoice["status_transitions"]["marked_uncollectible_at"] = work.now
    customers.set_delinquent(work, invoice["customer"], False)
    work.emit_updated("invoice.updated", invoice, before)
    work.emit("invoice.marked_uncollectible", invoice)
    lifecycle.invoice_closed(work, invoice)


def pay_out_of_band(work: Work, invoice: Json) -> None:
    """Note that an invoice was paid outside of Stripe; `invoice.paid`.

    Raises: ApiError where a debit is under way.
    """
    before = copied(invoice)
    cancel_intents(work, invoice, None)
    amount = invoice["amount_remaining"]
    invoice["amount_paid"] += amount
    invoice["amount_paid_off_stripe"] += amount
    invoice["amount_remaining"] = 0
    settle.close_as_paid(work, invoice, before)
    lifecycle.invoice_paid(work, invoice)


def delete_draft(work: Work, invoice: Json) -> Json:
    """Delete a draft; its items wait for the next invoice again; `invoice.deleted`.

    Raises: ApiError for what is no draft, or is a subscription's.
    """
    if invoice["status"] != "draft":
        raise invalid(
            "You can only delete draft invoices. To remove a finalized invoice, void it.", code="invoice_not_editable"
        )
    if invoice["_subscription"] is not None:
        raise invalid("You can't delete invoices created by subscriptions.")
    draft.schedule_finalization(work, invoice, None)
    for item in work.listed("invoiceitem", link=("invoice", invoice["id"])):
        work.edit("invoiceitem", item["id"])["invoice"] = None
    work.emit("invoice.deleted", invoice)
    return work.remove("invoice", invoice["id"])


def release(work: Work, invoice_id: str) -> None:
    """An invoice was paid by other means: its payment intent is not needed (the action `release_invoice_intents`)."""
    invoice = work.find("invoice", invoice_id)
    if invoice is not None and invoice["status"] == "paid":
        cancel_intents(work, invoice, None)


def cancel_intents(work: Work, invoice: Json, reason: str | None) -> None:
    """Let an invoice be collected no more.

    Raises: ApiError where a debit is under way.
    """
    refuse_processing(work, invoice)
    for action in (settle.RETRY, settle.DUE):
        clocks.unschedule(work, action, invoice["id"])
    intent = payments.default_intent(work, invoice)
    if intent is not None:
        with clocks.real_time(work):
            cancel_intent(work, intent, reason)


def refuse_processing(work: Work, invoice: Json) -> None:
    """Refuse what cannot be done while a bank has yet to answer a debit for an invoice.

    Raises: ApiError.
    """
    for payment in payments.of_invoice(work, invoice["id"]):
        intent = work.get("payment_intent", payment["_payment_intent"])
        if payment["status"] == "open" and intent["status"] == "processing":
            raise invalid(f"Invoice {invoice['id']} has a payment that is being processed.")


def _wrong_status(invoice: Json, wish: str) -> ApiError:
    return invalid(
        f"You can only {wish} an invoice that is open{' or uncollectible' if wish == 'void' else ''}. This one is "
        f"{invoice['status']}."
    )
