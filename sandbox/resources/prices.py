"""Prices ("The Price object"): made once, never changed in what they cost, never deleted."""

from __future__ import annotations

from typing import Final

from sandbox.errors import Json, invalid, missing_object
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, refuse_both, update_metadata
from sandbox.resources.price_bodies import new_options, new_price
from sandbox.resources.products import new_product
from sandbox.work import Work, copied

_LOOKUP_KEY: Final = 200
_LOOKUP_KEYS: Final = 10


def create(call: Call) -> Json:
    """ "Create a price" of a product, which `product_data` may make."""
    work, params = call.work, call.params
    refuse_both(params, "product", "product_data")
    described = call.given("product_data")
    if described is not None:
        product = new_product(work, described)
        work.emit("product.created", product)
    elif call.given("product"):
        product = work.get("product", params["product"], "product")
    else:
        raise invalid("You must specify either `product` or `product_data` when creating a price.")
    body = new_price(work, product["id"], params)
    _set_lookup_key(call, body)
    work.emit("price.created", body)
    return body


def _set_lookup_key(call: Call, body: Json) -> None:
    """Give a price the key that it is asked to have, which another may have to give up."""
    key = call.given("lookup_key")
    if key is None or key == body["lookup_key"]:
        return
    if len(key) > _LOOKUP_KEY:
        raise invalid(f"Invalid string: must be at most {_LOOKUP_KEY} characters", "lookup_key")
    for holder in call.work.listed("price", link=("lookup_key", key)):
        if not call.param("transfer_lookup_key"):
            raise invalid(f"A price (`{holder['id']}`) already uses that lookup key.", "lookup_key")
        former = call.work.edit("price", holder["id"])
        former["lookup_key"] = None
        call.work.emit("price.updated", former, previous={"lookup_key": key})
    body["lookup_key"] = key


def retrieve(call: Call) -> Json:
    """ "Retrieve a price"."""
    return call.work.get("price", call.path["price"], "price", in_path=True)


def update(call: Call) -> Json:
    """ "Update a price": its amount, currency and interval stay as they are."""
    work, params = call.work, call.params
    work.get("price", call.path["price"], "price", in_path=True)
    body = work.edit("price", call.path["price"])
    before = copied(body)
    if params.get("active") is False and _is_default(work, body):
        raise invalid("This price cannot be archived because it is the default price of its product.", "active")
    for name in ("active", "nickname"):
        if name in params:
            body[name] = call.given(name)
    if "tax_behavior" in params:
        if body["tax_behavior"] not in ("unspecified", params["tax_behavior"]):
            raise invalid("Once `tax_behavior` is `inclusive` or `exclusive`, it cannot be changed.", "tax_behavior")
        body["tax_behavior"] = params["tax_behavior"]
    if "currency_options" in params:
        kept = body["_currency_options"] if params["currency_options"] else {}
        body["_currency_options"] = new_options(call.given("currency_options"), body["currency"], kept=kept)
    _set_lookup_key(call, body)
    update_metadata(body, params.get("metadata"))
    work.emit_updated("price.updated", body, before)
    return body


def _is_default(work: Work, price: Json) -> bool:
    product = work.find("product", price["product"])
    return product is not None and product["default_price"] == price["id"]


def list_(call: Call) -> Json:
    """ "List all prices"."""
    keys = call.given("lookup_keys")
    if keys and len(keys) > _LOOKUP_KEYS:
        raise invalid(f"You may pass up to {_LOOKUP_KEYS} lookup keys.", "lookup_keys")
    product = call.given("product")
    if product is not None and call.work.find("product", product) is None:
        raise missing_object("product", product, "product")
    recurring = call.given("recurring") or {}

    def matches(price: Json) -> bool:
        if keys and price["lookup_key"] not in keys:
            return False
        return all((price["recurring"] or {}).get(name) == value for name, value in recurring.items())

    return list_objects(
        call, "price", "/v1/prices", matches=matches, filters=("active", "currency", "product", "type")
    )


_ONE: Final = "/v1/prices/{price}"

OPERATIONS = (
    Operation("POST", "/v1/prices", create, "price_create"),
    Operation("GET", "/v1/prices", list_, "price_list"),
    Operation("GET", _ONE, retrieve, "price_retrieve"),
    Operation("POST", _ONE, update, "price_update"),
)
