"""Customers ("The Customer object")."""

from __future__ import annotations

from sandbox.errors import Json, missing_object
from sandbox.ids import new_id, random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.payment_methods import attach
from sandbox.work import Work, copied

_FIELDS = (
    "address",
    "description",
    "email",
    "name",
    "phone",
    "shipping",
    "tax_exempt",
    "business_name",
    "individual_name",
)


def create(call: Call) -> Json:
    """ "Create a customer"."""
    work, params = call.work, call.params
    body = work.add(
        {
            "id": f"cus_{random_text(14)}", "object": "customer", "address": None, "balance": call.param("balance", 0),
            "created": work.now, "currency": None, "customer_account": None, "default_source": None,
            "delinquent": False, "description": None, "discount": None, "email": None,
            "invoice_prefix": call.param("invoice_prefix") or random_text(8).upper(),
            "invoice_settings": {
                "custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None
            },
            "livemode": False, "metadata": new_metadata(params), "name": None,
            "next_invoice_sequence": call.param("next_invoice_sequence", 1), "phone": None,
            "preferred_locales": call.given("preferred_locales") or [], "shipping": None, "tax_exempt": "none",
            "test_clock": call.param("test_clock"), "_balances": {},
        }
    )  # fmt: skip
    _apply(call, body)
    if call.given("payment_method"):
        attach(work, params["payment_method"], body["id"])
    work.emit("customer.created", body)
    return body


def _apply(call: Call, body: Json) -> None:
    for name in _FIELDS:
        if name in call.params:
            body[name] = call.given(name)
    for name in ("address", "shipping"):
        if isinstance(body.get(name), dict):
            body[name] = _address(body[name]) if name == "address" else _shipping(body[name])
    settings = call.given("invoice_settings") or {}
    if settings.get("default_payment_method"):
        call.work.get("payment_method", settings["default_payment_method"], "invoice_settings[default_payment_method]")
    body["invoice_settings"] = {**body["invoice_settings"], **{k: v or None for k, v in settings.items()}}


def change_balance(
    work: Work, customer: str, amount: int, type_: str, invoice: str | None = None, credit_note: str | None = None,
    *, currency: str | None = None, description: str | None = None, metadata: Json | None = None,
) -> Json:  # fmt: skip
    """Move a customer's balance in one currency ("The Customer Balance Transaction object").

    Args:
        amount: negative for a credit, which the next invoices use; positive for what they will add.
        currency: by default the invoice's, then the customer's.
    """
    body = work.edit("customer", customer)
    before = copied(body)
    currency = currency or (work.get("invoice", invoice)["currency"] if invoice else None) or body["currency"] or "usd"
    if body["currency"] is None:
        body["currency"] = currency
    balances = body.setdefault("_balances", {})
    balances[currency] = balances.get(currency, 0) + amount
    if currency == body["currency"]:
        body["balance"] = balances[currency]
    transaction = work.add(
        {
            "id": new_id("cbtxn"), "object": "customer_balance_transaction", "amount": amount,
            "checkout_session": None, "created": work.now, "credit_note": credit_note, "currency": currency,
            "customer": customer, "customer_account": None, "description": description,
            "ending_balance": balances[currency], "invoice": invoice, "livemode": False, "metadata": metadata or {},
            "type": type_,
        }
    )  # fmt: skip
    work.emit_updated("customer.updated", body, before)
    return transaction


def balance_of(customer: Json, currency: str) -> int:
    """What a customer owes (positive) or has to their credit (negative) in a currency."""
    return int(customer.get("_balances", {}).get(currency, 0))


def set_currency(work: Work, customer: str, currency: str) -> None:
    """The currency that a customer is billed in, once there is something to bill."""
    if work.get("customer", customer)["currency"] is None:
        body = work.edit("customer", customer)
        before = copied(body)
        body["currency"] = currency
        body["balance"] = balance_of(body, currency)
        work.emit_updated("customer.updated", body, before)


def set_delinquent(work: Work, customer: str, is_delinquent: bool) -> None:
    """Whether the latest change of any of a customer's invoices was a failure to pay ("The Customer object")."""
    found = work.find("customer", customer)
    if found is not None and found["delinquent"] != is_delinquent:
        body = work.edit("customer", customer)
        before = copied(body)
        body["delinquent"] = is_delinquent
        work.emit_updated("customer.updated", body, before)


def _address(address: Json) -> Json:
    return {name: address.get(name) or None for name in ("city", "country", "line1", "line2", "postal_code", "state")}


def _shipping(shipping: Json) -> Json:
    return {"address": _address(shipping["address"]), "name": shipping["name"], "phone": shipping.get("phone") or None}


def retrieve(call: Call) -> Json:
    """ "Retrieve a customer"; a deleted one says that it is."""
    id_ = call.path["customer"]
    body = call.work.any(id_)
    if body is None or body["object"] != "customer" or call.work.owner(id_) != call.work.account:
        raise missing_object("customer", id_, "id", in_path=True)
    return body


def update(call: Call) -> Json:
    """ "Update a customer"."""
    work = call.work
    work.get("customer", call.path["customer"], "id", in_path=True)
    body = work.edit("customer", call.path["customer"])
    before = copied(body)
    _apply(call, body)
    for name in ("balance", "invoice_prefix", "next_invoice_sequence", "preferred_locales"):
        if call.given(name) is not None:
            body[name] = call.params[name]
    update_metadata(body, call.params.get("metadata"))
    work.emit_updated("customer.updated", body, before)
    return body


def delete(call: Call) -> Json:
    """ "Delete a customer"; its payment methods are detached."""
    work, id_ = call.work, call.path["customer"]
    before = work.get("customer", id_, "id", in_path=True)
    for method in work.listed("payment_method", link=("customer", id_)):
        work.edit("payment_method", method["id"])["customer"] = None
    work.emit("customer.deleted", before)
    return work.remove("customer", id_)


def list_(call: Call) -> Json:
    """ "List all customers"."""
    return list_objects(call, "customer", "/v1/customers", filters=("email", "test_clock"))


def list_payment_methods(call: Call) -> Json:
    """ "List a Customer's PaymentMethods"."""
    id_ = call.path["customer"]
    call.work.get("customer", id_, "customer", in_path=True)
    return list_objects(
        call, "payment_method", f"/v1/customers/{id_}/payment_methods", where={"customer": id_},
        filters=("type", "allow_redisplay"),
    )  # fmt: skip


def retrieve_payment_method(call: Call) -> Json:
    """ "Retrieve a Customer's PaymentMethod"."""
    method = call.work.get("payment_method", call.path["payment_method"], in_path=True)
    if method["customer"] != call.path["customer"]:
        raise missing_object("payment_method", method["id"], "payment_method", in_path=True)
    return method




OPERATIONS = (
    Operation("POST", "/v1/customers", create, "customer_create"),
    Operation("GET", "/v1/customers", list_, "customer_list"),
    Operation("GET", "/v1/customers/{customer}", retrieve, "customer_retrieve"),
    Operation("POST", "/v1/customers/{customer}", update, "customer_update"),
    Operation("DELETE", "/v1/customers/{customer}", delete, "customer_delete"),
    Operation("GET", "/v1/customers/{customer}/payment_methods", list_payment_methods, "customer_payment_method_list"),
    Operation(
        "GET", "/v1/customers/{customer}/payment_methods/{payment_method}", retrieve_payment_method,
        "customer_payment_method_retrieve",
    ),
)  # fmt: skip
