"""Calling a shop's activity off, and what must hold once everybody has been dealt with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.activity_cancellations import (
    ActivityCancellation,
    ActivityCancellationItem,
    CancellationOutcome,
    CancellationStatus,
)
from services.activity_cancellation.beginning import cancel_activity, retry_cancellation
from services.activity_cancellation.preview import CancellationPreview, cancellation_preview
from services.activity_cancellation.watching import watch_canceled
from services.activity_cancellation.working import refund_canceled
from tests.support.shop import SERVICE, Shop

if TYPE_CHECKING:
    from models.payments import Payment


@dataclass(frozen=True)
class CallingOff:
    """The platform's backend and its job."""

    shop: Shop

    async def begin(self, **values: Any) -> ActivityCancellation:
        """Cancel the activity; nobody has got anything back yet."""
        given: dict[str, Any] = {"viewer": SERVICE, "activity_id": self.shop.activity.id, "reason": "Storm", **values}
        return await cancel_activity(self.shop.services, **given)

    async def work(self) -> int:
        """One run of the job."""
        return await refund_canceled(self.shop.services)

    async def finish(self) -> ActivityCancellation:
        """Let time pass until everybody has been dealt with."""
        for _ in range(30):
            await self.work()
            if (now := await self.now()).status is CancellationStatus.FINISHED:
                return now
            self.shop.clock.forward(seconds=700)
            await self.shop.services.operations.recover(self.shop.services)
        raise AssertionError(await self.left())

    async def watch(self) -> int:
        """One run of the job that looks after what has been done."""
        return await watch_canceled(self.shop.services)

    async def retry(self) -> ActivityCancellation:
        """Try those again who could not get their money back."""
        return await retry_cancellation(self.shop.services, viewer=SERVICE, activity_id=self.shop.activity.id)

    async def preview(self) -> CancellationPreview:
        """What it would cost."""
        return await cancellation_preview(self.shop.services, viewer=SERVICE, activity_id=self.shop.activity.id)

    async def now(self) -> ActivityCancellation:
        """The cancellation as it is now."""
        return await ActivityCancellation.get(activity_id=self.shop.activity.id)

    async def item(self, payment: Payment) -> ActivityCancellationItem:
        """What became of a payment so far."""
        return await ActivityCancellationItem.get(payment_id=payment.id)

    async def outcome(self, payment: Payment) -> CancellationOutcome:
        """As `item`, in a word."""
        return (await self.item(payment)).outcome

    async def left(self) -> list[tuple[str, str | None]]:
        """Those who have not been dealt with."""
        items = await ActivityCancellationItem.filter(outcome=CancellationOutcome.PENDING)
        return [(str(item.payment_id), item.error) for item in items]

    async def refunds_at_stripe(self, payment: Payment) -> list[int]:
        """The amounts of those that hold, in Stripe's integers."""
        intent = (await self.shop.now(payment)).stripe_payment_intent_id
        made = await self.shop.sandbox.every("/v1/refunds", {"payment_intent": intent})
        return [refund["amount"] for refund in made if refund["status"] not in {"failed", "canceled"}]
