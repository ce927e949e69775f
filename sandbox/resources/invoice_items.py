"""Invoice items: what is to go on an invoice ("The Invoice Item object")."""

from __future__ import annotations

from typing import Final

from sandbox import clocks
from sandbox.errors import Json, invalid, missing_object, missing_param
from sandbox.invoices import draft, items, parts, totals
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation
from sandbox.resources import customers
from sandbox.resources.accounts import own
from sandbox.resources.invoices import must_be_draft
from sandbox.work import Work, copied


def create(call: Call) -> Json:
    """ "Create an invoice item" that waits for the next invoice, or goes on a draft."""
    work, params = call.work, call.params
    invoice = _draft(call)
    customer_id = call.given("customer") or (invoice or {}).get("customer")
    if customer_id is None:
        raise missing_param("customer")
    customer = work.get("customer", customer_id, "customer")
    clocks.enter(work, customer_id)
    subscription = call.given("subscription")
    if subscription is not None and work.get("subscription", subscription, "subscription")["customer"] != customer_id:
        raise missing_object("subscription", subscription, "subscription")
    known = (invoice or {}).get("currency") or customer["currency"]
    wanted = {**params, "currency": call.given("currency") or known or own(work, work.account)["default_currency"]}
    if invoice is not None and wanted["currency"] != invoice["currency"]:
        raise invalid(
            f"The invoice item's currency ({wanted['currency']}) must be that of the invoice ({invoice['currency']}).",
            "currency",
        )
    if invoice is not None and invoice["customer"] != customer_id:
        raise missing_object("invoice", invoice["id"], "invoice")
    if invoice is None:
        item = parts.make(work, wanted, customer_id, subscription=subscription)
        customers.set_currency(work, customer_id, item["currency"])
        return item
    before = copied(invoice)
    item = parts.make(work, wanted, customer_id, invoice=invoice["id"], subscription=subscription)
    invoice["_lines"].append(draft.take_item(work, invoice, item))
    totals.refresh(work, invoice)
    work.emit_updated("invoice.updated", invoice, before)
    return item


def _draft(call: Call) -> Json | None:
    id_ = call.given("invoice")
    if id_ is None:
        return None
    call.work.get("invoice", id_, "invoice")
    invoice = call.work.edit("invoice", id_)
    must_be_draft(invoice)
    return invoice


def retrieve(call: Call) -> Json:
    """ "Retrieve an invoice item"."""
    return call.work.get("invoiceitem", call.path["invoiceitem"], in_path=True)


def _editable(call: Call) -> tuple[Json, Json | None]:
    """The item, and the draft that it is on."""
    work = call.work
    item = work.get("invoiceitem", call.path["invoiceitem"], in_path=True)
    clocks.enter(work, item["customer"])
    invoice = work.edit("invoice", item["invoice"]) if item["invoice"] is not None else None
    if invoice is not None:
        must_be_draft(invoice)
    return work.edit("invoiceitem", item["id"]), invoice


def update(call: Call) -> Json:
    """ "Update an invoice item", alone or on a draft."""
    work = call.work
    item, invoice = _editable(call)
    parts.change(work, item, call.params)
    if invoice is not None:
        replace_line(work, invoice, item)
    return item


def replace_line(work: Work, invoice: Json, item: Json) -> None:
    """Show a changed invoice item on the draft that it is on; `invoice.updated`."""
    before = copied(invoice)
    for index, line in enumerate(invoice["_lines"]):
        if item_of(line) == item["id"]:
            invoice["_lines"][index] = {**items.line_of(work, item), "id": line["id"]}
    totals.refresh(work, invoice)
    work.emit_updated("invoice.updated", invoice, before)


def item_of(line: Json) -> str | None:
    """The invoice item that a line came of."""
    parent = line["parent"] or {}
    details = parent.get("invoice_item_details") or parent.get("subscription_item_details") or {}
    return details.get("invoice_item")


def delete(call: Call) -> Json:
    """ "Delete an invoice item" that is on no final invoice."""
    work = call.work
    item, invoice = _editable(call)
    if invoice is not None:
        before = copied(invoice)
        invoice["_lines"] = [line for line in invoice["_lines"] if item_of(line) != item["id"]]
        totals.refresh(work, invoice)
        work.emit_updated("invoice.updated", invoice, before)
    work.emit("invoiceitem.deleted", item)
    return work.remove("invoiceitem", item["id"])


def list_(call: Call) -> Json:
    """ "List all invoice items"."""
    if call.given("customer"):
        call.work.get("customer", call.params["customer"], "customer")
    pending = call.given("pending")
    is_named = call.given("customer") is not None or call.given("invoice") is not None

    def matches(item: Json) -> bool:
        # What test clocks have made is listed by whose it is alone.
        return (is_named or item["test_clock"] is None) and (pending is None or (item["invoice"] is None) == pending)

    return list_objects(call, "invoiceitem", "/v1/invoiceitems", filters=("invoice", "customer"), matches=matches)


_ONE: Final = "/v1/invoiceitems/{invoiceitem}"

OPERATIONS = (
    Operation("POST", "/v1/invoiceitems", create, "invoice_item_create"),
    Operation("GET", "/v1/invoiceitems", list_, "invoice_item_list"),
    Operation("GET", _ONE, retrieve, "invoice_item_retrieve"),
    Operation("POST", _ONE, update, "invoice_item_update"),
    Operation("DELETE", _ONE, delete, "invoice_item_delete"),
)
