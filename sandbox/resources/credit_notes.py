"""Credit notes: less to pay of an invoice, or something back of it ("The Credit Note object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.invoices import credit
from sandbox.listing import list_objects, page_of
from sandbox.operations import Call, Operation, update_metadata
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json


def create(call: Call) -> Json:
    """ "Create a credit note"."""
    work = call.work
    invoice = _invoice(call, modifies=True)
    params = credit.complete_refunds(work, call.params)
    note = credit.draft_note(work, invoice, params)
    credit.issue(work, work.edit("invoice", invoice["id"]), note, params)
    return note


def _invoice(call: Call, *, modifies: bool) -> Json:
    invoice = call.work.get("invoice", call.params["invoice"], "invoice")
    clocks.enter(call.work, invoice["customer"], modifies=modifies)
    return invoice


def preview(call: Call) -> Json:
    """ "Preview a credit note"; nothing is made."""
    return credit.draft_note(call.work, _invoice(call, modifies=False), credit.complete_refunds(call.work, call.params))


def preview_lines(call: Call) -> Json:
    """ "Retrieve a credit note preview's line items"."""
    return page_of(call, preview(call)["_lines"], "/v1/credit_notes/preview/lines")


def retrieve(call: Call) -> Json:
    """ "Retrieve a credit note"."""
    return call.work.get("credit_note", call.path["credit_note"], "id", in_path=True)


def _to_edit(call: Call) -> Json:
    note = retrieve(call)
    clocks.enter(call.work, note["customer"])
    return call.work.edit("credit_note", note["id"])


def update(call: Call) -> Json:
    """ "Update a credit note": its memo and metadata."""
    note = _to_edit(call)
    before = copied(note)
    if "memo" in call.params:
        note["memo"] = call.given("memo")
    update_metadata(note, call.params.get("metadata"))
    call.work.emit_updated("credit_note.updated", note, before)
    return note


def void(call: Call) -> Json:
    """ "Void a credit note"."""
    note = _to_edit(call)
    credit.void(call.work, note)
    return note


def list_(call: Call) -> Json:
    """ "List all credit notes"."""
    for kind in ("customer", "invoice"):
        if call.given(kind):
            call.work.get(kind, call.params[kind], kind)
    return list_objects(call, "credit_note", "/v1/credit_notes", filters=("invoice", "customer"))


def list_lines(call: Call) -> Json:
    """ "Retrieve a credit note's line items"."""
    note = retrieve(call)
    return page_of(call, note["_lines"], f"/v1/credit_notes/{note['id']}/lines")


_ONE: Final = "/v1/credit_notes/{credit_note}"

OPERATIONS = (
    Operation("POST", "/v1/credit_notes", create, "credit_note_create"),
    Operation("GET", "/v1/credit_notes", list_, "credit_note_list"),
    Operation("GET", "/v1/credit_notes/preview", preview, "credit_note_preview"),
    Operation("GET", "/v1/credit_notes/preview/lines", preview_lines, "credit_note_preview_lines"),
    Operation("GET", _ONE, retrieve, "credit_note_retrieve"),
    Operation("POST", _ONE, update, "credit_note_update"),
    Operation("POST", f"{_ONE}/void", void, "credit_note_void_credit_note"),
    Operation("GET", f"{_ONE}/lines", list_lines, "credit_note_line_item_list"),
)
