"""What comes in by webhook: verified, stored once, or refused with nothing stored."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from models.webhook_events import WebhookEvent, WebhookEventStatus
from services.stripe_gateway import InvalidSignatureError
from services.webhooks.handlers import HANDLERS, EventSource, enabled_events
from services.webhooks.inbox import MalformedEventError, receive
from tests.services.webhooks.conftest import CONNECT_SECRET, PLATFORM_SECRET, body_of, make_event, signed

if TYPE_CHECKING:
    from services.core import Services


async def deliver(services: Services, event: dict[str, Any], source: EventSource = EventSource.PLATFORM) -> None:
    payload = body_of(event)
    secret = PLATFORM_SECRET if source is EventSource.PLATFORM else CONNECT_SECRET
    await receive(services, source=source, payload=payload, signature=signed(payload, secret))


def counted(services: Services, outcome: str, source: str = "platform") -> float:
    value = services.metrics.registry.get_sample_value(
        "paydesk_webhooks_total", {"source": source, "outcome": outcome}
    )
    return value or 0.0


async def test_an_event_is_stored_with_all_that_stripe_said(services: Services) -> None:
    event = make_event(type_="charge.succeeded", object_={"id": "ch_1", "object": "charge", "description": "Größe 🍷"})
    await deliver(services, event)
    row = await WebhookEvent.get(stripe_event_id="evt_1")
    assert (row.type, row.account, row.status, row.attempts) == ("charge.succeeded", "", WebhookEventStatus.RECEIVED, 0)
    assert row.payload == event
    assert int(row.stripe_created_at.timestamp()) == event["created"]


@pytest.mark.parametrize("secret", ["whsec_old", PLATFORM_SECRET])
async def test_any_of_the_secrets_is_good_while_they_are_rotated(services: Services, secret: str) -> None:
    payload = body_of(make_event())
    await receive(services, source=EventSource.PLATFORM, payload=payload, signature=signed(payload, secret))
    assert await WebhookEvent.all().count() == 1


def _signatures() -> dict[str, str]:
    payload, now = body_of(make_event()), int(time.time())
    good = signed(payload)
    return {
        "missing": "",
        "of another body": signed(payload + b" "),
        "by another secret": signed(payload, "whsec_other"),
        "of the other endpoint": signed(payload, CONNECT_SECRET),
        "by an empty secret": signed(payload, ""),
        "too old": signed(payload, at=now - 301),
        "of the future": signed(payload, at=now + 400),
        "without its time": good.partition(",")[2],
        "without its scheme": good.replace("v1=", "v0="),
        "not of this world": "t=1,v1=é",
        "no header of this kind": "Bearer x",
    }


async def test_a_body_that_stripe_did_not_sign_now_is_refused(services: Services) -> None:
    payload = body_of(make_event())
    signatures = _signatures()
    for case, signature in signatures.items():
        try:
            await receive(services, source=EventSource.PLATFORM, payload=payload, signature=signature)
        except InvalidSignatureError:
            continue
        pytest.fail(f"a signature {case} was taken")
    assert await WebhookEvent.all().count() == 0
    assert counted(services, "bad_signature") == len(signatures)


async def test_a_body_that_is_no_text_is_refused(services: Services) -> None:
    with pytest.raises(InvalidSignatureError):
        await receive(services, source=EventSource.PLATFORM, payload=b"\xff\xfe", signature=signed(b"{}"))
    assert await WebhookEvent.all().count() == 0


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b'"event"',
    b"null",
    b"[" * 100_000,
    body_of(make_event(object="v2.core.event")),  # a thin event
    body_of(make_event(id=None)),
    body_of(make_event(id="e" * 256)),
    body_of(make_event(id="")),
    body_of(make_event(type=7)),
    body_of(make_event(created="now")),
    body_of(make_event(created=True)),
    body_of(make_event(created=1 << 40)),
    body_of(make_event(livemode="no")),
    body_of(make_event(api_version="x" * 65)),
    body_of(make_event(account=["acct_1"])),
    body_of(make_event(account="a" * 65)),
    body_of(make_event(data=None)),
    body_of(make_event(data={"object": "pi_1"})),
    body_of(make_event(id="evt_\0")),
]


async def test_a_signed_body_that_is_no_event_is_refused(services: Services) -> None:
    for payload in MALFORMED:
        try:
            await receive(services, source=EventSource.PLATFORM, payload=payload, signature=signed(payload))
        except MalformedEventError:
            continue
        pytest.fail(f"{payload[:200]!r} was taken")
    assert await WebhookEvent.all().count() == 0
    assert counted(services, "malformed") == len(MALFORMED)


async def test_an_event_of_the_other_mode_is_passed_over(services: Services) -> None:
    await deliver(services, make_event(livemode=True))
    assert await WebhookEvent.all().count() == 0
    assert counted(services, "other_mode") == 1


async def test_an_event_is_stored_once_however_often_and_however_it_comes(services: Services) -> None:
    events = [make_event(f"evt_{i}") for i in range(30)]
    copies = events * 4
    random.Random(7).shuffle(copies)
    await asyncio.gather(*(deliver(services, event) for event in copies))
    assert sorted(row.stripe_event_id for row in await WebhookEvent.all()) == sorted(event["id"] for event in events)
    assert (counted(services, "stored"), counted(services, "duplicate")) == (30, 90)


async def test_the_same_id_on_two_accounts_is_two_events(services: Services) -> None:
    for account in ("acct_1", "acct_2"):
        await deliver(services, make_event(type_="account.updated", account=account), EventSource.CONNECT)
    assert sorted(row.account for row in await WebhookEvent.all()) == ["acct_1", "acct_2"]


async def test_a_connect_event_that_names_no_account_is_refused(services: Services) -> None:
    with pytest.raises(MalformedEventError):
        await deliver(services, make_event(type_="account.updated"), EventSource.CONNECT)
    assert await WebhookEvent.all().count() == 0


async def test_what_nobody_handles_is_kept_and_done_with(services: Services) -> None:
    await deliver(services, make_event("evt_unknown", type_="customer.tax_id.updated"))
    await deliver(services, make_event("evt_not_ours", type_="customer.updated", account="acct_1"), EventSource.CONNECT)
    rows = await WebhookEvent.all()
    assert {row.status for row in rows} == {WebhookEventStatus.IGNORED}
    assert all(row.processed_at is not None for row in rows)


async def test_text_that_postgresql_cannot_hold_does_not_keep_an_event_out(services: Services) -> None:
    thing = {"id": "pi_1", "metadata": {"a\0": "b\0\\u0000c"}}
    await deliver(services, make_event(object_=thing))
    row = await WebhookEvent.get(stripe_event_id="evt_1")
    assert row.payload["data"]["object"] == {"id": "pi_1", "metadata": {"a": "b\\u0000c"}}


def test_endpoints_are_registered_for_what_is_handled() -> None:
    platform, connect = enabled_events(EventSource.PLATFORM), enabled_events(EventSource.CONNECT)
    assert {*platform, *connect} == set(HANDLERS)
    assert "payment_intent.succeeded" in platform
    assert {"account.application.deauthorized", "account.updated", "payout.failed"} <= set(connect)
    assert {"account.updated", "payout.failed"} - set(platform) == {"account.updated"}
