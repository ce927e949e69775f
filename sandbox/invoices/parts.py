"""What requests say of invoice items and lines: amounts or prices, periods, discounts ("Create an invoice item")."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sandbox import discounts, money
from sandbox.errors import Json, invalid
from sandbox.ids import new_id
from sandbox.invoices import items, lines
from sandbox.operations import new_metadata, update_metadata
from sandbox.resources.price_bodies import new_price

if TYPE_CHECKING:
    from sandbox.work import Work

_PRICED: Final = frozenset(
    {"amount", "price", "price_data", "pricing", "quantity", "quantity_decimal", "unit_amount", "unit_amount_decimal"}
)
_NOT_BUILT_IN: Final = ("tax_rates", "tax_amounts", "customer_account")


def make(
    work: Work, wanted: Json, customer: str, param: str = "", *, invoice: str | None = None,
    subscription: str | None = None,
) -> Json:  # fmt: skip
    """A stored invoice item as a request describes it.

    Args:
        wanted: with `currency`.
        param: what it is under in the request.
        invoice: the draft that it goes on at once.
    """
    _refuse_unbuilt(wanted, param)
    currency = money.check_currency(wanted["currency"], _path(param, "currency"))
    quantity = _quantity(wanted, 1, param)
    amount, price, unit = _priced(work, wanted, currency, quantity, param)
    period = wanted.get("period") or {"start": work.now, "end": work.now}
    _check_period(period, param)
    id_ = new_id("ii")
    redeemed = discounts.redeem_all(
        work, wanted.get("discounts"), customer=customer, invoice_item=id_, currency=currency,
        param=_path(param, "discounts"),
    )  # fmt: skip
    return items.new_item(
        work, customer=customer, currency=currency, amount=amount,
        description=wanted.get("description") or _product_name(work, price),
        period=(period["start"], period["end"]), price=price, quantity=quantity, subscription=subscription,
        discountable=wanted.get("discountable", amount >= 0), discounts=[discount["id"] for discount in redeemed],
        metadata=new_metadata(wanted), invoice=invoice, id_=id_, unit_amount=unit,
    )  # fmt: skip


def change(work: Work, item: Json, wanted: Json, param: str = "") -> None:
    """Change an invoice item as a request says.

    Args:
        item: is being edited.
    """
    _refuse_unbuilt(wanted, param)
    if wanted.get("discountable") and item["proration"]:
        raise invalid("Prorations cannot be discountable.", _path(param, "discountable"))
    if _PRICED & set(wanted):
        _price_anew(work, item, wanted, param)
    if "description" in wanted:
        item["description"] = wanted["description"] or None
    if "period" in wanted:
        _check_period(wanted["period"], param)
        item["period"] = {"end": wanted["period"]["end"], "start": wanted["period"]["start"]}
    if "discountable" in wanted:
        item["discountable"] = wanted["discountable"]
    if "discounts" in wanted:
        redeemed = discounts.redeem_all(
            work, wanted["discounts"], customer=item["customer"], invoice_item=item["id"], currency=item["currency"],
            param=_path(param, "discounts"),
        )  # fmt: skip
        item["discounts"] = [discount["id"] for discount in redeemed]
    items.show_net(item)
    update_metadata(item, wanted.get("metadata"))


def _price_anew(work: Work, item: Json, wanted: Json, param: str) -> None:
    quantity = _quantity(wanted, item["quantity"], param)
    known = ((item["pricing"] or {}).get("price_details") or {}).get("price")
    unit: Decimal | None
    if _PRICED & set(wanted) <= {"quantity", "quantity_decimal"}:
        unit = one = Decimal(item["pricing"]["unit_amount_decimal"])
        amount, price = money.round_half_up(one * quantity), known
    else:
        amount, price, unit = _priced(work, wanted, item["currency"], quantity, param)
    item.update(amount=amount, quantity=quantity, quantity_decimal=str(quantity))
    item["pricing"] = lines.pricing(work, price, amount, quantity, item["currency"], unit)


def _priced(
    work: Work, wanted: Json, currency: str, quantity: int, param: str
) -> tuple[int, str | None, Decimal | None]:
    """The amount, and the price or the amount of one that it comes of."""
    unit = None
    price = (wanted.get("pricing") or {}).get("price") or wanted.get("price")
    named = [name for name in ("amount", "price_data", "unit_amount", "unit_amount_decimal") if name in wanted]
    if len(named) + (price is not None) != 1:
        raise invalid(
            "You must specify exactly one of `amount`, `pricing[price]`, `price_data`, or `unit_amount_decimal`.",
            _path(param, named[1] if len(named) > 1 else "amount"),
        )
    if "price_data" in wanted:
        data: Any = wanted["price_data"]
        work.get("product", data["product"], _path(param, "price_data[product]"))
        price = new_price(work, data["product"], data, _path(param, "price_data"))["id"]
    if price is not None:
        amount, _ = lines.priced_amount(work, price, currency, quantity, _path(param, "pricing[price]"))
    elif "amount" in wanted:
        amount = wanted["amount"]
    else:
        unit = Decimal(wanted.get("unit_amount_decimal") or wanted.get("unit_amount") or 0)
        amount = money.round_half_up(unit * quantity)
    if abs(amount) > money.MAX_AMOUNT:
        raise invalid("Amount is too large.", _path(param, "amount"), "amount_too_large")
    return amount, price, unit


def _quantity(wanted: Json, default: int, param: str) -> int:
    value = wanted.get("quantity", wanted.get("quantity_decimal"))
    if value is None:
        return default
    if value != int(value):
        raise invalid("Fractions of a quantity are not built into the sandbox.", _path(param, "quantity_decimal"))
    if value < 0:
        raise invalid("This value must be greater than or equal to 0.", _path(param, "quantity"))
    return int(value)


def _check_period(period: Json, param: str) -> None:
    if period["end"] < period["start"]:
        raise invalid("The period's end must be after its start.", _path(param, "period[end]"))


def _product_name(work: Work, price: str | None) -> str | None:
    found = work.any(price) if price is not None else None
    product = work.find("product", found["product"]) if found is not None else None
    return None if product is None else product["name"]


def _refuse_unbuilt(wanted: Json, param: str) -> None:
    for name in _NOT_BUILT_IN:
        if wanted.get(name):
            raise invalid(f"The parameter `{name}` is not built into the sandbox.", _path(param, name))


def _path(param: str, name: str) -> str:
    if not param:
        return name
    head, bracket, rest = name.partition("[")
    return f"{param}[{head}]{bracket}{rest}"
