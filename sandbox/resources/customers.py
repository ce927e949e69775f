"""Customers ("The Customer object")."""

from __future__ import annotations

from sandbox import clocks, discounts, money
from sandbox.errors import ApiError, Json, invalid, missing_object
from sandbox.ids import new_id, random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.payment_methods import attach
from sandbox.work import Work, copied, visible

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
    """ "Create a customer", perhaps on a test clock."""
    work, params = call.work, call.params
    clock = _clock(work, call.given("test_clock"))
    if clock is not None:
        work.now = clock["frozen_time"]
    body = work.add(
        {
            "id": f"cus_{random_text(14)}", "object": "customer", "address": None, "balance": 0, "created": work.now,
            "currency": None, "customer_account": None, "default_source": None, "delinquent": False,
            "description": None, "discount": None, "email": None,
            "invoice_prefix": call.param("invoice_prefix") or random_text(8).upper(),
            "invoice_settings": {
                "custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None
            },
            "livemode": False, "metadata": new_metadata(params), "name": None,
            "next_invoice_sequence": call.param("next_invoice_sequence", 1), "phone": None,
            "preferred_locales": call.given("preferred_locales") or [], "shipping": None, "tax_exempt": "none",
            "test_clock": call.given("test_clock"), "_balances": {},
        }
    )  # fmt: skip
    method = attach(work, params["payment_method"], body["id"])["id"] if call.given("payment_method") else None
    _apply(call, body, attached=method)
    if call.given("balance"):
        _move_balance(work, body, params["balance"], "initial")
    work.emit("customer.created", body)
    return body


def _clock(work: Work, id_: str | None) -> Json | None:
    if id_ is None:
        return None
    clock = work.get(clocks.KIND, id_, "test_clock")
    clocks.refuse_beyond_limit(work, id_, "customers", len(work.listed("customer", link=("test_clock", id_))))
    return clock


def put_on_clock(work: Work, id_: str, clock: Json) -> None:
    """Attach a customer to a clock that is just made, for good.

    Raises: ApiError for one that has a clock, or a subscription whose time is another.
    """
    if work.get("customer", id_, "customer")["test_clock"] is not None:
        raise invalid("This customer is already attached to a test clock.", "customer")
    if work.listed("subscription", link=("customer", id_)):
        raise invalid("Attaching a customer with subscriptions is not built into the sandbox.", "customer")
    body = work.edit("customer", id_)
    before = copied(body)
    body["test_clock"] = clock["id"]
    work.emit_updated("customer.updated", body, before)


def _apply(call: Call, body: Json, attached: str | None = None) -> None:
    for name in _FIELDS:
        if name in call.params:
            body[name] = call.given(name)
    for name in ("address", "shipping"):
        if isinstance(body.get(name), dict):
            body[name] = _address(body[name]) if name == "address" else _shipping(body[name])
    settings = call.given("invoice_settings") or {}
    default = settings.get("default_payment_method")
    if default and attached and default == call.params["payment_method"]:
        settings = {**settings, "default_payment_method": attached}
    elif default:
        _check_default(call.work, default, body["id"])
    _apply_coupon(call, body)
    body["invoice_settings"] = {**body["invoice_settings"], **{k: v or None for k, v in settings.items()}}


def _check_default(work: Work, method: str, customer: str) -> None:
    param = "invoice_settings[default_payment_method]"
    if work.get("payment_method", method, param)["customer"] != customer:
        raise invalid(
            f"The customer does not have a payment method with the ID {method}. The payment method must be attached "
            "to the customer.", param, "resource_missing",
        )  # fmt: skip


def _apply_coupon(call: Call, body: Json) -> None:
    """Older versions put discounts on customers; an empty value takes them off."""
    for name in ("coupon", "promotion_code"):
        if name not in call.params:
            continue
        if body["discount"] is not None:
            discounts.remove(call.work, body["discount"]["id"])
        if call.given(name):
            redeemed = discounts.redeem(call.work, customer=body["id"], param="", **{name: call.params[name]})
            body["discount"] = visible(redeemed)


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
    currency = currency or (work.get("invoice", invoice)["currency"] if invoice else None)
    transaction = _move_balance(work, body, amount, type_, currency)
    transaction.update(
        invoice=invoice, credit_note=credit_note, description=description, metadata=metadata or {}
    )
    work.emit_updated("customer.updated", body, before)
    return transaction


def _move_balance(work: Work, body: Json, amount: int, type_: str, currency: str | None = None) -> Json:
    if currency is None:
        account = work.any(work.account) or {}
        currency = body["currency"] or account.get("default_currency", "usd")
    if body["currency"] is None:
        body["currency"] = currency
    balances = body.setdefault("_balances", {})
    balances[currency] = balances.get(currency, 0) + amount
    if abs(balances[currency]) > money.MAX_AMOUNT:
        raise invalid("The balance of a customer can have up to eight digits.", "amount")
    if currency == body["currency"]:
        body["balance"] = balances[currency]
    return work.add(
        {
            "id": new_id("cbtxn"), "object": "customer_balance_transaction", "amount": amount,
            "checkout_session": None, "created": work.now, "credit_note": None, "currency": currency,
            "customer": body["id"], "customer_account": None, "description": None,
            "ending_balance": balances[currency], "invoice": None, "livemode": False, "metadata": {}, "type": type_,
        }
    )  # fmt: skip


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
    work, id_ = call.work, call.path["customer"]
    work.get("customer", id_, "id", in_path=True)
    clocks.enter(work, id_, modifies=False)
    body = work.edit("customer", id_)
    before = copied(body)
    _apply(call, body)
    for name in ("invoice_prefix", "next_invoice_sequence", "preferred_locales"):
        if call.given(name) is not None:
            body[name] = call.params[name]
    if call.given("balance") is not None and call.params["balance"] != body["balance"]:
        _move_balance(work, body, call.params["balance"] - body["balance"], "adjustment")
    update_metadata(body, call.params.get("metadata"))
    work.emit_updated("customer.updated", body, before)
    return body


def delete_discount(call: Call) -> Json:
    """ "Delete a customer discount"."""
    work, id_ = call.work, call.path["customer"]
    discount = work.get("customer", id_, "customer", in_path=True)["discount"]
    if discount is None:
        raise ApiError(
            f"No active discount for customer: {id_}", status=404, code="resource_missing", param="customer"
        )
    clocks.enter(work, id_, modifies=False)
    return discounts.remove(work, discount["id"])


def list_(call: Call) -> Json:
    """ "List all customers"; those on a test clock only where the clock is named."""
    clock = call.given("test_clock")
    return list_objects(
        call, "customer", "/v1/customers", filters=("email", "test_clock"),
        matches=lambda customer: clock is not None or customer["test_clock"] is None,
    )  # fmt: skip


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
    Operation("DELETE", "/v1/customers/{customer}/discount", delete_discount, "customer_delete_discount"),
    Operation("GET", "/v1/customers/{customer}/payment_methods", list_payment_methods, "customer_payment_method_list"),
    Operation(
        "GET", "/v1/customers/{customer}/payment_methods/{payment_method}", retrieve_payment_method,
        "customer_payment_method_retrieve",
    ),
)  # fmt: skip
