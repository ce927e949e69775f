"""Calls to Stripe that move no money and leave nothing to settle: they are made once, and made anew if they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.errors import InvalidState, StripeUnavailable
from services.stripe_gateway import StripeNotSent, StripeRefusedError, StripeUnknownOutcome

if TYPE_CHECKING:
    from services.core import Services
    from services.stripe_requests import StripeRequest


async def call_stripe(services: Services, request: StripeRequest, refused: str) -> dict[str, Any]:
    """Stripe's answer.

    Raises: InvalidState with the text `refused`; StripeUnavailable.
    """
    try:
        return (await services.stripe.send(request)).body
    except StripeRefusedError as error:
        raise InvalidState(refused, state=(error.code or "refused").upper()) from error
    except (StripeNotSent, StripeUnknownOutcome) as error:
        raise StripeUnavailable(retry_after_seconds=2) from error
