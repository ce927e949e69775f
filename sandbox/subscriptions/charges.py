"""What a subscription is charged and credited with: the lines of its invoices, before they are on one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sandbox import discounts
from sandbox.invoices import draft
from sandbox.invoices import items as invoice_items
from sandbox.subscriptions import bodies, items, periods, proration
from sandbox.subscriptions.periods import Anchor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.errors import Json
    from sandbox.work import Work


@dataclass(frozen=True, slots=True)
class Charge:
    """One line to be.

    Attributes:
        item: the id of the subscription item.
        amount: in the currency's smallest unit, negative for a credit; of a proration after discounts, else before.
        net: after discounts.
        period: first second, and the first that is no longer part of it.
        credited: which lines of which invoice, or which pending invoice item, a credit is for, where that is known.
    """

    item: str
    price: str
    amount: int
    net: int
    description: str
    period: tuple[int, int]
    quantity: int
    is_proration: bool = False
    is_credit: bool = False
    discounts: tuple[str, ...] = ()
    credited: Json | None = None


def net_amounts(work: Work, subscription: Json) -> dict[str, int]:
    """What each item costs for a whole period after the discounts that are on it, by the item's id."""
    lines = []
    left: list[int] = []
    currency = subscription["currency"]
    for item in bodies.items_of(subscription):
        amount = items.amount_of(work, item, currency)
        line = {
            "amount": amount, "currency": currency, "discountable": True,
            "pricing": {"price_details": {"product": item["price"]["product"]}},
        }  # fmt: skip
        own = discounts.applicable(_stored(work, item["discounts"]), work.now)
        taken = discounts.amount_off(own, [line])[0]
        line["amount"] = amount - sum(part["amount"] for part in taken)
        lines.append(line)
        left.append(line["amount"])
    on_all = discounts.applicable(_stored(work, discounts_on(work, subscription)), work.now)
    for index, taken in enumerate(discounts.amount_off(on_all, lines)):
        left[index] -= sum(part["amount"] for part in taken)
    return {item["id"]: amount for item, amount in zip(bodies.items_of(subscription), left, strict=True)}


def discounts_on(work: Work, subscription: Json) -> list[str]:
    """The ids of the discounts on a subscription's invoices: its own, or else the customer's."""
    if subscription["discounts"]:
        return list(subscription["discounts"])
    customer = work.find("customer", subscription["customer"])
    own = customer.get("discount") if customer is not None else None
    return [own["id"]] if own else []


def _stored(work: Work, ids: Iterable[str]) -> list[Json]:
    return [found for id_ in ids if (found := work.find("discount", id_)) is not None]


def for_period(work: Work, subscription: Json, item: Json, start: int, end: int, nets: dict[str, int]) -> Charge:
    """What an item costs from one second to another, which lie within one whole period of its cycle.

    Less than a whole period is a proration.
    """
    whole = periods.period_at(bodies.anchor_of(subscription), bodies.cycle_of(item), start)
    amount, net = items.amount_of(work, item, subscription["currency"]), nets[item["id"]]
    if (start, end) == whole:
        return Charge(
            item["id"], item["price"]["id"], amount, net, items.described(work, item, subscription["currency"]),
            whole, item["quantity"], discounts=tuple(item["discounts"]),
        )  # fmt: skip
    return _remaining(work, item, net, whole, start, end)


def remaining(work: Work, subscription: Json, item: Json, net: int, at: int) -> Charge:
    """What is left of an item's current period from a second on, which may be all of it."""
    whole = periods.period_at(bodies.anchor_of(subscription), bodies.cycle_of(item), at)
    return _remaining(work, item, net, whole, at, item["current_period_end"])


def _remaining(work: Work, item: Json, net: int, whole: tuple[int, int], start: int, end: int) -> Charge:
    amount = proration.charge(net, whole, start, end)
    return Charge(
        item["id"], item["price"]["id"], amount, amount, f"Remaining time on {items.name_of(work, item)} "
        f"after {_date(start)}", (start, end), item["quantity"], is_proration=True,
    )  # fmt: skip


def past(work: Work, item: Json, net: int, start: int, end: int) -> Charge:
    """What an item costs for time that has gone by when its subscription begins ("Backdate subscriptions")."""
    anchor, cycle = Anchor(start), bodies.cycle_of(item)
    amount, at = 0, start
    while at < end:
        whole = periods.period_at(anchor, cycle, at)
        amount += proration.charge(net, whole, at, min(whole[1], end))
        at = whole[1]
    return Charge(
        item["id"], item["price"]["id"], amount, amount,
        f"Time on {items.name_of(work, item)} from {_date(start)} until {_date(end)}", (start, end), item["quantity"],
        is_proration=True,
    )  # fmt: skip


def for_trial(work: Work, item: Json) -> Charge:
    """The line of a trial, which costs nothing."""
    return Charge(
        item["id"], item["price"]["id"], 0, 0, f"Trial period for {items.name_of(work, item)}",
        bodies.period_of(item), item["quantity"],
    )  # fmt: skip


def unused(work: Work, subscription: Json, item: Json, at: int) -> Charge | None:
    """What is given back of what an item was charged with; None where it was charged with nothing."""
    debit = bodies.debit_of(subscription, item["id"])
    if debit is None or debit.amount == 0 or debit.end <= at:
        return None
    amount = proration.credit(debit, at)
    return Charge(
        item["id"], item["price"]["id"], amount, amount, f"Unused time on {items.name_of(work, item)} "
        f"after {_date(at)}", (max(at, debit.start), debit.end), item["quantity"], is_proration=True,
        is_credit=True, credited=_credited(work, subscription["_debits"][item["id"]]),
    )  # fmt: skip


def _credited(work: Work, debit: Json) -> Json | None:
    invoice_item = work.find("invoiceitem", debit["invoice_item"]) if debit["invoice_item"] else None
    invoice = invoice_item["invoice"] if invoice_item is not None else debit["invoice"]
    line = debit["line"]
    if invoice is not None and line is None:
        line = next(
            (line["id"] for line in (work.find("invoice", invoice) or {"_lines": []})["_lines"]
             if _invoice_item_of(line) == debit["invoice_item"]), None,
        )  # fmt: skip
    if invoice is None and invoice_item is not None:
        return {"invoice_item": invoice_item["id"]}
    return None if invoice is None or line is None else {"invoice": invoice, "invoice_line_items": [line]}


def _invoice_item_of(line: Json) -> str | None:
    parent = line["parent"] or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return details.get("invoice_item")


def as_line(work: Work, subscription: Json, charge: Charge) -> Json:
    """A charge as the line of an invoice."""
    return draft.line(
        work, amount=charge.amount, currency=subscription["currency"], description=charge.description,
        period=charge.period, price=charge.price, quantity=charge.quantity, proration=charge.is_proration,
        subscription=subscription["id"], subscription_item=charge.item, discountable=not charge.is_proration,
        discounts=charge.discounts,
        credited_items=charge.credited if "invoice" in (charge.credited or {}) else None,
    )  # fmt: skip


def as_invoice_item(work: Work, subscription: Json, charge: Charge) -> Json:
    """A charge as something that waits for the next invoice."""
    return invoice_items.new_item(
        work, customer=subscription["customer"], currency=subscription["currency"], amount=charge.amount,
        description=charge.description, period=charge.period, price=charge.price, quantity=charge.quantity,
        proration=charge.is_proration, subscription=subscription["id"], subscription_item=charge.item,
        discountable=not charge.is_proration, credited_items=charge.credited,
    )  # fmt: skip


def note_debit(
    subscription: Json, charge: Charge, *, invoice: str | None = None, line: str | None = None,
    invoice_item: str | None = None,
) -> None:  # fmt: skip
    """Remember what an item's time was charged with, so that it can be given back."""
    subscription["_debits"][charge.item] = {
        "amount": charge.net, "start": charge.period[0], "end": charge.period[1], "invoice": invoice, "line": line,
        "invoice_item": invoice_item,
    }  # fmt: skip
    for item in bodies.items_of(subscription):
        if item["id"] == charge.item:
            item["billed_until"] = charge.period[1]


def _date(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%d %b %Y")
