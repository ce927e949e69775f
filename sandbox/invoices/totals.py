"""What an invoice comes to: lines, discounts, and the customer's balance ("The Invoice object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import discounts
from sandbox.listing import as_list
from sandbox.resources import customers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandbox.errors import Json
    from sandbox.work import Work

_SHOWN: Final = 10


def refresh(work: Work, invoice: Json) -> None:
    """Work a draft out anew from its lines and discounts; what is due takes the customer's balance into account."""
    lines = invoice["_lines"]
    left = [line["amount"] for line in lines]
    for index, line in enumerate(lines):
        line["invoice"], line["subtotal"] = invoice["id"], line["amount"]
        taken = discounts.amount_off(_stored(work, line["discounts"]), [line])[0]
        line["discount_amounts"] = taken
        left[index] -= sum(part["amount"] for part in taken)
    invoice["subtotal"] = invoice["subtotal_excluding_tax"] = sum(left)
    remaining = [{**line, "amount": amount} for line, amount in zip(lines, left, strict=True)]
    by_line = discounts.amount_off(_stored(work, invoice["discounts"]), remaining)
    for line, taken in zip(lines, by_line, strict=True):
        line["discount_amounts"] += taken
        line["pretax_credit_amounts"] = _as_credits(line["discount_amounts"])
    given = sum_by_discount(part for line in lines for part in line["discount_amounts"])
    invoice["total_discount_amounts"], invoice["total_pretax_credit_amounts"] = given, _as_credits(given)
    invoice["total"] = sum(left) - sum(part["amount"] for taken in by_line for part in taken)
    invoice["total_excluding_tax"] = invoice["total"]
    show_lines(invoice)
    customer = work.find("customer", invoice["customer"]) or {}
    invoice["starting_balance"] = customers.balance_of(customer, invoice["currency"])
    invoice["amount_due"] = invoice["amount_remaining"] = due_after_balance(invoice)


def show_lines(invoice: Json) -> None:
    """Show the first lines in the invoice; a list of their own has all."""
    lines = invoice["_lines"]
    invoice["lines"] = as_list(
        lines[:_SHOWN], f"/v1/invoices/{invoice['id']}/lines", has_more=len(lines) > _SHOWN
    )


def due_after_balance(invoice: Json) -> int:
    """What is left to pay: a credit of the customer's lessens it, a debt adds to it."""
    due: int = invoice["total"] + invoice["starting_balance"]
    return max(0, due) if invoice["total"] >= 0 else 0


def sum_by_discount(parts: Iterable[Json]) -> list[Json]:
    """Discount amounts added up, one entry a discount."""
    sums: dict[str, int] = {}
    for part in parts:
        sums[part["discount"]] = sums.get(part["discount"], 0) + part["amount"]
    return [{"amount": amount, "discount": discount} for discount, amount in sums.items()]


def _stored(work: Work, ids: Sequence[str]) -> list[Json]:
    return [work.get("discount", id_) for id_ in ids]


def _as_credits(parts: Sequence[Json]) -> list[Json]:
    return [{**part, "type": "discount"} for part in parts]
