"""Stripe's events as they came in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry

from schema.described import input_type, object_type
from schema.enums import WebhookEventStatus
from schema.errors import Payload
from schema.ids import global_id
from schema.nodes import Node
from schema.pages import Connection

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent as WebhookEventRow


@object_type
class WebhookEvent(Node):
    """One of Stripe's events. Visible to admins."""

    stripe_event_id: str = strawberry.field(description="Stripe's id (evt_…).")
    type: str = strawberry.field(description="Stripe's type: payment_intent.succeeded …")
    account: str | None = strawberry.field(description="The connected account it is of; null for the platform's own.")
    status: WebhookEventStatus = strawberry.field(description="Where it stands.")
    attempts: int = strawberry.field(description="How often it was tried.")
    last_error: str | None = strawberry.field(description="Why the last try failed.")
    received_at: datetime = strawberry.field(description="When it came in.")
    processed_at: datetime | None = strawberry.field(description="When it was handled.")

    @classmethod
    def of(cls, row: WebhookEventRow) -> WebhookEvent:
        """From its row."""
        return cls(
            id=global_id("WebhookEvent", row.id),
            stripe_event_id=row.stripe_event_id,
            type=row.type,
            account=row.account or None,
            status=row.status,
            attempts=row.attempts,
            last_error=row.last_error,
            received_at=row.created_at,
            processed_at=row.processed_at,
        )


@object_type
class WebhookEventConnection(Connection[WebhookEvent]):
    """A page of Stripe's events, newest first."""


@input_type
class ReplayWebhookEventInput:
    """Which event to handle again."""

    webhook_event_id: strawberry.ID = strawberry.field(description="The event.")


@object_type
class ReplayWebhookEventPayload(Payload):
    """What became of it."""

    webhook_event: WebhookEvent | None = strawberry.field(default=None, description="The event as it is now.")
