"""What Stripe's events say of subscriptions ("Types of events": customer.subscription.*, subscription_schedule.*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from services.payments.facts import id_of
from services.subscriptions.notices import note_trial_end
from services.subscriptions.settlement import may_be_ours, settle_as_it_is

if TYPE_CHECKING:
    from models.subscriptions import BillingSubscription
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("subscriptions.events")


async def subscription_changed(services: Services, event: WebhookEvent) -> None:
    """Settle a subscription as Stripe has it now, whatever the event says of it."""
    thing = event.payload["data"]["object"]
    await _settle(services, event, thing["id"], id_of(thing.get("customer")))


async def trial_will_end(services: Services, event: WebhookEvent) -> None:
    """Settle the subscription, and tell that its trial ends in three days."""
    thing = event.payload["data"]["object"]
    subscription = await _settle(services, event, thing["id"], id_of(thing.get("customer")))
    if subscription is not None:
        await note_trial_end(services, subscription.id, actor=event.actor)


async def schedule_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the subscription that a schedule changes, or changed before it was released."""
    schedule = event.payload["data"]["object"]
    stripe_id = id_of(schedule.get("subscription")) or schedule.get("released_subscription")
    if stripe_id is not None:
        await _settle(services, event, stripe_id, id_of(schedule.get("customer")))


async def _settle(
    services: Services, event: WebhookEvent, stripe_id: str, customer: str | None
) -> BillingSubscription | None:
    if not await may_be_ours(services, customer=customer, subscription=stripe_id):
        log.info("subscriptions.event_of_no_guest", event_type=event.type, subscription=stripe_id)
        return None
    return await settle_as_it_is(services, stripe_id, actor=event.actor)
