"""What a subscription is for: prices and quantities, and what they come to ("Subscription items")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import money
from sandbox.errors import Json, invalid, missing_param
from sandbox.resources.price_bodies import amount_in, new_price
from sandbox.subscriptions import bodies
from sandbox.work import visible

if TYPE_CHECKING:
    from sandbox.work import Work

_AT_MOST: Final = 20


def resolve_price(work: Work, wanted: Json, param: str) -> Json:
    """The recurring price that a request names or describes, as it is stored.

    Raises: ApiError for a price that is missing, not active, or not recurring.
    """
    if wanted.get("price") and wanted.get("price_data"):
        raise invalid("You may only specify one of these parameters: price, price_data.", f"{param}[price_data]")
    if wanted.get("price_data"):
        return inline_price(work, wanted["price_data"], f"{param}[price_data]")
    name = "price" if wanted.get("price") or not wanted.get("plan") else "plan"
    if not wanted.get(name):
        raise missing_param(f"{param}[price]")
    price = work.get("price", wanted[name], f"{param}[{name}]")
    if not price["active"] and not wanted.get("_may_be_archived"):
        raise invalid("The price specified is inactive. This field only accepts active prices.", f"{param}[{name}]")
    if price["type"] != "recurring":
        raise invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            f"{param}[{name}]",
        )  # fmt: skip
    return price


def inline_price(work: Work, data: Json, param: str) -> Json:
    """A price that a request describes, for this use alone (`price_data`).

    Raises: ApiError for a product that is not there, or an amount that cannot be.
    """
    product = work.get("product", data["product"], f"{param}[product]")
    price = new_price(work, product["id"], {**data, "active": False}, param)
    work.emit("price.created", price)
    return price


def quantity_of(wanted: Json, param: str, default: int = 1) -> int:
    """How many are asked for.

    Raises: ApiError for a negative number.
    """
    quantity = wanted.get("quantity")
    if quantity is None:
        return default
    if quantity < 0:
        raise invalid(
            "This value must be greater than or equal to 0.", f"{param}[quantity]", "parameter_invalid_integer"
        )
    return int(quantity)


def check(subscription: Json, items: list[Json]) -> None:
    """Refuse items that one subscription cannot have together.

    Raises: ApiError for none or too many, for one price twice, and, unless billing is flexible, for intervals that
        differ.
    """
    if not items:
        raise invalid("A subscription must have at least one active item.", "items")
    if len(items) > _AT_MOST:
        raise invalid(f"You may only have up to {_AT_MOST} items on a subscription.", "items")
    seen: set[str] = set()
    for index, item in enumerate(items):
        id_ = item["price"]["id"]
        if id_ in seen:
            raise invalid(f"Cannot add multiple subscription items with the same plan: {id_}", f"items[{index}][price]")
        seen.add(id_)
    cycles = {bodies.cycle_of(item) for item in items}
    if len(cycles) > 1 and subscription["billing_mode"]["type"] == "classic":
        raise invalid(
            "All prices on a subscription must have the same `recurring.interval` and `recurring.interval_count`. If "
            "you meant to update an existing subscription item instead of creating a new one, make sure to include the "
            "subscription item ID in your request.", "items",
        )  # fmt: skip


def check_currency(price: Json, currency: str, param: str) -> None:
    """Refuse a price that is not sold in a currency.

    Raises: ApiError.
    """
    if amount_in(price, currency) is None:
        offered = ", ".join(f"`{name}`" for name in (price["currency"], *price["_currency_options"]))
        raise invalid(
            f"The price specified only supports {offered}. This doesn't match the expected currency: `{currency}`.",
            param,
        )  # fmt: skip


def amount_of(work: Work, item: Json, currency: str) -> int:
    """What an item costs for a whole period, before discounts, in the currency's smallest unit."""
    return _unit(work, item, currency) * int(item["quantity"])


def _unit(work: Work, item: Json, currency: str) -> int:
    price = work.get("price", item["price"]["id"])
    return amount_in(price, currency) or 0


def name_of(work: Work, item: Json) -> str:
    """What an item is called on an invoice, with how many there are where there are several."""
    name = _product_name(work, item)
    return name if item["quantity"] == 1 else f"{item['quantity']} × {name}"


def described(work: Work, item: Json, currency: str) -> str:
    """An item as a whole period's line describes it: `1 × Gold (at $10.00 / month)`."""
    cycle = bodies.cycle_of(item)
    every = cycle.interval if cycle.count == 1 else f"every {cycle.count} {cycle.interval}s"
    unit = money.shown(_unit(work, item, currency), currency)
    return f"{item['quantity']} × {_product_name(work, item)} (at {unit} / {every})"


def _product_name(work: Work, item: Json) -> str:
    product = work.find("product", item["price"]["product"])
    return str(product["name"] if product is not None else item["price"]["nickname"] or item["price"]["id"])


def shown_price(price: Json) -> Json:
    """A price as an item shows it."""
    return visible(price)
