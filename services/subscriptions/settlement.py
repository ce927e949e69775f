"""Settling subscriptions: what Stripe says of one becomes its row, its event and its audit entry.

Applying the same facts again changes nothing. A final state wins over any other; a passing one is believed only where
nothing has changed since it was asked for (`seen_version`), and is fetched again otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.stripe_gateway import Priority
from services.subscription_requests import retrieve_subscription
from services.subscriptions.facts import SubscriptionFacts

if TYPE_CHECKING:
    from uuid import UUID

    from models.subscriptions import BillingSubscription
    from services.core import Services
    from services.payments.settlement import OperationEnd


async def fetch_subscription(
    services: Services, stripe_id: str, *, priority: Priority = Priority.BACKGROUND
) -> SubscriptionFacts:
    """The subscription as Stripe has it now, with what its guest has to confirm and its schedule."""
    response = await services.stripe.send(retrieve_subscription(stripe_id), priority=priority)
    return SubscriptionFacts.parse(response.body)


async def settle_subscription(
    services: Services,
    facts: SubscriptionFacts,
    *,
    actor: str,
    subscription_id: UUID | None = None,
    seen_version: int | None = None,
    ends: OperationEnd | None = None,
) -> BillingSubscription | None:
    """Apply facts to our row, derive what follows from them, and end the operation, in one transaction.

    Args:
        subscription_id: our row, where it is known; else it is found by Stripe's id, or by our metadata.
        seen_version: the row's version before Stripe was asked. Without it, facts that are not final are taken for old
            and fetched again.

    Returns: the row as it is now; None for a subscription that is not ours.
    Raises: StripeError where they have to be fetched again and Stripe cannot be reached.
    """
    raise NotImplementedError
