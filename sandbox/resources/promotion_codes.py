"""Promotion codes ("The Promotion Code object"): coupons in the words that customers type."""

from __future__ import annotations

import re
from typing import Any, Final

from sandbox import discounts, money
from sandbox.errors import Json, invalid
from sandbox.ids import random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.coupons import check_future
from sandbox.work import Work, copied

_CODE: Final = re.compile(r"[a-zA-Z0-9\-_]+")
_LENGTH: Final = 500


def create(call: Call) -> Json:
    """ "Create a promotion code" of a coupon."""
    work, params = call.work, call.params
    coupon = params["promotion"].get("coupon")
    if not coupon:
        raise invalid("You must pass promotion.coupon when passing promotion", "promotion.coupon")
    work.get("coupon", coupon, "promotion[coupon]")
    code = _code(work, call.given("code"))
    customer = call.given("customer")
    if customer is not None:
        work.get("customer", customer, "customer")
    check_future(work, call.given("expires_at"), "expires_at")
    if call.given("max_redemptions") is not None and params["max_redemptions"] < 1:
        raise invalid("This value must be greater than or equal to 1.", "max_redemptions", "parameter_invalid_integer")
    body = work.add(
        {
            "id": f"promo_1{random_text(23)}", "object": "promotion_code", "active": call.param("active", True),
            "code": code, "created": work.now, "customer": customer, "customer_account": None,
            "expires_at": call.given("expires_at"), "livemode": False, "max_redemptions": call.given("max_redemptions"),
            "metadata": new_metadata(params), "promotion": {"coupon": coupon, "type": "coupon"},
            "restrictions": _restrictions(call.given("restrictions") or {}), "times_redeemed": 0,
            "_code": code.upper(),
        }
    )  # fmt: skip
    work.emit("promotion_code.created", body)
    return body


def _code(work: Work, wanted: str | None) -> str:
    if wanted is None:
        return random_text(8).upper()
    if not _CODE.fullmatch(wanted) or len(wanted) > _LENGTH:
        raise invalid(
            r"This value must match the regex pattern. (/\A[a-zA-Z0-9\-_]+\z/ does not match for the value "
            f"{wanted[:_LENGTH]}).", "code",
        )  # fmt: skip
    if any(discounts.is_active(work, other) for other in work.listed("promotion_code", link=("_code", wanted.upper()))):
        raise invalid(f"An active promotion code with `code: {wanted}` already exists.")
    return wanted


def _restrictions(given: Json) -> Json:
    minimum, currency = given.get("minimum_amount"), given.get("minimum_amount_currency")
    if (minimum is None) != (currency is None):
        raise invalid(
            "You must pass both minimum_amount and minimum_amount_currency, or neither.", "restrictions[minimum_amount]"
        )
    restrictions: Json = {
        "first_time_transaction": given.get("first_time_transaction", False), "minimum_amount": minimum,
        "minimum_amount_currency": None,
    }  # fmt: skip
    if minimum is not None and currency is not None:
        _check_minimum(minimum, "restrictions[minimum_amount]")
        restrictions["minimum_amount_currency"] = money.check_currency(
            currency, "restrictions[minimum_amount_currency]"
        )
    if given.get("currency_options"):
        restrictions["currency_options"] = _options(given["currency_options"], restrictions)
    return restrictions


def _check_minimum(minimum: int, param: str) -> None:
    if not 1 <= minimum <= money.MAX_AMOUNT:
        raise invalid(f"This value must be from 1 to {money.MAX_AMOUNT}.", param, "parameter_invalid_integer")


def _options(given: Any, restrictions: Json) -> Json:
    path = "restrictions[currency_options]"
    if restrictions["minimum_amount"] is None:
        raise invalid("There are currency_options only beside a minimum_amount.", path)
    options = dict(restrictions.get("currency_options") or {})
    for currency, option in given.items():
        money.check_currency_key(currency, f"{path}[{currency}]")
        if option.get("minimum_amount") is None:
            raise invalid("You must pass a minimum_amount for each currency.", f"{path}[{currency}]")
        _check_minimum(option["minimum_amount"], f"{path}[{currency}][minimum_amount]")
        options[currency] = {"minimum_amount": option["minimum_amount"]}
    return options


def retrieve(call: Call) -> Json:
    """ "Retrieve a promotion code"."""
    return call.work.get("promotion_code", call.path["promotion_code"], "promotion_code", in_path=True)


def update(call: Call) -> Json:
    """ "Update a promotion code"; it becomes active again only where it could be redeemed."""
    work, params = call.work, call.params
    retrieve(call)
    body = work.edit("promotion_code", call.path["promotion_code"])
    before = copied(body)
    if "active" in params:
        body["active"] = params["active"]
        if body["active"] and not discounts.is_active(work, body):
            raise invalid(
                "This promotion code cannot be reactivated: it or its coupon can no longer be redeemed.", "active"
            )
    restrictions = call.given("restrictions") or {}
    if restrictions.get("currency_options"):
        body["restrictions"]["currency_options"] = _options(restrictions["currency_options"], body["restrictions"])
    update_metadata(body, params.get("metadata"))
    work.emit_updated("promotion_code.updated", body, before)
    return body


def list_(call: Call) -> Json:
    """ "List all promotion codes", by their code whatever its capitals."""
    work, code, coupon, active = call.work, call.given("code"), call.given("coupon"), call.given("active")
    if coupon is not None:
        work.get("coupon", coupon, "coupon")

    def matches(body: Json) -> bool:
        return (coupon is None or body["promotion"]["coupon"] == coupon) and (
            active is None or discounts.is_active(work, body) == active
        )

    return list_objects(
        call, "promotion_code", "/v1/promotion_codes", where={"_code": code.upper()} if code else None,
        matches=matches, filters=("customer",),
    )  # fmt: skip


_ONE: Final = "/v1/promotion_codes/{promotion_code}"

OPERATIONS = (
    Operation("POST", "/v1/promotion_codes", create, "promotion_code_create"),
    Operation("GET", "/v1/promotion_codes", list_, "promotion_code_list"),
    Operation("GET", _ONE, retrieve, "promotion_code_retrieve"),
    Operation("POST", _ONE, update, "promotion_code_update"),
)
