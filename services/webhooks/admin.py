"""Stripe's events for operators: what came in, what became of it, and doing it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.webhook_events import WebhookEvent, WebhookEventStatus
from services.changes import ChangeSet
from services.errors import InvalidState, NotFound
from services.viewer import Role
from services.webhooks.inbox import CHANNEL

if TYPE_CHECKING:
    from uuid import UUID

    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer

_LOCK = """
SELECT e.*, pg_current_xact_id()::text::bigint AS xid FROM webhook_events e WHERE id = $1 FOR NO KEY UPDATE
"""
_RESET = """
UPDATE webhook_events SET status = 'RECEIVED', attempts = 0, next_attempt_at = NULL, last_error = NULL,
    processed_at = NULL
WHERE id = $1 RETURNING *
"""


async def list_webhook_events(
    services: Services, *, viewer: Viewer, status: WebhookEventStatus | None, page: PageRequest
) -> Page[WebhookEvent]:
    """The events that came in, the newest first, of one status or all. Admins only.

    Raises: Forbidden.
    """
    viewer.require(Role.ADMIN)
    chosen, values = ("true", []) if status is None else ("e.status = $1", [status.value])
    keys, cursors = page.conditions("e.id", len(values) + 1)
    records = await services.database.pool.fetch(
        f"SELECT e.* FROM webhook_events e WHERE {chosen}{keys}{page.order('e.id')}", *values, *cursors
    )
    return page.page([from_record(WebhookEvent, record) for record in records])


async def replay_webhook_event(services: Services, *, viewer: Viewer, event_id: UUID) -> WebhookEvent:
    """Have an event handled again at once, with all its tries, whatever became of it. Admins only.

    Raises: Forbidden; NotFound; InvalidState while it is being handled.
    """
    viewer.require(Role.ADMIN)
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_LOCK, event_id)
        if record is None:
            raise NotFound("There is no such event.", path=["input", "webhookEventId"])
        event = from_record(WebhookEvent, record)
        if _is_being_handled(services, event):
            raise InvalidState("This event is being handled just now.", state=event.status.value)
        [after] = await connection.fetch(_RESET, event_id)
        reset = from_record(WebhookEvent, after)
        changes = ChangeSet(viewer.caller, record["xid"])
        changes.audit(
            "webhook_event.replayed", "WEBHOOK_EVENT", event_id,
            before={"status": event.status.value, "attempts": event.attempts, "last_error": event.last_error},
            after={"status": reset.status.value, "attempts": 0, "last_error": None},
        )  # fmt: skip
        await changes.write(connection)
        await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
    return reset


def _is_being_handled(services: Services, event: WebhookEvent) -> bool:
    """Whether a claim of it still holds; an event that waits for its next try has its last error."""
    return (
        event.status is WebhookEventStatus.RECEIVED
        and event.attempts > 0
        and event.last_error is None
        and event.next_attempt_at is not None
        and event.next_attempt_at > services.clock()
    )
