"""What the tests of the sandbox drive it with: the real `stripe` client, its controls, and an endpoint for events."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import orjson
import stripe
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

KEY = "sk_test_sandbox_tests"
EXPRESS = {
    "fees": {"payer": "application"}, "losses": {"payments": "application"}, "requirement_collection": "stripe",
    "stripe_dashboard": {"type": "express"},
}  # fmt: skip
CAPABILITIES = {"card_payments": {"requested": True}, "transfers": {"requested": True}}


@dataclass(frozen=True)
class Process:
    """A running sandbox."""

    child: asyncio.subprocess.Process
    url: str

    async def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()
        await self.child.wait()


class Driver:
    """A client of one sandbox."""

    def __init__(self, url: str, session: aiohttp.ClientSession, key: str) -> None:
        self.url = url
        self.http = session
        self.key = key
        client = stripe.StripeClient(
            key, base_addresses={"api": url, "files": url}, max_network_retries=0,
            http_client=stripe.AIOHTTPClient(session=session),
        )  # fmt: skip
        self.v1 = client.v1

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, key: str = KEY) -> AsyncIterator[Driver]:
        async with aiohttp.ClientSession() as session:
            yield cls(url, session, key)

    async def control(self, method: str, path: str, **body: Any) -> Any:
        async with self.http.request(method, f"{self.url}/_sandbox/{path}", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def refused_control(self, method: str, path: str, **body: Any) -> tuple[int, str]:
        async with self.http.request(method, f"{self.url}/_sandbox/{path}", json=body) as response:
            return response.status, (await response.json())["error"]["message"]

    async def raw(
        self, method: str, path: str, form: str = "", *, key: str | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """One request as bytes; underscores in header names are hyphens."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        names.setdefault("Authorization", f"Bearer {key or self.key}")
        names["Content-Type"] = "application/x-www-form-urlencoded"
        async with self.http.request(method, self.url + path, data=form or None, headers=names) as response:
            return response.status, orjson.loads(await response.read()), response.headers

    async def host(self, country: str = "US", **fields: Any) -> str:
        """A host who has been onboarded."""
        account = await self.v1.accounts.create_async(
            {
                "country": country,
                "controller": EXPRESS,
                "capabilities": CAPABILITIES,
                "email": "host@example.com",
                **fields,
            }  # type: ignore[typeddict-item]
        )
        await self.control("POST", f"accounts/{account.id}/onboard")
        return str(account.id)

    async def customer(self) -> str:
        """A new customer."""
        return str((await self.v1.customers.create_async({"email": "guest@example.com"})).id)

    async def pay(
        self, method: str = "pm_card_visa", *, key: str | None = None, account: str | None = None, **params: Any
    ) -> Any:
        """A payment intent, confirmed at once."""
        options: Any = {"idempotency_key": key or str(uuid4())}
        if account is not None:
            options["stripe_account"] = account
        defaults: Any = {
            "amount": 10_000, "currency": "usd", "payment_method": method, "confirm": True,
            "capture_method": "automatic", "return_url": "https://example.com/back?a=1",
        }  # fmt: skip
        wanted = {name: value for name, value in {**defaults, **params}.items() if value is not None}
        return await self.v1.payment_intents.create_async(wanted, options)  # type: ignore[arg-type]

    async def events_of(self, *ids: str, account: str | None = None) -> list[Any]:
        """The events about objects, the oldest first."""
        options: Any = {"stripe_account": account} if account else {}
        page = await self.v1.events.list_async({"limit": 100}, options)
        return [event for event in reversed(page.data) if event.to_dict()["data"]["object"].get("id") in ids]


@dataclass
class Listener:
    """An endpoint: what it got, and how it answers."""

    url: str = ""
    received: list[tuple[dict[str, Any], str, bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Listener]:
        listener = cls()
        app = web.Application()
        app.router.add_post("/", listener.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        listener.url = f"http://127.0.0.1:{port}/"
        try:
            yield listener
        finally:
            await runner.cleanup()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.received.append((orjson.loads(body), request.headers["Stripe-Signature"], body))
        self.changed.set()
        return web.Response(status=status)

    async def wait_for(self, count: int, *, about: str | None = None, timeout_s: float = 10) -> list[dict[str, Any]]:
        """The first so many events, perhaps only those about one object."""
        async with asyncio.timeout(timeout_s):
            while True:
                self.changed.clear()
                found = [e for e, _, _ in self.received if about is None or e["data"]["object"].get("id") == about]
                if len(found) >= count:
                    return found
                await self.changed.wait()

    async def hear(self, type_: str, **fields: Any) -> dict[str, Any]:
        """The first event of a type about an object with these fields."""
        heard = 0
        while True:
            heard += 1
            event = (await self.wait_for(heard))[heard - 1]
            shown = event["data"]["object"]
            if event["type"] == type_ and all(shown.get(name) == value for name, value in fields.items()):
                return event
