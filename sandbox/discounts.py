"""Coupons at work: what redeeming one makes, what it takes off which line, and when it ends ("The Discount object")."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from sandbox import clocks, money
from sandbox.errors import Json, invalid, missing_object
from sandbox.ids import new_id
from sandbox.subscriptions import periods
from sandbox.work import Work, copied

if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_MOST: Final = 20
_MONTH: Final = periods.Cycle("month")


def redeem_all(
    work: Work, wanted: object, *, customer: str | None, subscription: str | None = None,
    subscription_item: str | None = None, invoice: str | None = None, invoice_item: str | None = None,
    currency: str | None = None, amount: int | None = None, param: str = "discounts",
) -> list[Json]:  # fmt: skip
    """The discounts that a `discounts` parameter asks for: coupons, promotion codes, or discounts that are there.

    Args:
        wanted: the parameter as it was checked; empty for none.

    Raises: ApiError, as `redeem`; also for more than 20.
    """
    entries = wanted if isinstance(wanted, list) else []
    if len(entries) > _AT_MOST:
        raise invalid(f"You may only pass up to {_AT_MOST} discounts.", param)
    redeemed = []
    for index, entry in enumerate(entries):
        path = f"{param}[{index}]"
        named = [name for name in ("coupon", "promotion_code", "discount") if entry.get(name)]
        if len(named) != 1:
            raise invalid("You must pass exactly one of coupon, discount, or promotion_code.", path)
        if named == ["discount"]:
            redeemed.append(_existing(work, entry["discount"], f"{path}[discount]"))
            continue
        redeemed.append(
            redeem(
                work, customer=customer, coupon=entry.get("coupon"), promotion_code=entry.get("promotion_code"),
                subscription=subscription, subscription_item=subscription_item, invoice=invoice,
                invoice_item=invoice_item, currency=currency, amount=amount, param=path,
            )
        )  # fmt: skip
    coupons = [discount["source"]["coupon"] for discount in redeemed]
    if len(set(coupons)) < len(coupons):
        raise invalid("You cannot apply the same coupon more than once.", param)
    return redeemed


def _existing(work: Work, id_: str, param: str) -> Json:
    discount = work.find("discount", id_)
    if discount is None or discount["_is_over"]:
        raise missing_object("discount", id_, param)
    return discount


def redeem(
    work: Work, *, customer: str | None, coupon: str | None = None, promotion_code: str | None = None,
    subscription: str | None = None, subscription_item: str | None = None, invoice: str | None = None,
    invoice_item: str | None = None, currency: str | None = None, amount: int | None = None,
    param: str = "discounts[0]",
) -> Json:  # fmt: skip
    """Redeem a coupon or a promotion code: a stored discount, and one redemption less to come.

    Args:
        currency: what is billed in; a coupon of another currency alone is refused.
        amount: what is billed, for codes that ask for a minimum.
        param: of the request, for errors; empty where the coupon is a parameter of its own.

    Raises: ApiError for what is used up, expired, inactive, or not for this customer.
    """
    name = "coupon" if promotion_code is None else "promotion_code"
    param = f"{param}[{name}]" if param else name
    if promotion_code is not None:
        code = work.get("promotion_code", promotion_code, param)
        _check_code(work, code, customer, currency, amount, param)
        coupon = code["promotion"]["coupon"]
    terms = work.get("coupon", coupon or "", param)
    _check_coupon(work, terms, currency, param)
    discount = work.add(
        {
            "id": new_id("di"), "object": "discount", "checkout_session": None, "customer": customer,
            "customer_account": None, "end": _end(terms, work.now), "invoice": invoice, "invoice_item": invoice_item,
            "promotion_code": promotion_code, "source": {"coupon": terms["id"], "type": "coupon"}, "start": work.now,
            "subscription": subscription, "subscription_item": subscription_item, "_is_over": False,
            # The coupon may be deleted; what was redeemed stays.
            "_terms": {
                "amount_off": _amounts_off(terms), "duration": terms["duration"], "percent_off": terms["percent_off"],
                "products": (terms["_applies_to"] or {}).get("products"),
            },
        }
    )  # fmt: skip
    for kind, id_ in (("coupon", terms["id"]), ("promotion_code", promotion_code)):
        if id_ is not None:
            work.edit(kind, id_)["times_redeemed"] += 1
    terms = work.edit("coupon", terms["id"])
    terms["valid"] = is_valid(terms, work.now)
    if invoice is None and invoice_item is None:
        work.emit("customer.discount.created", discount)
        if discount["end"] is not None:
            clocks.schedule(work, customer, discount["end"], "end_discount", discount["id"])
    return discount


def _amounts_off(coupon: Json) -> Json:
    amounts = {name: option["amount_off"] for name, option in (coupon["_currency_options"] or {}).items()}
    return amounts | ({coupon["currency"]: coupon["amount_off"]} if coupon["amount_off"] is not None else {})


def _end(coupon: Json, start: int) -> int | None:
    if coupon["duration"] != "repeating":
        return None
    return periods.add(start, _MONTH, coupon["duration_in_months"])


def is_valid(coupon: Json, now: int) -> bool:
    """Whether a coupon can still be redeemed ("The Coupon object")."""
    by, most = coupon["redeem_by"], coupon["max_redemptions"]
    return (by is None or by > now) and (most is None or coupon["times_redeemed"] < most)


def is_active(work: Work, code: Json) -> bool:
    """Whether a promotion code can be redeemed: it is active, and so is its coupon ("The Promotion Code object")."""
    coupon = work.find("coupon", code["promotion"]["coupon"], work.owner(code["id"]))
    return (
        code["active"]
        and (code["expires_at"] is None or code["expires_at"] > work.now)
        and (code["max_redemptions"] is None or code["times_redeemed"] < code["max_redemptions"])
        and coupon is not None
        and is_valid(coupon, work.now)
    )


def _check_coupon(work: Work, coupon: Json, currency: str | None, param: str) -> None:
    if coupon["redeem_by"] is not None and coupon["redeem_by"] <= work.now:
        raise invalid(f"Coupon expired: {coupon['id']}", param, "coupon_expired")
    if not is_valid(coupon, work.now):
        raise invalid(f"Coupon {coupon['id']} is used up and cannot be applied.", param)
    if coupon["amount_off"] is not None and currency is not None and currency not in _amounts_off(coupon):
        raise invalid(
            f"The coupon {coupon['id']} is in {coupon['currency']} and cannot be applied to what is billed in "
            f"{currency}.", param,
        )  # fmt: skip


def _check_code(
    work: Work, code: Json, customer: str | None, currency: str | None, amount: int | None, param: str
) -> None:
    if code["expires_at"] is not None and code["expires_at"] <= work.now:
        raise invalid("This promotion code is expired.", param, "coupon_expired")
    if not is_active(work, code):
        raise invalid("This promotion code is inactive.", param)
    if code["customer"] is not None and code["customer"] != customer:
        raise invalid("This promotion code cannot be redeemed because it is for another customer.", param)
    restrictions = code["restrictions"]
    if restrictions["first_time_transaction"] and customer is not None and _has_paid(work, customer):
        raise invalid(
            "This promotion code cannot be redeemed because the associated customer has prior transactions.", param
        )
    if amount is not None and restrictions["minimum_amount"] is not None and currency is not None:
        minimum = _minimum(restrictions, currency)
        if minimum is None or amount < minimum:
            raise invalid(
                "This promotion code cannot be redeemed because the associated purchase does not meet the minimum "
                "amount requirement.", param,
            )  # fmt: skip


def _minimum(restrictions: Json, currency: str) -> int | None:
    if currency == restrictions["minimum_amount_currency"]:
        return int(restrictions["minimum_amount"])
    option = restrictions.get("currency_options", {}).get(currency)
    return None if option is None else int(option["minimum_amount"])


def _has_paid(work: Work, customer: str) -> bool:
    link = ("customer", customer)
    return any(charge["paid"] for charge in work.listed("charge", link=link)) or any(
        invoice["status"] == "paid" and invoice["amount_paid"] for invoice in work.listed("invoice", link=link)
    )


def applicable(discounts: Sequence[Json], at: int) -> list[Json]:
    """Those that are not over at a second; one that is for an invoice once is over when it was used (`use_up`)."""
    return [d for d in discounts if not d["_is_over"] and (d["end"] is None or d["end"] > at)]


def amount_off(discounts: Sequence[Json], lines: Sequence[Json]) -> list[list[Json]]:
    """What each line is reduced by: its `discount_amounts`, one entry a discount, in their order.

    Each discount takes from what those before have left. What it takes altogether is rounded half up, and is made up
    by the lines in proportion, the largest remainders first. Lines that are credits or not discountable, and those
    of other products than the coupon is for, are left alone, as is all where a coupon knows nothing of the currency.

    Args:
        lines: as invoices have them: `amount`, `currency`, `discountable`, `pricing`.
    """
    left = [line["amount"] if line["discountable"] else 0 for line in lines]
    taken: list[list[Json]] = [[] for _ in lines]
    for discount in discounts:
        terms = discount["_terms"]
        base = [
            max(0, amount) if _is_meant(terms, line) else 0 for amount, line in zip(left, lines, strict=True)
        ]
        for index, amount in enumerate(_shares(terms, base, lines)):
            left[index] -= amount
            taken[index].append({"amount": amount, "discount": discount["id"]})
    return taken


def _is_meant(terms: Json, line: Json) -> bool:
    products = terms["products"]
    if products is None:
        return True
    details = (line.get("pricing") or {}).get("price_details") or {}
    return details.get("product") in products


def _shares(terms: Json, base: list[int], lines: Sequence[Json]) -> list[int]:
    whole = sum(base)
    if whole == 0:
        return [0] * len(base)
    if terms["percent_off"] is not None:
        exact = whole * Decimal(str(terms["percent_off"])) / 100
        total = min(whole, money.round_half_up(exact))
    else:
        total = min(whole, terms["amount_off"].get(lines[0]["currency"], 0))
    return in_proportion(total, base)


def in_proportion(total: int, weights: Sequence[int]) -> list[int]:
    """A total cut by weights, none of them negative: whole numbers that add up to it, the largest remainders first."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def use_up(work: Work, discounts: Sequence[Json]) -> None:
    """An invoice has used these: those of the duration `once` are over, and are taken from where they hang."""
    for discount in discounts:
        if discount["_terms"]["duration"] == "once":
            remove(work, discount["id"])


def remove(work: Work, id_: str) -> Json:
    """Take a discount from its customer or subscription; the invoices that it is on keep it.

    Returns: what is left of it, as the API answers a deletion.
    """
    discount = work.edit("discount", id_)
    answer = {name: value for name, value in discount.items() if name != "end"}
    answer["deleted"] = True
    if discount["_is_over"]:
        return answer
    discount["_is_over"] = True
    clocks.unschedule(work, "end_discount", id_)
    if discount["invoice"] is not None or discount["invoice_item"] is not None:
        return answer
    customer = work.find("customer", discount["customer"] or "")
    if customer is not None and (customer["discount"] or {}).get("id") == id_:
        work.edit("customer", customer["id"])["discount"] = None
    subscription = work.find("subscription", discount["subscription"] or "")
    if subscription is not None and id_ in (subscription.get("discounts") or []):
        body = work.edit("subscription", subscription["id"])
        before = copied(body)
        body["discounts"] = [other for other in body["discounts"] if other != id_]
        work.emit_updated("customer.subscription.updated", body, before)
    work.emit("customer.discount.deleted", discount)
    return answer


def end(work: Work, id_: str) -> None:
    """The months of a repeating discount are over (the action `end_discount`)."""
    remove(work, id_)
