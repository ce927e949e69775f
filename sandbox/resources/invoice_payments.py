"""Invoice payments: which payment intents pay which invoices ("The Invoice Payment object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.listing import list_objects
from sandbox.operations import Call, Operation

if TYPE_CHECKING:
    from sandbox.errors import Json


def retrieve(call: Call) -> Json:
    """ "Retrieve an invoice payment"."""
    return call.work.get("invoice_payment", call.path["invoice_payment"], in_path=True)


def list_(call: Call) -> Json:
    """ "List all payments for an invoice"."""
    payment: Any = call.given("payment") or {}
    where = {"_payment_intent": payment["payment_intent"]} if payment.get("payment_intent") else {}
    wanted = payment.get("type")
    if call.given("invoice"):
        call.work.get("invoice", call.params["invoice"], "invoice")
    return list_objects(
        call, "invoice_payment", "/v1/invoice_payments", where=where, filters=("invoice", "status"),
        matches=lambda body: wanted in (None, body["payment"]["type"]),
    )  # fmt: skip


OPERATIONS = (
    Operation("GET", "/v1/invoice_payments", list_, "invoice_payment_list"),
    Operation("GET", "/v1/invoice_payments/{invoice_payment}", retrieve, "invoice_payment_retrieve"),
)
