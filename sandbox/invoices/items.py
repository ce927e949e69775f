"""Invoice items: what waits for a customer's next invoice ("The Invoice Item object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.errors import Json
    from sandbox.work import Work


def new_item(
    work: Work, *, customer: str, currency: str, amount: int, description: str | None, period: tuple[int, int],
    price: str | None = None, quantity: int = 1, proration: bool = False, subscription: str | None = None,
    subscription_item: str | None = None, discountable: bool = True, discounts: Sequence[str] = (),
    metadata: Json | None = None, credited_items: Json | None = None,
) -> Json:  # fmt: skip
    """A pending invoice item, as a proration is one; `invoiceitem.created`."""
    raise NotImplementedError


def pending(work: Work, customer: str, currency: str, subscription: str | None = None) -> list[Json]:
    """The customer's invoice items on no invoice yet, newest first: with a subscription, its own and those of none."""
    raise NotImplementedError
