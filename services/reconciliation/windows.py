"""Stripe's lists in closed windows of time: each page with the seconds that it tells all about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.stripe_gateway import StripeGateway
    from services.stripe_requests import StripeRequest

_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Window:
    """All that Stripe has of the seconds [first, until) since the epoch."""

    first: int
    until: int
    objects: list[dict[str, Any]]


async def windows(
    stripe: StripeGateway, listing: Callable[[int, int], StripeRequest], first: int, until: int
) -> AsyncIterator[Window]:
    """The windows of [first, until), the newest first; together they cover it without a gap.

    Stripe lists the newest first and orders by the second, so that a page ends within a second of which the next page
    may tell more: that second is left to the next window. Only a page, and such a second, is held at a time, and
    whoever broke off begins again with `until` as the `first` of the last window that was done with.

    Args:
        listing: the request for what was created in [first, until).

    Raises: StripeError.
    """
    held: list[dict[str, Any]] = []
    count = 0
    async for body in stripe.list_all(listing(first, until), priority=Priority.BACKGROUND):
        held.append(body)
        count += 1
        if count % _PAGE:
            continue
        begun = int(body["created"])
        closed = [each for each in held if each["created"] > begun]
        if closed:
            held = [each for each in held if each["created"] <= begun]
            yield Window(begun + 1, until, closed)
            until = begun + 1
    yield Window(first, until, held)
