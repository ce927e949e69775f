"""The two endpoints as Stripe sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest
from starlette.applications import Starlette

from models.webhook_events import WebhookEvent
from resolvers.webhooks import webhook_routes
from services.batching import Batcher
from services.webhooks.inbox import StoreEvents
from tests.services.webhooks.conftest import CONNECT_SECRET, body_of, make_event, signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.core import Services

PLATFORM, CONNECT = "/webhooks/stripe", "/webhooks/stripe/connect"


@pytest.fixture
async def stripe_side(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=webhook_routes(services))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://paydesk") as client:
        yield client


async def post(
    client: httpx.AsyncClient, payload: bytes, *, path: str = PLATFORM, signature: str | None = None
) -> httpx.Response:
    header = signed(payload) if signature is None else signature
    return await client.post(path, content=payload, headers={"Stripe-Signature": header} if header else {})


async def test_an_event_is_answered_once_it_is_stored(stripe_side: httpx.AsyncClient) -> None:
    payload = body_of(make_event())
    for _ in range(2):
        response = await post(stripe_side, payload)
        assert (response.status_code, response.json()) == (200, {"received": True})
    assert await WebhookEvent.all().count() == 1


async def test_each_endpoint_has_its_own_secret(stripe_side: httpx.AsyncClient) -> None:
    payload = body_of(make_event(type_="account.updated", account="acct_1"))
    signature = signed(payload, CONNECT_SECRET)
    assert (await post(stripe_side, payload, signature=signature)).status_code == 400
    assert (await post(stripe_side, payload, path=CONNECT, signature=signature)).status_code == 200
    assert await WebhookEvent.all().count() == 1


@pytest.mark.parametrize("signature", ["", "t=1,v1=00"])
async def test_what_stripe_did_not_sign_is_a_bad_request(stripe_side: httpx.AsyncClient, signature: str) -> None:
    response = await post(stripe_side, body_of(make_event()), signature=signature)
    assert response.status_code == 400
    assert "signature" in response.json()["error"]
    assert await WebhookEvent.all().count() == 0


async def test_a_signed_body_that_is_no_event_is_a_bad_request(stripe_side: httpx.AsyncClient) -> None:
    response = await post(stripe_side, b'{"object": "event"}')
    assert (response.status_code, response.json()) == (400, {"error": "The event has no usable `id`."})


async def test_a_body_over_the_limit_is_not_read(stripe_side: httpx.AsyncClient, services: Services) -> None:
    response = await post(stripe_side, b" " * (services.settings.body_limit + 1))
    assert response.status_code == 413
    assert await WebhookEvent.all().count() == 0


async def test_only_posts_are_taken(stripe_side: httpx.AsyncClient) -> None:
    assert (await stripe_side.get(PLATFORM)).status_code == 405


async def test_without_the_database_stripe_is_asked_to_come_again(services: Services) -> None:
    async def refused() -> NoReturn:
        raise ConnectionRefusedError

    inbox = Batcher("inbox", refused, StoreEvents(), lanes=1, batch_max=8)
    app = Starlette(routes=webhook_routes(replace(services, inbox=inbox)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://paydesk") as client:
        response = await post(client, body_of(make_event()))
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    await inbox.close()
