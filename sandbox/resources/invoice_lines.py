"""The lines of an invoice ("The Line Item object")."""

from __future__ import annotations

from typing import Final

from sandbox.errors import Json, invalid, missing_object
from sandbox.invoices import draft, parts, totals
from sandbox.listing import page_of
from sandbox.operations import Call, Operation, update_metadata
from sandbox.resources.invoice_items import item_of, replace_line
from sandbox.resources.invoices import must_be_draft, to_edit
from sandbox.work import copied


def list_(call: Call) -> Json:
    """ "Retrieve an invoice's line items"."""
    invoice = call.work.get("invoice", call.path["invoice"], "invoice", in_path=True)
    return page_of(call, invoice["_lines"], f"/v1/invoices/{invoice['id']}/lines")


def _draft(call: Call) -> Json:
    invoice = to_edit(call)
    must_be_draft(invoice)
    return invoice


def _finished(call: Call, invoice: Json, before: Json) -> Json:
    update_metadata(invoice, call.params.get("invoice_metadata"))
    totals.refresh(call.work, invoice)
    call.work.emit_updated("invoice.updated", invoice, before)
    return invoice


def add(call: Call) -> Json:
    """ "Bulk add invoice line items": new ones, or invoice items that wait."""
    work, invoice = call.work, _draft(call)
    before = copied(invoice)
    for index, wanted in enumerate(call.params["lines"]):
        param = f"lines[{index}]"
        if wanted.get("invoice_item"):
            item = work.get("invoiceitem", wanted["invoice_item"], f"{param}[invoice_item]")
            if item["invoice"] is not None or item["customer"] != invoice["customer"]:
                raise invalid("The invoice item must be the customer's, and on no invoice.", f"{param}[invoice_item]")
            parts.change(
                work, work.edit("invoiceitem", item["id"]),
                {name: value for name, value in wanted.items() if name != "invoice_item"}, param,
            )  # fmt: skip
            item = work.edit("invoiceitem", item["id"])
        else:
            described = {"currency": invoice["currency"], **wanted}
            item = parts.make(work, described, invoice["customer"], param, invoice=invoice["id"])
        invoice["_lines"].append(draft.take_item(work, invoice, item))
    return _finished(call, invoice, before)


def remove(call: Call) -> Json:
    """ "Bulk remove invoice line items", for good or back to those that wait."""
    work, invoice = call.work, _draft(call)
    before = copied(invoice)
    for index, wanted in enumerate(call.params["lines"]):
        line = _line(invoice, wanted["id"], f"lines[{index}][id]")
        invoice["_lines"].remove(line)
        item_id = item_of(line)
        if item_id is None:
            continue
        if wanted["behavior"] == "unassign":
            work.edit("invoiceitem", item_id)["invoice"] = None
        else:
            work.emit("invoiceitem.deleted", work.get("invoiceitem", item_id))
            work.remove("invoiceitem", item_id)
    return _finished(call, invoice, before)


def update_all(call: Call) -> Json:
    """ "Bulk update invoice line items"."""
    invoice = _draft(call)
    before = copied(invoice)
    for index, wanted in enumerate(call.params["lines"]):
        param = f"lines[{index}]"
        line = _line(invoice, wanted["id"], f"{param}[id]")
        _change(call, invoice, line, {name: value for name, value in wanted.items() if name != "id"}, param)
    return _finished(call, invoice, before)


def update(call: Call) -> Json:
    """ "Update an invoice's line item"."""
    invoice = _draft(call)
    before = copied(invoice)
    line = _line(invoice, call.path["line_item"], "line_item", in_path=True)
    wanted = {name: value for name, value in call.params.items() if name != "expand"}
    _change(call, invoice, line, wanted, "")
    _finished(call, invoice, before)
    return _line(invoice, line["id"], "line_item")


def _change(call: Call, invoice: Json, line: Json, wanted: Json, param: str) -> None:
    """Change a line, and the invoice item that it came of; of a subscription's line, what is not money."""
    item_id = item_of(line)
    if item_id is not None:
        item = call.work.edit("invoiceitem", item_id)
        parts.change(call.work, item, wanted, param)
        replace_line(call.work, invoice, item)
        return
    money = sorted(set(wanted) - {"description", "metadata", "period", "discountable"})
    if money:
        raise invalid("Lines of a subscription's own price can only be changed in what is not money.", money[0])
    for name in ("description", "period", "discountable"):
        if name in wanted:
            line[name] = wanted[name]
    update_metadata(line, wanted.get("metadata"))


def _line(invoice: Json, id_: str, param: str, *, in_path: bool = False) -> Json:
    for line in invoice["_lines"]:
        if line["id"] == id_:
            found: Json = line
            return found
    raise missing_object("line_item", id_, param, in_path=in_path)


_ONE: Final = "/v1/invoices/{invoice}"

OPERATIONS = (
    Operation("GET", f"{_ONE}/lines", list_, "invoice_line_item_list"),
    Operation("POST", f"{_ONE}/lines/{{line_item}}", update, "invoice_line_item_update"),
    Operation("POST", f"{_ONE}/add_lines", add, "invoice_add_lines"),
    Operation("POST", f"{_ONE}/remove_lines", remove, "invoice_remove_lines"),
    Operation("POST", f"{_ONE}/update_lines", update_all, "invoice_update_lines"),
)
