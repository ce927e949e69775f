"""Customers' balances, movement by movement ("The Customer Balance Transaction object")."""

from __future__ import annotations

from typing import Final

from sandbox import clocks, money
from sandbox.errors import Json, invalid, missing_object
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.customers import change_balance


def _customer(call: Call) -> str:
    id_ = call.path["customer"]
    call.work.get("customer", id_, "customer", in_path=True)
    clocks.enter(call.work, id_, modifies=call.params.get("amount") is not None)
    return id_


def create(call: Call) -> Json:
    """ "Create a customer balance transaction": an adjustment, negative for a credit."""
    customer, amount = _customer(call), call.params["amount"]
    if amount == 0 or abs(amount) > money.MAX_AMOUNT:
        raise invalid("Invalid integer: an amount is up to eight digits, and not 0.", "amount")
    return change_balance(
        call.work, customer, amount, "adjustment", currency=money.check_currency(call.params["currency"]),
        description=call.given("description"), metadata=new_metadata(call.params),
    )  # fmt: skip


def _transaction(call: Call) -> Json:
    id_ = call.path["transaction"]
    body = call.work.get("customer_balance_transaction", id_, "transaction", in_path=True)
    if body["customer"] != _customer(call):
        raise missing_object("customer_balance_transaction", id_, "transaction", in_path=True)
    return body


def retrieve(call: Call) -> Json:
    """ "Retrieve a customer balance transaction"."""
    return _transaction(call)


def update(call: Call) -> Json:
    """ "Update a customer balance transaction": its description and metadata."""
    body = call.work.edit("customer_balance_transaction", _transaction(call)["id"])
    if "description" in call.params:
        body["description"] = call.given("description")
    update_metadata(body, call.params.get("metadata"))
    return body


def list_(call: Call) -> Json:
    """ "List customer balance transactions"."""
    customer = _customer(call)
    return list_objects(
        call, "customer_balance_transaction", f"/v1/customers/{customer}/balance_transactions",
        where={"customer": customer}, filters=("invoice",),
    )  # fmt: skip


_ALL: Final = "/v1/customers/{customer}/balance_transactions"
_ONE: Final = f"{_ALL}/{{transaction}}"

OPERATIONS = (
    Operation("POST", _ALL, create, "customer_balance_transaction_create"),
    Operation("GET", _ALL, list_, "customer_balance_transaction_list"),
    Operation("GET", _ONE, retrieve, "customer_balance_transaction_retrieve"),
    Operation("POST", _ONE, update, "customer_balance_transaction_update"),
)
