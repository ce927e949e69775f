"""The inbox: what Stripe sends is verified, stored once and answered; the rest happens later.

The row is the job too (`services/webhooks/processing.py`), so that an event is never stored without being handled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from models.base import new_id
from models.webhook_events import WebhookEventStatus
from services.stripe_gateway import InvalidSignatureError
from services.webhooks.handlers import EventSource, handler_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.sets import AnyConnection
    from services.core import Services

__all__ = [
    "CHANNEL", "EventSource", "IncomingEvent", "InvalidSignatureError", "MalformedEventError", "StoreEvents",
    "parse_event", "receive",
]  # fmt: skip

CHANNEL: Final = "paydesk_inbox"
"""Where PostgreSQL notifies of events to be handled."""

_LONGEST: Final = {"id": 255, "type": 128, "account": 64, "api_version": 64}

_STORE: Final = f"""
WITH stored AS (
    INSERT INTO webhook_events
        (id, stripe_event_id, account, stripe_created_at, type, api_version, payload, status, processed_at)
    SELECT id, event, account, created, type, version, payload::jsonb, status,
        CASE WHEN status = 'IGNORED' THEN now() END
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[])
        AS v(id, event, account, created, type, version, payload, status)
    ON CONFLICT (stripe_event_id, account, stripe_created_at) DO NOTHING
    RETURNING id, status
)
SELECT id, CASE WHEN status = 'RECEIVED' THEN pg_notify('{CHANNEL}', '')::text END FROM stored
"""


class MalformedEventError(Exception):
    """A body that is none of Stripe's snapshot events; the text says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """One event on its way into the inbox; `account` is '' for the platform's own, `payload` is JSON."""

    stripe_event_id: str
    account: str
    created: datetime
    type: str
    api_version: str | None
    livemode: bool
    payload: str

    @classmethod
    def of(cls, event: Mapping[str, Any], payload: str, *, account: str) -> IncomingEvent:
        """Take an event apart ("The Event object").

        Raises: MalformedEventError.
        """
        if event.get("object") != "event":
            raise MalformedEventError("This is not a snapshot event.")
        id_, type_ = _text(event.get("id"), "id"), _text(event.get("type"), "type")
        api_version = _text(event["api_version"], "api_version") if event.get("api_version") else None
        if account:
            _text(account, "account")
        content = event.get("data")
        if not isinstance(content, dict) or not isinstance(content.get("object"), dict):
            raise MalformedEventError("The event has no `data.object`.")
        if not isinstance(event.get("livemode"), bool):
            raise MalformedEventError("The event has no usable `livemode`.")
        return cls(
            id_, account, _instant(event.get("created")), type_, api_version, event["livemode"],
            payload if "\\u0000" not in payload else _without_nul(event),
        )  # fmt: skip

    @property
    def status(self) -> WebhookEventStatus:
        """Where its row begins: what nobody handles is done with at once."""
        wanted = handler_of(self.type, self.account) is not None
        return WebhookEventStatus.RECEIVED if wanted else WebhookEventStatus.IGNORED


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST[name] or "\0" in value:
        raise MalformedEventError(f"The event has no usable `{name}`.")
    return value


def _instant(created: Any) -> datetime:
    if isinstance(created, bool) or not isinstance(created, int) or not 0 < created < 1 << 33:
        raise MalformedEventError("The event has no usable `created`.")
    return datetime.fromtimestamp(created, UTC)


def _without_nul(value: Any) -> str:
    """The event as JSON without the one character that PostgreSQL's text cannot hold."""

    def cleaned(part: Any) -> Any:
        if isinstance(part, str):
            return part.replace("\0", "")
        if isinstance(part, dict):
            return {cleaned(key): cleaned(item) for key, item in part.items()}
        return [cleaned(item) for item in part] if isinstance(part, list) else part

    return orjson.dumps(cleaned(dict(value))).decode()


def parse_event(payload: bytes, source: EventSource) -> IncomingEvent:
    """The event in a webhook's body.

    A Connect endpoint's events name their account; one that does not is nobody's. The platform's endpoint may be sent
    both kinds (as by the Stripe CLI): an event belongs to the account that it names.

    Raises: MalformedEventError.
    """
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise MalformedEventError("The body is not JSON.") from None
    if not isinstance(event, dict):
        raise MalformedEventError("The body is not an event.")
    account = event.get("account") or ""
    if not isinstance(account, str) or (source is EventSource.CONNECT and not account):
        raise MalformedEventError("The event names no account.")
    return IncomingEvent.of(event, payload.decode(), account=account)


async def receive(services: Services, *, source: EventSource, payload: bytes, signature: str) -> None:
    """Store an event that Stripe sent; once this returns it is stored, and it will be handled.

    An event of the other mode is passed over: live Connect endpoints get test events too ("Connect webhooks").

    Args:
        payload: the body as it came.
        signature: the header `Stripe-Signature`.

    Raises: InvalidSignatureError, MalformedEventError, and the database's errors where it is away.
    """
    settings = services.settings
    of_platform = source is EventSource.PLATFORM
    secrets = settings.stripe_webhook_secret if of_platform else settings.stripe_connect_webhook_secret
    counted = services.metrics.webhooks
    try:
        services.stripe.verify_webhook(
            payload, signature, [secret.get_secret_value() for secret in secrets],
            tolerance_s=settings.webhook_tolerance_s,
        )  # fmt: skip
        event = parse_event(payload, source)
    except InvalidSignatureError:
        counted.labels(source.value, "bad_signature").inc()
        raise
    except MalformedEventError:
        counted.labels(source.value, "malformed").inc()
        raise
    if event.livemode is not settings.livemode:
        counted.labels(source.value, "other_mode").inc()
        return
    stored = await services.inbox.submit(event)
    counted.labels(source.value, "stored" if stored else "duplicate").inc()


class StoreEvents:
    """The batch of `services.inbox`: whether each event is new."""

    async def __call__(self, connection: AnyConnection, items: Sequence[IncomingEvent]) -> list[bool | Exception]:
        """Store what is not there yet, and tell the workers, in one statement."""
        ids = [new_id() for _ in items]
        # One order for all processes, or two that store the same events would wait for one another.
        rows = sorted(zip(ids, items, strict=True), key=lambda row: (row[1].stripe_event_id, row[1].account))
        records = await connection.fetch(
            _STORE,
            [id_ for id_, _ in rows],
            [event.stripe_event_id for _, event in rows],
            [event.account for _, event in rows],
            [event.created for _, event in rows],
            [event.type for _, event in rows],
            [event.api_version for _, event in rows],
            [event.payload for _, event in rows],
            [event.status.value for _, event in rows],
        )
        new = {record["id"] for record in records}
        return [id_ in new for id_ in ids]
