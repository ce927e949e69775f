"""Prices as they are made ("The Price object"): what one may cost, how often, and in which currencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import money
from sandbox.errors import Json, invalid
from sandbox.ids import random_text
from sandbox.operations import new_metadata

if TYPE_CHECKING:
    from decimal import Decimal

    from sandbox.work import Work

# Three years of each ("Create a price").
_LONGEST: Final = {"day": 1_095, "week": 156, "month": 36, "year": 3}


def new_price(work: Work, product: str, params: Json, param: str = "") -> Json:
    """A stored price of a product; nothing is said of it yet. Its amounts never change.

    Args:
        params: `currency`, `unit_amount`, `recurring` … as `price_data` and requests have them.
        param: what they are under in the request.

    Raises: ApiError for amounts and intervals that cannot be, and for what the sandbox has not: tiers, meters,
        amounts that customers choose, fractions of the smallest unit, quantities that are transformed.
    """
    _refuse_unbuilt(params, param)
    currency = money.check_currency(params["currency"], _path(param, "currency"))
    amount = _amount(params, param)
    recurring = _recurring(params.get("recurring"), param)
    return work.add(
        {
            "id": f"price_1{random_text(23)}", "object": "price", "active": params.get("active", True),
            "billing_scheme": "per_unit", "created": work.now, "currency": currency, "custom_unit_amount": None,
            "livemode": False, "lookup_key": None, "metadata": new_metadata(params),
            "nickname": params.get("nickname") or None, "product": product, "recurring": recurring,
            "tax_behavior": params.get("tax_behavior", "unspecified"), "tiers_mode": None, "transform_quantity": None,
            "type": "one_time" if recurring is None else "recurring", "unit_amount": amount,
            "unit_amount_decimal": str(amount),
            "_currency_options": new_options(params.get("currency_options"), currency, param),
        }
    )  # fmt: skip


def _path(param: str, name: str) -> str:
    return f"{param}[{name}]" if param else name


def _refuse_unbuilt(params: Json, param: str) -> None:
    if params.get("billing_scheme") == "tiered" and params.get("recurring") is None:
        raise invalid("Prices with `type=one_time` are not supported with tiered billing.", "interval")
    if params.get("billing_scheme") == "tiered" or params.get("tiers") or params.get("tiers_mode"):
        raise invalid("Tiered prices are not built into the sandbox.", _path(param, "billing_scheme"))
    for name in ("custom_unit_amount", "transform_quantity"):
        if params.get(name):
            raise invalid(f"Prices with `{name}` are not built into the sandbox.", _path(param, name))


def _amount(params: Json, param: str) -> int:
    amount, fraction = params.get("unit_amount"), params.get("unit_amount_decimal")
    if amount is not None and fraction is not None:
        raise invalid(
            "You may only specify one of these parameters: unit_amount, unit_amount_decimal.",
            _path(param, "unit_amount")
        )
    if amount is None and fraction is None:
        raise invalid("Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.")
    if amount is None:
        amount = _whole(fraction, param)
    check_unit_amount(amount, _path(param, "unit_amount"))
    return int(amount)


def _whole(fraction: Decimal | None, param: str) -> int:
    if fraction is None or fraction != int(fraction):
        raise invalid(
            "Fractions of the smallest unit are not built into the sandbox.", _path(param, "unit_amount_decimal")
        )
    return int(fraction)


def check_unit_amount(amount: int, param: str) -> None:
    """Refuse what a price may not cost; it may cost nothing."""
    if not 0 <= amount <= money.MAX_AMOUNT:
        word = "greater than or equal to 0" if amount < 0 else f"less than or equal to {money.MAX_AMOUNT}"
        raise invalid(f"Invalid integer: this value must be {word}.", param, "parameter_invalid_integer")


def _recurring(recurring: Json | None, param: str) -> Json | None:
    if not recurring:
        return None
    if recurring.get("meter"):
        raise invalid("Metered prices are not built into the sandbox.", _path(param, "recurring[meter]"))
    if recurring.get("usage_type") == "metered":
        raise invalid(
            "Starting with Stripe version `2025-03-31.basil`, metered prices must be backed by meters.",
            _path(param, "recurring[usage_type]"),
        )
    interval, count = recurring["interval"], recurring.get("interval_count", 1)
    longest = _LONGEST[interval]
    if not 1 <= count <= longest:
        raise invalid(
            f"Invalid interval_count: it must be from 1 to {longest} with the interval {interval}, as the interval "
            "between two bills is three years at most.", _path(param, "recurring[interval_count]"),
        )  # fmt: skip
    return {
        "interval": interval, "interval_count": count, "meter": None,
        "trial_period_days": recurring.get("trial_period_days"), "usage_type": "licensed",
    }  # fmt: skip


def new_options(given: Any, own: str, param: str = "", kept: Json | None = None) -> Json:
    """What a price costs in other currencies than its own, by currency, added to what is kept of before."""
    options = dict(kept or {})
    for currency, option in (given or {}).items():
        path = _path(param, f"currency_options[{currency}]")
        money.check_currency_key(currency, path)
        if currency == own:
            raise invalid(f"`{currency}` is the price's own currency, which needs no option.", path)
        if option.get("tiers") or option.get("custom_unit_amount"):
            raise invalid("Tiers and custom amounts are not built into the sandbox.", path)
        amount = _amount(option, path)
        options[currency] = {
            "custom_unit_amount": None, "tax_behavior": option.get("tax_behavior", "unspecified"),
            "unit_amount": amount, "unit_amount_decimal": str(amount),
        }  # fmt: skip
    return options


def amount_in(price: Json, currency: str) -> int | None:
    """What one unit of a stored price costs in a currency, in its smallest unit; None where it is not sold in it."""
    if currency == price["currency"]:
        return int(price["unit_amount"])
    option = price["_currency_options"].get(currency)
    return None if option is None else int(option["unit_amount"])


def shown_options(price: Json) -> Json:
    """All currencies of a price, its own included, as `currency_options` shows them."""
    own = {
        "custom_unit_amount": None, "tax_behavior": price["tax_behavior"], "unit_amount": price["unit_amount"],
        "unit_amount_decimal": price["unit_amount_decimal"],
    }  # fmt: skip
    return {price["currency"]: own, **price["_currency_options"]}
