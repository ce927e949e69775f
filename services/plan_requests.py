"""Requests to Stripe about products and prices, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.money import Money


def create_product(
    *, name: str, features: Sequence[str], active: bool, metadata: Mapping[str, str]
) -> StripeRequest:
    """ "Create a product"."""
    return StripeRequest.build(
        "post",
        "/v1/products",
        {"name": name, "active": active, "marketing_features": _features(features), "metadata": dict(metadata)},
    )


def update_product(
    product: str, *, name: str, features: Sequence[str], active: bool, default_price: str | None
) -> StripeRequest:
    """ "Update a product", all of what a plan says of it."""
    return StripeRequest.build(
        "post",
        f"/v1/products/{product}",
        {
            "name": name,
            "active": active,
            # An empty text takes away what was there; an empty list cannot be said in a form.
            "marketing_features": _features(features) or "",
            "default_price": default_price,
        },
    )


def list_products(*, created_gte: int) -> StripeRequest:
    """ "List all products"."""
    return StripeRequest.build("get", "/v1/products", {"created": {"gte": created_gte}, "limit": 100})


def create_price(
    *, product: str, amount: Money, options: Sequence[Money], interval: str, interval_count: int,
    metadata: Mapping[str, str],
) -> StripeRequest:  # fmt: skip
    """ "Create a price" of a product, in its own currency and in others (`options`)."""
    return StripeRequest.build(
        "post",
        "/v1/prices",
        {
            "product": product,
            "currency": amount.currency.lower(),
            "unit_amount": amount.wire,
            "currency_options": {option.currency.lower(): {"unit_amount": option.wire} for option in options},
            "recurring": {"interval": interval.lower(), "interval_count": interval_count},
            "metadata": dict(metadata),
        },
    )


def archive_price(price: str) -> StripeRequest:
    """ "Update a price": no more is sold at it; who has it keeps it."""
    return StripeRequest.build("post", f"/v1/prices/{price}", {"active": False})


def list_prices(*, product: str) -> StripeRequest:
    """ "List all prices" of a product, the archived ones too."""
    return StripeRequest.build("get", "/v1/prices", {"product": product, "limit": 100})


def _features(features: Sequence[str]) -> list[dict[str, str]]:
    return [{"name": feature} for feature in features]
