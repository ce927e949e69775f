"""Finding what a call made, where its answer was lost: in Stripe's lists, by the metadata that we gave it.

Lists of customers, payment intents, refunds and accounts are strongly consistent; search lags behind.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.operations import Operation
    from services.core import Services
    from services.stripe_requests import StripeRequest

# How far Stripe's clock may be behind ours.
_CLOCK_SKEW = timedelta(minutes=10)


def made_since(operation: Operation) -> int:
    """The earliest second at which Stripe can have made something for the operation."""
    return int((operation.created_at - _CLOCK_SKEW).timestamp())


async def find_made(
    services: Services, request: StripeRequest, *, is_it: Callable[[dict[str, Any]], bool] | None = None,
    **metadata: str,
) -> dict[str, Any] | None:  # fmt: skip
    """The first object of a whole list that has this metadata; None where the list proves that there is none.

    Args:
        is_it: what else it has to be, where others can write such metadata.
    """
    async for found in services.stripe.list_all(request):
        known = found.get("metadata") or {}
        if all(known.get(name) == value for name, value in metadata.items()) and (is_it is None or is_it(found)):
            return found
    return None
