"""What ties an invoice to its payment intents ("The Invoice Payment object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.ids import new_id

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def tie(work: Work, invoice: Json, intent: Json, *, is_default: bool) -> Json:
    """Have a payment intent pay an invoice when it succeeds; the default one is the invoice's own."""
    intent["_invoice"], intent["_is_default"] = invoice["id"], is_default
    return work.add(
        {
            "id": new_id("inpay"), "object": "invoice_payment", "amount_paid": None,
            "amount_requested": invoice["amount_remaining"], "created": work.now, "currency": invoice["currency"],
            "invoice": invoice["id"], "is_default": is_default, "livemode": False,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"}, "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None}, "_payment_intent": intent["id"],
        }
    )  # fmt: skip


def of_invoice(work: Work, invoice_id: str) -> list[Json]:
    """An invoice's payments, newest first, to be read only."""
    return work.listed("invoice_payment", link=("invoice", invoice_id))


def default_intent(work: Work, invoice: Json) -> Json | None:
    """The invoice's own payment intent, to be changed; None where there is none that could still pay."""
    for payment in of_invoice(work, invoice["id"]):
        if payment["is_default"] and payment["status"] == "open":
            return work.edit("payment_intent", payment["_payment_intent"])
    return None


def paying_intent(work: Work, invoice: Json) -> Json | None:
    """The payment intent that paid an invoice, to be read only; None for what was not paid with one."""
    for payment in of_invoice(work, invoice["id"]):
        if payment["status"] == "paid":
            return work.get("payment_intent", payment["_payment_intent"])
    return None


def synchronize(work: Work, invoice: Json) -> None:
    """Let the invoice's own payment intent be for what is left to pay ("is_default")."""
    intent = default_intent(work, invoice)
    if intent is None:
        return
    intent["amount"] = invoice["amount_remaining"]
    for payment in of_invoice(work, invoice["id"]):
        if payment["is_default"] and payment["status"] == "open":
            work.edit("invoice_payment", payment["id"])["amount_requested"] = invoice["amount_remaining"]


def mark_paid(work: Work, intent: Json, amount: int) -> None:
    """Note that a payment intent has paid; `invoice_payment.paid`."""
    for payment in work.listed("invoice_payment", link=("_payment_intent", intent["id"])):
        if payment["status"] == "open":
            body = work.edit("invoice_payment", payment["id"])
            body.update(amount_paid=amount, status="paid")
            body["status_transitions"]["paid_at"] = work.now
            work.emit("invoice_payment.paid", body)


def mark_canceled(work: Work, intent: Json) -> None:
    """Note that a payment intent will not pay any more."""
    for payment in work.listed("invoice_payment", link=("_payment_intent", intent["id"])):
        if payment["status"] == "open":
            body = work.edit("invoice_payment", payment["id"])
            body["status"] = "canceled"
            body["status_transitions"]["canceled_at"] = work.now
