"""Credit notes: what they take back of an invoice, and where that goes ("The Credit Note object")."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from sandbox import API_VERSION, clocks, money
from sandbox.errors import Json, invalid
from sandbox.ids import new_id
from sandbox.invoices import close, payments, settle, totals
from sandbox.listing import as_list
from sandbox.operations import Call, new_metadata
from sandbox.resources import customers, refunds
from sandbox.subscriptions import lifecycle
from sandbox.work import Work, copied

_SHOWN: Final = 10
_CREDITABLE: Final = ("open", "paid", "uncollectible")


def draft_note(work: Work, invoice: Json, params: Json) -> Json:
    """A credit note as a request describes it; nothing is stored, and nothing has moved.

    Raises: ApiError for more than the invoice has left, or where the parts do not add up.
    """
    if invoice["status"] not in _CREDITABLE:
        raise invalid(
            f"Credit notes can only be created for open, paid or uncollectible invoices. This one is "
            f"{invoice['status']}.", "invoice",
        )  # fmt: skip
    if params.get("shipping_cost"):
        raise invalid("Shipping costs are not built into the sandbox.", "shipping_cost")
    lines = _lines(invoice, params)
    subtotal = sum(line["amount"] for line in lines)
    discount = sum(line["discount_amount"] for line in lines)
    total = subtotal - discount
    if total < 1:
        raise invalid("The amount of a credit note must be greater than zero.", "amount")
    before_payment = min(total, invoice["amount_remaining"])
    after_payment = total - before_payment
    _check_parts(invoice, params, after_payment)
    type_ = "mixed" if before_payment and after_payment else "pre_payment" if before_payment else "post_payment"
    given = totals.sum_by_discount(part for line in lines for part in line["discount_amounts"])
    id_ = new_id("cn")
    count = len(work.listed("credit_note", link=("invoice", invoice["id"]))) + 1
    note: Json = {
        "id": id_, "object": "credit_note", "amount": total, "amount_shipping": 0, "created": work.now,
        "currency": invoice["currency"], "customer": invoice["customer"], "customer_account": None,
        "customer_balance_transaction": None, "discount_amount": discount, "discount_amounts": given,
        "effective_at": params.get("effective_at") or work.now, "invoice": invoice["id"], "lines": None,
        "livemode": False, "memo": params.get("memo") or None, "metadata": new_metadata(params),
        "number": f"{invoice['number']}-CN-{count:02}", "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": f"{work.base_url}/credit_notes/{id_}/pdf", "post_payment_amount": after_payment,
        "pre_payment_amount": before_payment,
        "pretax_credit_amounts": [{**part, "type": "discount"} for part in given], "reason": params.get("reason"),
        "refunds": [], "shipping_cost": None, "status": "issued", "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal, "total": total, "total_excluding_tax": total, "total_taxes": [],
        "type": type_, "voided_at": None, "_lines": lines,
    }  # fmt: skip
    url = f"/v1/credit_notes/{id_}/lines"
    note["lines"] = as_list(lines[:_SHOWN], url, has_more=len(lines) > _SHOWN)
    return note


def _lines(invoice: Json, params: Json) -> list[Json]:
    wanted, amount = params.get("lines"), params.get("amount")
    if not wanted:
        if amount is None:
            raise invalid(
                "You must specify one of `amount`, `lines` or `shipping_cost`.", "amount", "parameter_missing"
            )
        return [_line("custom_line_item", amount, 1, amount, None)]
    lines = [_wanted_line(invoice, line, f"lines[{index}]") for index, line in enumerate(wanted)]
    total = sum(line["amount"] - line["discount_amount"] for line in lines)
    if amount is not None and amount != total:
        raise invalid(f"The amount ({amount}) must equal the total of the lines ({total}).", "amount")
    return lines


def _wanted_line(invoice: Json, wanted: Json, param: str) -> Json:
    quantity = wanted.get("quantity")
    for name in ("tax_amounts", "tax_rates"):
        if wanted.get(name):
            raise invalid("Taxes are not built into the sandbox.", f"{param}[{name}]")
    if wanted["type"] == "custom_line_item":
        unit = wanted.get("unit_amount", wanted.get("unit_amount_decimal"))
        if unit is None:
            raise invalid("Custom lines need a `unit_amount`.", f"{param}[unit_amount]", "parameter_missing")
        amount = money.round_half_up(Decimal(unit) * (quantity or 1))
        return _line("custom_line_item", amount, quantity or 1, int(unit), wanted.get("description"))
    id_ = wanted.get("invoice_line_item")
    credited = next((line for line in invoice["_lines"] if line["id"] == id_), None)
    if credited is None:
        raise invalid(f"No such invoice line item: '{id_}'", f"{param}[invoice_line_item]", "resource_missing")
    unit = None
    if wanted.get("amount") is not None:
        amount = int(wanted["amount"])
    else:
        of = credited["quantity"] or 1
        if not 0 < (quantity or of) <= of:
            raise invalid(f"The quantity must be from 1 to {of}.", f"{param}[quantity]")
        amount = money.ratio(credited["amount"] * (quantity or of), of)
        unit = money.ratio(credited["amount"], of)
    if not 0 < amount <= credited["amount"]:
        raise invalid(f"The amount must be from 1 to {credited['amount']}.", f"{param}[amount]")
    line = _line("invoice_line_item", amount, quantity, unit, credited["description"])
    line["discount_amounts"] = [
        {"amount": money.ratio(part["amount"] * amount, credited["amount"]), "discount": part["discount"]}
        for part in credited["discount_amounts"]
    ]
    line["discount_amount"] = sum(part["amount"] for part in line["discount_amounts"])
    line["pretax_credit_amounts"] = [{**part, "type": "discount"} for part in line["discount_amounts"]]
    return {**line, "invoice_line_item": id_}


def _line(type_: str, amount: int, quantity: int | None, unit: int | None, description: str | None) -> Json:
    return {
        "id": new_id("cnli"), "object": "credit_note_line_item", "amount": amount, "description": description,
        "discount_amount": 0, "discount_amounts": [], "livemode": False, "metadata": {}, "pretax_credit_amounts": [],
        "quantity": quantity, "tax_rates": [], "taxes": [], "type": type_, "unit_amount": unit,
        "unit_amount_decimal": None if unit is None else str(unit),
    }  # fmt: skip


def _check_parts(invoice: Json, params: Json, after_payment: int) -> None:
    """What was paid can be refunded, credited to the balance, or given back elsewhere; all of it must be."""
    currency = invoice["currency"]
    left = invoice["amount_paid"] - invoice["post_payment_credit_notes_amount"]
    if after_payment > left:
        raise invalid(
            f"The amount of the credit note is greater than what is left of the invoice "
            f"({money.shown(left + invoice['amount_remaining'], currency)}).", "amount",
        )  # fmt: skip
    parts = [params.get(name) or 0 for name in ("credit_amount", "refund_amount", "out_of_band_amount")]
    linked = sum(_linked_amounts(params))
    if min(parts) < 0 or sum(parts) + linked != after_payment:
        raise invalid(
            f"The sum of credit amount, refund amount and out of band amount "
            f"({money.shown(sum(parts) + linked, currency)}) must equal the post payment credit note amount "
            f"({money.shown(after_payment, currency)}).", "refund_amount",
        )  # fmt: skip


def _linked_amounts(params: Json) -> list[int]:
    return [entry["amount_refunded"] for entry in params.get("refunds") or ()]


def issue(work: Work, invoice: Json, note: Json, params: Json) -> None:
    """Store a credit note and move what it says; `credit_note.created`.

    Raises: ApiError where a refund is not possible.
    """
    before = copied(invoice)
    invoice["amount_due"] -= note["pre_payment_amount"]
    invoice["amount_remaining"] -= note["pre_payment_amount"]
    invoice["pre_payment_credit_notes_amount"] += note["pre_payment_amount"]
    invoice["post_payment_credit_notes_amount"] += note["post_payment_amount"]
    work.add(note)
    _link_refunds(work, invoice, note, params)
    if params.get("refund_amount"):
        _refund(work, invoice, note, params["refund_amount"])
    if params.get("credit_amount"):
        work.get("customer", invoice["customer"], "invoice")
        moved = customers.change_balance(
            work, invoice["customer"], -params["credit_amount"], "credit_note", invoice["id"], note["id"],
            currency=invoice["currency"],
        )  # fmt: skip
        note["customer_balance_transaction"] = moved["id"]
    work.emit("credit_note.created", note)
    if note["pre_payment_amount"] and invoice["amount_remaining"] == 0:
        close.cancel_intents(work, invoice, None)
        settle.close_as_paid(work, invoice, before)
        lifecycle.invoice_paid(work, invoice)
        return
    if note["pre_payment_amount"]:
        close.refuse_processing(work, invoice)
        payments.synchronize(work, invoice)
    work.emit_updated("invoice.updated", invoice, before)


def _refund(work: Work, invoice: Json, note: Json, amount: int) -> None:
    intent = payments.paying_intent(work, invoice)
    if intent is None:
        raise invalid("This invoice was not paid with a charge that could be refunded.", "refund_amount")
    with clocks.real_time(work):
        refund = refunds.create(Call(work, {"charge": intent["latest_charge"], "amount": amount}, {}, API_VERSION))
    note["refunds"].append({"amount_refunded": amount, "refund": refund["id"], "type": "refund"})


def _link_refunds(work: Work, invoice: Json, note: Json, params: Json) -> None:
    intent = payments.paying_intent(work, invoice)
    for index, entry in enumerate(params.get("refunds") or ()):
        refund = work.get("refund", entry["refund"], f"refunds[{index}][refund]")
        if intent is None or refund["payment_intent"] != intent["id"] or entry["amount_refunded"] > refund["amount"]:
            raise invalid("The refund must be of the invoice's payment, and as large.", f"refunds[{index}][refund]")
        note["refunds"].append({"amount_refunded": entry["amount_refunded"], "refund": refund["id"], "type": "refund"})


def complete_refunds(work: Work, params: Json) -> Json:
    """The parameters with the amounts of the refunds that they name: all of each, unless they say less.

    Raises: ApiError for refunds that there are not.
    """
    entries: Any = params.get("refunds")
    if not entries:
        return params
    complete = []
    for index, entry in enumerate(entries):
        if entry.get("type", "refund") != "refund":
            raise invalid("Payment records are not built into the sandbox.", f"refunds[{index}][type]")
        refund = work.get("refund", entry.get("refund") or "", f"refunds[{index}][refund]")
        complete.append({"refund": refund["id"], "amount_refunded": entry.get("amount_refunded", refund["amount"])})
    return {**params, "refunds": complete}


def void(work: Work, note: Json) -> None:
    """Take a credit note back, while its invoice is still to be paid; `credit_note.voided`.

    Raises: ApiError where the invoice was paid, or the note is void.
    """
    invoice = work.edit("invoice", note["invoice"])
    if note["status"] == "void":
        raise invalid("This credit note has already been voided.")
    if note["type"] != "pre_payment" or invoice["status"] not in ("open", "uncollectible"):
        raise invalid("You can only void a pre-payment credit note of an invoice that is open.")
    before = copied(invoice)
    note.update(status="void", voided_at=work.now)
    invoice["amount_due"] += note["pre_payment_amount"]
    invoice["amount_remaining"] += note["pre_payment_amount"]
    invoice["pre_payment_credit_notes_amount"] -= note["pre_payment_amount"]
    close.refuse_processing(work, invoice)
    payments.synchronize(work, invoice)
    work.emit("credit_note.voided", note)
    work.emit_updated("invoice.updated", invoice, before)
