"""Finalizing an invoice ("Status transitions and finalization")."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from sandbox import clocks, money
from sandbox.errors import ApiError, Json, invalid
from sandbox.ids import new_id, random_text
from sandbox.invoices import draft, payments, settle, totals
from sandbox.invoices.methods import default_method, types_of
from sandbox.resources.payment_intents import intent_body
from sandbox.subscriptions import lifecycle
from sandbox.work import Work, copied

_DESCRIPTIONS: Final = {"subscription_create": "Subscription creation"}


def finalize(work: Work, invoice: Json) -> None:
    """Turn a draft into an open invoice with its payment intent, or a paid one where nothing is due.

    A paid one tells the subscription's side at once (`lifecycle.invoice_paid`).

    Args:
        invoice: to be changed, as from `work.edit("invoice", …)` or `new_invoice`.

    Raises: ApiError for what is no draft, or comes to more than can be charged.
    """
    if invoice["status"] != "draft":
        raise invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.", code="invoice_not_editable"
        )
    before = copied(invoice)
    draft.schedule_finalization(work, invoice, None)
    customer = work.get("customer", invoice["customer"])
    draft.copy_customer(invoice, customer)
    invoice["parent"] = draft.parent(work, invoice["_subscription"])
    totals.refresh(work, invoice)
    if invoice["amount_due"] > money.MAX_AMOUNT:
        raise invalid(
            f"Amount must be no more than {money.shown(money.MAX_AMOUNT, invoice['currency'])} {invoice['currency']}.",
            code="amount_too_large",
        )  # fmt: skip
    invoice["number"] = invoice["number"] or _next_number(work, invoice["customer"])
    invoice["status"], invoice["last_finalization_error"] = "open", None
    invoice["status_transitions"]["finalized_at"] = work.now
    invoice["effective_at"] = invoice["effective_at"] or work.now
    _give_addresses(work, invoice)
    _take_balance(work, invoice)
    if invoice["amount_due"] > 0:
        make_intent(work, invoice)
    if invoice["due_date"] is not None and invoice["amount_due"] > 0:
        clocks.schedule(work, invoice["customer"], invoice["due_date"], settle.DUE, invoice["id"])
    work.emit("invoice.finalized", invoice)
    work.emit_updated("invoice.updated", invoice, before)
    if invoice["amount_due"] == 0:
        before = copied(invoice)
        invoice["attempted"] = True
        settle.close_as_paid(work, invoice, before)
        work.emit("invoice.payment_succeeded", invoice)
        lifecycle.invoice_paid(work, invoice)


def finalize_by_itself(work: Work, invoice: Json) -> bool:
    """Finalize a draft whose time has come; False where it cannot be, which the invoice then says."""
    try:
        finalize(work, invoice)
    except ApiError as error:
        before = copied(invoice)
        reason = error.body("")["error"]
        invoice.update(status="draft", auto_advance=False)
        invoice["last_finalization_error"] = {name: reason.get(name) for name in ("code", "message", "type")}
        work.emit_updated("invoice.updated", invoice, before)
        work.emit("invoice.finalization_failed", invoice)
        return False
    return True


def _next_number(work: Work, customer_id: str) -> str:
    """The customer's own sequence: `ABCD1234-0001`."""
    customer = work.edit("customer", customer_id)
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04}"
    customer["next_invoice_sequence"] += 1
    return number


def _give_addresses(work: Work, invoice: Json) -> None:
    invoice["_token"] = random_text(32)
    page = f"{work.base_url}/invoices/{invoice['id']}/{invoice['_token']}"
    invoice["hosted_invoice_url"], invoice["invoice_pdf"] = page, f"{page}/pdf"


def _take_balance(work: Work, invoice: Json) -> None:
    """Use the customer's balance; a total below zero, or too small to charge, goes there."""
    currency, starting, due = invoice["currency"], invoice["starting_balance"], invoice["amount_due"]
    type_ = "applied_to_invoice"
    ending = min(0, starting + invoice["total"])
    if 0 < due < money.least(currency):
        type_, ending, due = "invoice_too_small", due, 0
    if invoice["total"] < 0:
        ending, due = starting + invoice["total"], 0
    settle.move_balance(work, invoice, ending - starting, type_)
    invoice.update(ending_balance=ending, amount_due=due, amount_remaining=due)


def make_intent(work: Work, invoice: Json) -> Json:
    """The invoice's own payment intent, for what is left to pay, in real time as payments are."""
    with clocks.real_time(work):
        intent = intent_body(work, new_id("pi"), invoice["amount_remaining"], invoice["currency"])
        reason = _DESCRIPTIONS.get(invoice["billing_reason"], "Subscription update")
        method = default_method(work, invoice)
        intent.update(
            capture_method="automatic", customer=invoice["customer"],
            description=reason if invoice["_subscription"] else "Payment for Invoice",
            on_behalf_of=invoice["on_behalf_of"], payment_method=method,
            payment_method_types=types_of(invoice), statement_descriptor=invoice["statement_descriptor"],
            status="requires_confirmation" if method else "requires_payment_method",
        )  # fmt: skip
        card = (invoice["payment_settings"]["payment_method_options"] or {}).get("card") or {}
        intent["payment_method_options"]["card"].update(
            {name: value for name, value in card.items() if name == "request_three_d_secure" and value}
        )
        if _is_kept(work, invoice):
            intent["setup_future_usage"] = "off_session"
        _share(invoice, intent)
        work.add(intent)
        work.emit("payment_intent.created", intent)
    payments.tie(work, invoice, intent, is_default=True)
    return intent


def _is_kept(work: Work, invoice: Json) -> bool:
    """Whether the method that pays is saved for the payments to come."""
    subscription = work.find("subscription", invoice["_subscription"] or "")
    if subscription is None or invoice["collection_method"] != "charge_automatically":
        return False
    keeps = (subscription.get("payment_settings") or {}).get("save_default_payment_method") == "on_subscription"
    return keeps or invoice["billing_reason"] == "subscription_create"


def _share(invoice: Json, intent: Json) -> None:
    """What goes to a connected account, and the platform's fee ("application_fee_percent", "transfer_data")."""
    data, percent, due = invoice["_transfer_data"], invoice["_application_fee_percent"], intent["amount"]
    if data is not None:
        amount = data.get("amount")
        if data.get("amount_percent") is not None:
            amount = money.round_half_up(due * Decimal(str(data["amount_percent"])) / 100)
        intent["transfer_data"] = {
            "destination": data["destination"], **({} if amount is None else {"amount": min(amount, due)})
        }
    fee = invoice["_application_fee_amount"]
    if percent is not None:
        fee = money.round_half_up(due * Decimal(percent) / 100)
    if fee:
        intent["application_fee_amount"] = min(fee, due)
