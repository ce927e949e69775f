"""Lines of invoices ("The Line Item object")."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sandbox.errors import Json, invalid
from sandbox.ids import new_id
from sandbox.resources.price_bodies import amount_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.work import Work


def line(
    work: Work, *, amount: int, currency: str, description: str | None, period: tuple[int, int],
    price: str | None = None, quantity: int | None = 1, proration: bool = False, subscription: str | None = None,
    subscription_item: str | None = None, invoice_item: str | None = None, discountable: bool = True,
    discounts: Sequence[str] = (), metadata: Json | None = None, credited_items: Json | None = None,
) -> Json:  # fmt: skip
    """A line of an invoice; it belongs to none yet.

    Args:
        amount: before discounts, negative for a credit.
        period: the first and the last second that it is for.
        price: the id of a stored price; None for an amount alone.
        discounts: ids of discounts on this line alone.
        credited_items: `{"invoice": …, "invoice_line_items": […]}`, for the credit of a proration.
    """
    return {
        "id": new_id("il"), "object": "line_item", "amount": amount, "currency": currency, "description": description,
        "discount_amounts": [], "discountable": discountable and not proration, "discounts": list(discounts),
        "invoice": None, "livemode": False, "metadata": dict(metadata or {}),
        "parent": _parent(invoice_item, subscription, subscription_item, credited_items, proration=proration),
        "period": {"end": period[1], "start": period[0]}, "pretax_credit_amounts": [],
        "pricing": pricing(work, price, amount, quantity, currency), "quantity": quantity,
        "quantity_decimal": None if quantity is None else str(quantity), "subscription": subscription,
        "subtotal": amount, "taxes": [],
    }  # fmt: skip


def _parent(
    invoice_item: str | None, subscription: str | None, subscription_item: str | None, credited_items: Json | None, *,
    proration: bool,
) -> Json | None:  # fmt: skip
    details: Json = {
        "invoice_item": invoice_item, "proration": proration,
        "proration_details": {"credited_items": credited_items} if proration else None, "subscription": subscription,
    }  # fmt: skip
    if subscription_item is not None:
        return {
            "invoice_item_details": None, "type": "subscription_item_details",
            "subscription_item_details": {**details, "subscription_item": subscription_item},
        }  # fmt: skip
    if invoice_item is None:
        return None
    return {
        "invoice_item_details": details, "subscription_item_details": None, "type": "invoice_item_details"
    }  # fmt: skip


def pricing(
    work: Work, price: str | None, amount: int, quantity: int | None, currency: str, unit: Decimal | None = None
) -> Json:
    """What a line or item says of its price; of an amount alone, nothing but the amount of one."""
    found = work.any(price) if price is not None else None
    if found is None:
        unit = Decimal(amount) / (quantity or 1) if unit is None else unit
        return {"type": "price_details", "unit_amount_decimal": f"{unit.normalize():f}"}
    return {
        "price_details": {"price": price, "product": found["product"]}, "type": "price_details",
        "unit_amount_decimal": str(amount_in(found, currency)),
    }  # fmt: skip


def priced_amount(work: Work, price: str, currency: str | None, quantity: int, param: str) -> tuple[int, str]:
    """What a one-time price comes to, and its currency.

    Raises: ApiError for a price that is recurring, inactive, or not in the currency.
    """
    found = work.get("price", price, param)
    if found["type"] != "one_time":
        raise invalid(
            f"The price specified is set to `type=recurring` but this field only accepts prices with `type=one_time`: "
            f"{price}", param,
        )  # fmt: skip
    if not found["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", param)
    currency = currency or found["currency"]
    unit = amount_in(found, currency)
    if unit is None:
        raise invalid(
            f"The price specified only supports `{found['currency']}`. This doesn't match the expected currency: "
            f"`{currency}`.", param,
        )  # fmt: skip
    return unit * quantity, currency
