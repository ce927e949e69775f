"""What Stripe's events say of disputes ("Types of events": charge.dispute.*).

Disputes of direct charges come from the connected account that was paid, all others from the platform's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.disputes.settlement import settle_dispute
from services.refunds.events import captured_payment_of

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services


async def dispute_changed(services: Services, event: WebhookEvent) -> None:
    """Settle a dispute as Stripe has it now; those of charges that are not ours are passed over."""
    seen = event.payload["data"]["object"]
    payment = await captured_payment_of(services, seen, event)
    if payment is not None:
        await settle_dispute(services, payment, seen["id"], actor=event.actor)
