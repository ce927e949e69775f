"""Coupons ("The Coupon object"): what discounts are made of."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from sandbox import money
from sandbox.errors import Json, invalid
from sandbox.ids import random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, refuse_both, update_metadata
from sandbox.work import Work, copied

_NAME: Final = 40
_FIVE_YEARS_S: Final = 5 * 366 * 86_400
_PERCENT: Final = (Decimal("0.01"), Decimal(100))


def create(call: Call) -> Json:
    """ "Create a coupon"."""
    work, params = call.work, call.params
    percent, amount, currency = _worth(params)
    duration = call.param("duration", "once")
    months = call.given("duration_in_months")
    if duration == "repeating" and months is None:
        raise invalid(
            "The duration_in_months param must be set when creating a coupon with a repeating duration", "duration"
        )
    if duration != "repeating" and months is not None:
        raise invalid(
            "The duration_in_months param can only be set with a repeating duration", "duration_in_months"
        )
    for name in ("duration_in_months", "max_redemptions"):
        if call.given(name) is not None and params[name] < 1:
            raise invalid("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")
    if months is not None and months > _FIVE_YEARS_S // 86_400:
        raise invalid("This value is too large.", "duration_in_months", "parameter_invalid_integer")
    check_future(work, call.given("redeem_by"), "redeem_by")
    body = work.add_named(
        {
            "id": call.given("id") or random_text(8), "object": "coupon", "amount_off": amount, "created": work.now,
            "currency": currency, "duration": duration, "duration_in_months": months, "livemode": False,
            "max_redemptions": call.given("max_redemptions"), "metadata": new_metadata(params), "name": _name(call),
            "percent_off": percent, "redeem_by": call.given("redeem_by"), "times_redeemed": 0, "valid": True,
            "_applies_to": _products(work, call.given("applies_to")),
            "_currency_options": _options(call.given("currency_options"), currency),
        }
    )  # fmt: skip
    work.emit("coupon.created", body)
    return body


def _worth(params: Json) -> tuple[float | None, int | None, str | None]:
    percent, amount = params.get("percent_off"), params.get("amount_off")
    if percent is None and amount is None:
        raise invalid("Must provide percent_off or amount_off.", code="parameter_missing")
    if percent is not None and amount is not None:
        raise invalid("Received both percent_off and amount_off parameters. Please pass in only one.")
    if percent is not None:
        refuse_both(params, "currency_options", "percent_off")
        least, most = _PERCENT
        if not least <= percent <= most:
            word = f"greater than or equal to {least}" if percent < least else f"less than or equal to {most}"
            raise invalid(f"This value must be {word} (it currently is '{float(percent)}').", "percent_off")
        return float(percent), None, None
    if params.get("currency") is None:
        raise invalid("You must pass currency when passing amount_off", "currency")
    _check_amount(params["amount_off"], "amount_off")
    return None, amount, money.check_currency(params["currency"])


def _check_amount(amount: int, param: str) -> None:
    if not 1 <= amount <= money.MAX_AMOUNT:
        word = "greater than or equal to 1" if amount < 1 else f"less than or equal to {money.MAX_AMOUNT}"
        raise invalid(f"This value must be {word}.", param, "parameter_invalid_integer")


def check_future(work: Work, second: int | None, param: str) -> None:
    """Refuse a time that is over, or more than five years away."""
    if second is None:
        return
    if second <= work.now:
        raise invalid(
            f"The parameter `{param}` expects a unix timestamp representing a date and time in the future. You "
            f"specified the value `{second}` which is in the past.", param,
        )  # fmt: skip
    if second > work.now + _FIVE_YEARS_S:
        raise invalid("Invalid timestamp: can be no more than five years in the future.", param)


def _name(call: Call) -> str | None:
    name = call.given("name")
    if name is not None and len(name) > _NAME:
        raise invalid(f"Invalid string: must be at most {_NAME} characters", "name")
    return None if name is None else str(name)


def _products(work: Work, applies_to: Any) -> Json | None:
    products = (applies_to or {}).get("products")
    if not products:
        return None
    for product in products:
        work.get("product", product, "applies_to[products]")
    return {"products": list(products)}


def _options(given: Any, own: str | None, kept: Json | None = None) -> Json:
    options = dict(kept or {})
    for currency, option in (given or {}).items():
        path = f"currency_options[{currency}]"
        money.check_currency_key(currency, path)
        if currency == own:
            raise invalid(f"`{currency}` is the coupon's own currency, which needs no option.", path)
        _check_amount(option["amount_off"], f"{path}[amount_off]")
        options[currency] = {"amount_off": option["amount_off"]}
    return options


def shown_options(coupon: Json) -> Json | None:
    """All currencies of a coupon, its own included, as `currency_options` shows them."""
    if coupon["currency"] is None:
        return None
    return {coupon["currency"]: {"amount_off": coupon["amount_off"]}, **coupon["_currency_options"]}


def retrieve(call: Call) -> Json:
    """ "Retrieve a coupon"."""
    return call.work.get("coupon", call.path["coupon"], "coupon", in_path=True)


def update(call: Call) -> Json:
    """ "Update a coupon": its name, its metadata, and currencies that it is given besides."""
    work, params = call.work, call.params
    work.get("coupon", call.path["coupon"], "coupon", in_path=True)
    body = work.edit("coupon", call.path["coupon"])
    before = copied(body)
    if "name" in params:
        body["name"] = _name(call)
    if call.given("currency_options"):
        if body["percent_off"] is not None:
            raise invalid("A coupon with percent_off has no currency_options.", "currency_options")
        body["_currency_options"] = _options(params["currency_options"], body["currency"], body["_currency_options"])
    update_metadata(body, params.get("metadata"))
    work.emit_updated("coupon.updated", body, before)
    return body


def delete(call: Call) -> Json:
    """ "Delete a coupon": it can be redeemed no more; what was redeemed stays."""
    work = call.work
    body = work.get("coupon", call.path["coupon"], "coupon", in_path=True)
    work.emit("coupon.deleted", {**body, "valid": False})
    return work.remove("coupon", body["id"])


def list_(call: Call) -> Json:
    """ "List all coupons"."""
    return list_objects(call, "coupon", "/v1/coupons")


_ONE: Final = "/v1/coupons/{coupon}"

OPERATIONS = (
    Operation("POST", "/v1/coupons", create, "coupon_create"),
    Operation("GET", "/v1/coupons", list_, "coupon_list"),
    Operation("GET", _ONE, retrieve, "coupon_retrieve"),
    Operation("POST", _ONE, update, "coupon_update"),
    Operation("DELETE", _ONE, delete, "coupon_delete"),
)
