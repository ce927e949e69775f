"""What a mutation of a subscription answers: the subscription as it is now, and the refusal that was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.subscriptions import BillingSubscription
from services.operations import recorded_error

if TYPE_CHECKING:
    from services.errors import DomainError
    from services.operations import Ended


@dataclass(frozen=True, slots=True)
class SubscriptionResult:
    """A subscription and why it did not do what was asked; one whose payment was declined has both."""

    subscription: BillingSubscription
    error: DomainError | None


async def result_of(ended: Ended) -> SubscriptionResult:
    """The answer of an ended operation on a subscription: the same error each time, and the row as it is now."""
    subscription = await BillingSubscription.get(id=ended.operation.subject_id)
    return SubscriptionResult(subscription, recorded_error(ended.operation))
