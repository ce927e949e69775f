"""Invoice items: what waits for a customer's next invoice ("The Invoice Item object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import clocks
from sandbox.ids import new_id
from sandbox.invoices import lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from sandbox.errors import Json
    from sandbox.work import Work


def new_item(
    work: Work, *, customer: str, currency: str, amount: int, description: str | None, period: tuple[int, int],
    price: str | None = None, quantity: int = 1, proration: bool = False, subscription: str | None = None,
    subscription_item: str | None = None, discountable: bool = True, discounts: Sequence[str] = (),
    metadata: Json | None = None, credited_items: Json | None = None, invoice: str | None = None,
    id_: str | None = None, unit_amount: Decimal | None = None,
) -> Json:  # fmt: skip
    """A pending invoice item, as a proration is one; `invoiceitem.created`.

    Args:
        amount: before discounts, negative for a credit.
        period: the first and the last second that it is for.
        credited_items: as of a line (`lines.line`), or `{"invoice_item": …}` for the credit of one on no invoice yet.
        invoice: the draft that it goes on at once.
        id_: one that was made before.
        unit_amount: what one costs, where the amount is rounded.
    """
    counts = discountable and not proration
    item: Json = {
        "id": id_ or new_id("ii"), "object": "invoiceitem", "amount": amount, "currency": currency,
        "customer": customer, "customer_account": None, "date": work.now, "description": description,
        "discountable": counts, "discounts": list(discounts), "frozen_fields": None, "invoice": invoice,
        "invoicing_rules": None, "livemode": False, "metadata": dict(metadata or {}),
        "parent": _parent(subscription, subscription_item),
        "period": {"end": period[1], "start": period[0]},
        "pricing": lines.pricing(work, price, amount, quantity, currency, unit_amount), "proration": proration,
        "quantity": quantity,
        "quantity_decimal": str(quantity), "tax_rates": [], "test_clock": clocks.clock_of(work, customer),
    }  # fmt: skip
    if proration:
        item["proration_details"] = _proration_details(credited_items)
    show_net(item)
    work.add(item)
    work.emit("invoiceitem.created", item)
    return item


def _parent(subscription: str | None, subscription_item: str | None) -> Json | None:
    if subscription is None:
        return None
    details = {"subscription": subscription}
    if subscription_item is not None:
        details["subscription_item"] = subscription_item
    return {"subscription_details": details, "type": "subscription_details"}


def _proration_details(credited_items: Json | None) -> Json:
    if credited_items is None:
        return {"credited_items": None, "discount_amounts": []}
    if "invoice_item" in credited_items:
        credited = {**credited_items, "invoice_line_item_details": None, "type": "invoice_item"}
    else:
        credited = {"invoice_line_item_details": credited_items, "type": "invoice_line_items"}
    return {"credited_items": credited, "discount_amounts": []}


def show_net(item: Json) -> None:
    """What is left of an item that no discount can lessen; of another it is not known before it is invoiced."""
    item.pop("net_amount", None)
    if not item["discountable"]:
        item["net_amount"] = item["amount"]


def subscription_of(item: Json) -> str | None:
    """The subscription that an invoice item is of."""
    parent = item["parent"]
    return None if parent is None else parent["subscription_details"]["subscription"]


def pending(work: Work, customer: str, currency: str, subscription: str | None = None) -> list[Json]:
    """The customer's invoice items on no invoice yet, newest first; with a subscription, its own and those of none."""
    return [
        item
        for item in work.listed("invoiceitem", link=("customer", customer))
        if item["invoice"] is None
        and item["currency"] == currency
        and (subscription is None or subscription_of(item) in (None, subscription))
    ]


def line_of(work: Work, item: Json) -> Json:
    """The line that an invoice item becomes."""
    details = (item["parent"] or {}).get("subscription_details") or {}
    credited = (item.get("proration_details") or {}).get("credited_items") or {}
    body = lines.line(
        work, amount=item["amount"], currency=item["currency"], description=item["description"],
        period=(item["period"]["start"], item["period"]["end"]), quantity=item["quantity"],
        proration=item["proration"], subscription=details.get("subscription"),
        subscription_item=details.get("subscription_item"), invoice_item=item["id"],
        discountable=item["discountable"], discounts=item["discounts"], metadata=item["metadata"],
        credited_items=credited.get("invoice_line_item_details"),
    )  # fmt: skip
    body["pricing"] = item["pricing"]
    return body
