"""Stripe's events, for operators."""

from __future__ import annotations

from typing import Annotated

import strawberry

from resolvers.arguments import input_path
from schema.context import Info
from schema.described import field, mutation, object_type
from schema.enums import WebhookEventStatus
from schema.errors import payload
from schema.ids import require_id
from schema.pages import After, First, page_request
from schema.webhook_events import (
    ReplayWebhookEventInput,
    ReplayWebhookEventPayload,
    WebhookEvent,
    WebhookEventConnection,
)
from services.webhooks.admin import list_webhook_events, replay_webhook_event


@object_type
class WebhookEventQueries:
    """Queries about Stripe's events."""

    @field
    async def webhook_events(
        self,
        info: Info,
        status: Annotated[
            WebhookEventStatus | None, strawberry.argument(description="Only those that stand there.")
        ] = None,
        first: First = None,
        after: After = None,
    ) -> WebhookEventConnection:
        """The events that Stripe sent, newest first. For the role admin."""
        viewer = info.context.require_viewer()
        page = await list_webhook_events(
            info.context.services, viewer=viewer, status=status, page=page_request(first=first, after=after)
        )
        return WebhookEventConnection.of(page, WebhookEvent.of)


@object_type
class WebhookEventMutations:
    """What operators do with Stripe's events."""

    @mutation
    @payload(ReplayWebhookEventPayload)
    async def replay_webhook_event(
        self, info: Info, input: Annotated[ReplayWebhookEventInput, strawberry.argument(description="Which event.")]
    ) -> ReplayWebhookEventPayload:
        """Handle one of Stripe's events again. For the role admin."""
        row = await replay_webhook_event(
            info.context.services,
            viewer=info.context.require_viewer(),
            event_id=require_id("WebhookEvent", input.webhook_event_id, input_path("webhookEventId")),
        )
        return ReplayWebhookEventPayload(webhook_event=WebhookEvent.of(row))
