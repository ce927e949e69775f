"""The gap sweeper: what no webhook brought comes in from Stripe's lists, once, and the watermark is honest."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from models.webhook_events import SweepWatermark, WebhookEvent
from services.exclusive import exclusively
from services.stripe_gateway import StripeInvalidRequest, StripeNotSent
from services.webhooks.handlers import EventSource, enabled_events
from services.webhooks.sweeper import sweep
from tests.services.webhooks.conftest import Clock, ScriptedStripe, make_event
from tests.services.webhooks.test_inbox import deliver
from tests.support.rows import add_account, add_user

if TYPE_CHECKING:
    import asyncpg

    from services.core import Services

EVENTS = "/v1/events"

# What one pass over the platform's events takes: Stripe takes 20 types at once.
_REQUESTS, _OF_A_HOST = (math.ceil(len(enabled_events(source)) / 20) for source in EventSource)


def page(*events: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(events), "has_more": more}


async def test_what_the_inbox_lacks_comes_in_and_what_it_has_does_not(
    services: Services, scripted: ScriptedStripe
) -> None:
    await deliver(services, make_event("evt_1"))
    scripted.answers[EVENTS] = [page(make_event("evt_2"), make_event("evt_1"), more=True), page(make_event("evt_0"))]
    assert await sweep(services) == 2
    assert sorted(row.stripe_event_id for row in await WebhookEvent.all()) == ["evt_0", "evt_1", "evt_2"]
    swept = await WebhookEvent.get(stripe_event_id="evt_0")
    await deliver(services, swept.payload)
    assert await WebhookEvent.all().count() == 3


async def test_each_pass_begins_where_the_last_one_began_with_some_overlap(
    services: Services, scripted: ScriptedStripe, clock: Clock
) -> None:
    scripted.answers[EVENTS] = [page()]
    first = clock.now
    await sweep(services)
    clock.pass_(minutes=5)
    await sweep(services)
    passes = scripted.requests[:_REQUESTS], scripted.requests[_REQUESTS:]
    since = [{int(parse_qs(request.body)["created[gte]"][0]) for request in requests} for requests in passes]
    assert since == [{int((first - timedelta(hours=6)).timestamp())}, {int((first - timedelta(minutes=2)).timestamp())}]
    asked = [
        [value for name, [value] in parse_qs(request.body).items() if name.startswith("types[")]
        for request in passes[0]
    ]
    assert [type_ for types in asked for type_ in types] == enabled_events(EventSource.PLATFORM)
    assert all(len(types) <= 20 for types in asked)


async def test_the_watermark_stays_where_a_pass_was_cut_short(services: Services, scripted: ScriptedStripe) -> None:
    scripted.answers[EVENTS] = [page(make_event("evt_1"), more=True), StripeNotSent("away", retry_after_s=1)]
    with pytest.raises(StripeNotSent):
        await sweep(services)
    assert await SweepWatermark.all().count() == 0


async def test_further_back_than_stripe_remembers_is_not_asked_for(
    services: Services, scripted: ScriptedStripe, clock: Clock
) -> None:
    scripted.answers[EVENTS] = [page()]
    await sweep(services)
    clock.pass_(days=45)
    await sweep(services)
    since = int(parse_qs(scripted.requests[-1].body)["created[gte]"][0])
    assert since == int((clock.now - timedelta(days=30)).timestamp())


async def test_connected_accounts_are_swept_as_themselves_and_one_refusal_stops_nobody(
    services: Services, scripted: ScriptedStripe, connection: asyncpg.Connection[Any]
) -> None:
    for id_, values in {"acct_1": {}, "acct_2": {}, "acct_gone": {"deauthorized_at": services.clock()}}.items():
        _ = await add_account(connection, await add_user(connection), stripe_account_id=id_, **values)
    scripted.answers[EVENTS] = [
        *[page()] * _REQUESTS,
        StripeInvalidRequest(403, {"code": "account_invalid"}, request_id=None),
        page(make_event("evt_1", "account.updated", object_={"id": "acct_2", "object": "account"})),
        *[page()] * (_OF_A_HOST - 1),
    ]
    assert await sweep(services) == 1
    asked = [request.stripe_account for request in scripted.requests]
    assert asked == [*[None] * _REQUESTS, "acct_1", *["acct_2"] * _OF_A_HOST]
    assert (await WebhookEvent.get()).account == "acct_2"
    assert {mark.account for mark in await SweepWatermark.all()} == {"", "acct_2"}


async def test_only_one_process_sweeps_at_a_time(services: Services, scripted: ScriptedStripe) -> None:
    async with exclusively(services.database, "paydesk:sweep") as mine:
        assert mine
        assert await sweep(services) == 0
    assert scripted.requests == []
