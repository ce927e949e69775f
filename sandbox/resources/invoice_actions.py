"""What is done with an invoice: finalized, paid, sent, given up ("The Invoice object")."""

from __future__ import annotations

from typing import Final

from sandbox.errors import ApiError, Json, invalid, missing_param
from sandbox.invoices import close, collect, finalize, payments, settle
from sandbox.operations import Call, Operation, refuse_both
from sandbox.resources.invoices import attempt_soon, to_edit
from sandbox.resources.payment_methods import resolve
from sandbox.work import copied


def finalize_call(call: Call) -> Json:
    """ "Finalize an invoice"; one that advances by itself is collected an hour on."""
    invoice = to_edit(call)
    if "auto_advance" in call.params:
        invoice["auto_advance"] = call.params["auto_advance"]
    finalize.finalize(call.work, invoice)
    before = copied(invoice)
    attempt_soon(call, invoice)
    call.work.emit_updated("invoice.updated", invoice, before)
    return invoice


def pay(call: Call) -> Json:
    """ "Pay an invoice", which finalizes a draft first.

    Raises: ApiError card_error for a decline; invoice_payment_intent_requires_action; both stay in the invoice.
    """
    work = call.work
    invoice = to_edit(call)
    if invoice["status"] in ("paid", "void"):
        raise invalid(f"Invoice is already {'paid' if invoice['status'] == 'paid' else 'voided'}")
    refuse_both(call.params, "payment_method", "source")
    if call.given("source"):
        raise invalid("Sources are not built into the sandbox.", "source")
    method = _method_of_customer(call, invoice)
    was_draft = invoice["status"] == "draft"
    if was_draft:
        finalize.finalize(work, invoice)
    if invoice["status"] == "paid":
        return invoice
    if call.param("paid_out_of_band"):
        close.pay_out_of_band(work, invoice)
        return invoice
    if invoice["collection_method"] == "send_invoice" and method is None:
        method = _default_of_customer(call, invoice)
    try:
        collect.collect(
            work, invoice, payment_method=method, off_session=call.param("off_session", True), raises=True
        )
    except ApiError as error:
        # A draft that could not be paid is final all the same.
        error.keeps_changes = error.keeps_changes or was_draft
        raise
    return invoice


def _method_of_customer(call: Call, invoice: Json) -> str | None:
    id_ = call.given("payment_method")
    if id_ is None:
        return None
    method = resolve(call.work, id_)
    if method["customer"] != invoice["customer"]:
        raise invalid(
            f"The customer does not have a payment method with the ID {method['id']}. The payment method must be "
            "attached to the customer.", "payment_method", "resource_missing",
        )  # fmt: skip
    return str(method["id"])


def _default_of_customer(call: Call, invoice: Json) -> str | None:
    """What an invoice that was sent is paid with where the request does not say."""
    customer = call.work.get("customer", invoice["customer"])
    method = invoice["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    return None if method is None else str(method)


def void(call: Call) -> Json:
    """ "Void an invoice"."""
    invoice = to_edit(call)
    close.void(call.work, invoice)
    return invoice


def mark_uncollectible(call: Call) -> Json:
    """ "Mark an invoice as uncollectible"."""
    invoice = to_edit(call)
    close.mark_uncollectible(call.work, invoice)
    return invoice


def send(call: Call) -> Json:
    """ "Send an invoice for manual payment", which finalizes a draft first."""
    invoice = to_edit(call)
    if invoice["collection_method"] != "send_invoice":
        raise invalid("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if invoice["status"] == "draft":
        finalize.finalize(call.work, invoice)
    elif invoice["status"] != "open":
        raise invalid(f"You can only send an invoice that is open. This one is {invoice['status']}.")
    collect.send(call.work, invoice)
    return invoice


def attach_payment(call: Call) -> Json:
    """ "Attach a payment to an Invoice": another payment intent, which may have succeeded before."""
    work = call.work
    invoice = to_edit(call)
    if call.given("payment_record"):
        raise invalid("Payment records are not built into the sandbox.", "payment_record")
    if not call.given("payment_intent"):
        raise missing_param("payment_intent")
    intent = work.get("payment_intent", call.params["payment_intent"], "payment_intent")
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(f"You can only attach a payment to an invoice that is open. This one is {invoice['status']}.")
    if intent.get("_invoice") is not None or intent["currency"] != invoice["currency"]:
        raise invalid(
            "The PaymentIntent must be in the invoice's currency and not be attached to an invoice.", "payment_intent"
        )
    if intent["customer"] not in (None, invoice["customer"]) or intent["status"] == "canceled":
        raise invalid("The PaymentIntent must be the customer's, and not canceled.", "payment_intent")
    intent = work.edit("payment_intent", intent["id"])
    payments.tie(work, invoice, intent, is_default=False)
    if intent["status"] == "succeeded":
        settle.intent_succeeded(work, intent)
    return invoice


_ONE: Final = "/v1/invoices/{invoice}"

OPERATIONS = (
    Operation("POST", f"{_ONE}/finalize", finalize_call, "invoice_finalize_invoice"),
    Operation("POST", f"{_ONE}/pay", pay, "invoice_pay"),
    Operation("POST", f"{_ONE}/void", void, "invoice_void_invoice"),
    Operation("POST", f"{_ONE}/mark_uncollectible", mark_uncollectible, "invoice_mark_uncollectible"),
    Operation("POST", f"{_ONE}/send", send, "invoice_send_invoice"),
    Operation("POST", f"{_ONE}/attach_payment", attach_payment, "invoice_attach_payment"),
)
