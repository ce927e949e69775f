"""Drafts of invoices and their lines ("The Invoice object", "The Line Item object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.errors import Json
    from sandbox.work import Work


def line(
    work: Work, *, amount: int, currency: str, description: str | None, period: tuple[int, int],
    price: str | None = None, quantity: int | None = 1, proration: bool = False, subscription: str | None = None,
    subscription_item: str | None = None, invoice_item: str | None = None, discountable: bool = True,
    discounts: Sequence[str] = (), metadata: Json | None = None, credited_items: Json | None = None,
) -> Json:  # fmt: skip
    """A line of an invoice; it belongs to none yet.

    Args:
        price: the id of a stored price; None for an amount alone.
        discounts: ids of discounts on this line alone.
        credited_items: `{"invoice": …, "invoice_line_items": […]}`, for a credit of a proration.
    """
    raise NotImplementedError


def new_invoice(
    work: Work, *, customer: str, currency: str, billing_reason: str, lines: Sequence[Json], period: tuple[int, int],
    subscription: str | None = None, collection_method: str = "charge_automatically",
    days_until_due: int | None = None, auto_advance: bool = True, default_payment_method: str | None = None,
    discounts: Sequence[Json] | None = None, metadata: Json | None = None, on_behalf_of: str | None = None,
    payment_settings: Json | None = None, pending_items: bool = True,
) -> Json:  # fmt: skip
    """A draft, with the customer's pending invoice items of the currency and the subscription; `invoice.created`.

    A renewal or one-off invoice that advances by itself is finalized an hour on; one of `subscription_create` or
    `subscription_update` is finalized by who makes it.

    Args:
        discounts: stored discounts ("The Discount object"), in their order; None for the customer's own.
    """
    raise NotImplementedError
