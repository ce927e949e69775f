"""Products ("The Product object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox.errors import Json, invalid
from sandbox.ids import random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.price_bodies import new_price
from sandbox.work import Work, copied

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARKETING_FEATURES: Final = 15
_FEATURE: Final = 80
_IMAGES: Final = 8
_DESCRIPTOR: Final = 22
_CHANGEABLE: Final = (
    "active", "description", "name", "package_dimensions", "shippable", "statement_descriptor", "tax_code",
    "tax_details", "unit_label", "url",
)  # fmt: skip


def create(call: Call) -> Json:
    """ "Create a product", perhaps with its default price."""
    work, params = call.work, call.params
    body = new_product(work, params)
    pricing = call.given("default_price_data")
    if pricing is None:
        work.emit("product.created", body)
        return body
    price = new_price(work, body["id"], pricing, "default_price_data")
    body["default_price"] = price["id"]
    work.emit("product.created", body)
    work.emit("price.created", price)
    return body


def new_product(work: Work, params: Json) -> Json:
    """A product as `product_data` or a request describes it, stored; nothing is said of it yet."""
    body: Json = {
        "id": params.get("id") or f"prod_{random_text(14)}", "object": "product", "active": True, "created": work.now,
        "default_price": None, "description": None, "images": [], "livemode": False, "marketing_features": [],
        "metadata": new_metadata(params), "name": "", "package_dimensions": None, "shippable": None,
        "statement_descriptor": None, "tax_code": None, "tax_details": None, "type": params.get("type", "service"),
        "unit_label": None, "updated": work.now, "url": None,
    }  # fmt: skip
    _apply(body, params)
    return work.add_named(body) if params.get("id") else work.add(body)


def _apply(body: Json, params: Json) -> None:
    for name in _CHANGEABLE:
        if name in params:
            body[name] = _plain(params[name]) if params[name] != "" else None
    if len(body["statement_descriptor"] or "") > _DESCRIPTOR:
        raise invalid(f"Invalid string: must be at most {_DESCRIPTOR} characters", "statement_descriptor")
    for name, most in (("images", _IMAGES), ("marketing_features", _MARKETING_FEATURES)):
        if name in params:
            body[name] = params[name] or []
            if len(body[name]) > most:
                raise invalid(f"You may only pass up to {most} {name}.", name)
    if any(len(feature["name"]) > _FEATURE for feature in body["marketing_features"]):
        raise invalid(f"Invalid string: must be at most {_FEATURE} characters", "marketing_features")


def _plain(value: Any) -> Any:
    """Decimal numbers are floats in Stripe's JSON."""
    return {name: float(item) for name, item in value.items()} if _is_measured(value) else value


def _is_measured(value: Any) -> bool:
    return isinstance(value, dict) and "height" in value


def retrieve(call: Call) -> Json:
    """ "Retrieve a product"."""
    return call.work.get("product", call.path["product"], "id", in_path=True)


def update(call: Call) -> Json:
    """ "Update a product"."""
    work, params = call.work, call.params
    id_ = call.work.get("product", call.path["product"], "id", in_path=True)["id"]
    body = work.edit("product", id_)
    before = copied(body)
    if "default_price" in params:
        price = work.get("price", params["default_price"], "default_price")
        if price["product"] != id_ or not price["active"]:
            raise invalid(
                f"The price {price['id']} cannot be the default: it must be active, and a price of this product.",
                "default_price",
            )
        body["default_price"] = price["id"]
    _apply(body, params)
    update_metadata(body, params.get("metadata"))
    body["updated"] = work.now
    work.emit_updated("product.updated", body, before)
    return body


def delete(call: Call) -> Json:
    """ "Delete a product", which is possible while it has no prices."""
    work = call.work
    body = work.get("product", call.path["product"], "id", in_path=True)
    if work.listed("price", link=("product", body["id"])):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.")
    work.emit("product.deleted", {**body, "active": False})
    return work.remove("product", body["id"])


def list_(call: Call) -> Json:
    """ "List all products"."""
    ids = call.given("ids")

    def matches(product: Mapping[str, Any]) -> bool:
        return not ids or product["id"] in ids

    return list_objects(
        call, "product", "/v1/products", matches=matches, filters=("active", "shippable", "type", "url")
    )


_ONE: Final = "/v1/products/{product}"

OPERATIONS = (
    Operation("POST", "/v1/products", create, "product_create"),
    Operation("GET", "/v1/products", list_, "product_list"),
    Operation("GET", _ONE, retrieve, "product_retrieve"),
    Operation("POST", _ONE, update, "product_update"),
    Operation("DELETE", _ONE, delete, "product_delete"),
)
