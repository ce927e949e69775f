"""The sandbox as tests use it beside the services: what people, banks and Stripe's dashboard do, and what it holds."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from services.embedded import SECRET_KEY
from services.stripe_requests import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_EXPRESS = {
    "fees": {"payer": "application"}, "losses": {"payments": "application"}, "requirement_collection": "stripe",
    "stripe_dashboard": {"type": "express"},
}  # fmt: skip
_STANDARD = {
    "fees": {"payer": "account"}, "losses": {"payments": "stripe"}, "requirement_collection": "stripe",
    "stripe_dashboard": {"type": "full"},
}  # fmt: skip


class RefusedError(AssertionError):
    """The sandbox said no, where a test counted on a yes."""


class Sandbox:
    """A running sandbox, by its own key."""

    def __init__(self, url: str, http: httpx.AsyncClient, key: str = SECRET_KEY) -> None:
        self.url = url
        self._http = http
        self._key = key
        self._opened_after: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, key: str = SECRET_KEY) -> AsyncIterator[Sandbox]:
        """Connect."""
        # Without certificates: it is plain HTTP, and loading them takes longer than most tests.
        async with httpx.AsyncClient(base_url=url, timeout=20, verify=False) as http:
            sandbox = cls(url, http, key)
            newest = (await sandbox.get("/v1/events", {"limit": 1}))["data"]
            sandbox._opened_after = newest[0]["id"] if newest else None
            yield sandbox

    async def post(self, path: str, params: dict[str, Any] | None = None, *, account: str | None = None) -> Any:
        """Stripe's answer to a write."""
        return await self._ask("POST", path, content=encode(params or {}), headers=self._headers(account))

    async def post_encoded(self, path: str, body: str) -> Any:
        """Stripe's answer to a write whose form is made already."""
        return await self._ask("POST", path, content=body, headers=self._headers(None))

    async def get(self, path: str, params: dict[str, Any] | None = None, *, account: str | None = None) -> Any:
        """Stripe's answer to a read."""
        query = encode(params or {})
        return await self._ask("GET", f"{path}?{query}" if query else path, headers=self._headers(account))

    async def delete(self, path: str) -> Any:
        """Stripe's answer to a deletion."""
        return await self._ask("DELETE", path, headers=self._headers(None))

    async def every(
        self, path: str, params: dict[str, Any] | None = None, *, account: str | None = None
    ) -> list[dict[str, Any]]:
        """All objects of a list, the newest first."""
        found: list[dict[str, Any]] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = await self.get(path, {"limit": 100, **(params or {}), **after}, account=account)
            found += page["data"]
            if not page["has_more"]:
                return found

    async def act(self, path: str, **body: Any) -> Any:
        """What a person or a bank does, `/_sandbox/…`."""
        return await self._ask("POST", f"/_sandbox/{path}", json=body)

    async def onboarded_account(self, *, country: str = "US", standard: bool = False) -> str:
        """A connected account that can be paid."""
        account = await self.post(
            "/v1/accounts",
            {
                "country": country, "email": "host@example.com", "controller": _STANDARD if standard else _EXPRESS,
                "capabilities": {"card_payments": {"requested": True}, "transfers": {"requested": True}},
            },
        )  # fmt: skip
        await self.act(f"accounts/{account['id']}/onboard")
        return str(account["id"])

    async def authenticate(self, intent: str, outcome: str = "success") -> None:
        """The guest does the 3-D Secure challenge."""
        await self.act(f"payment_intents/{intent}/authenticate", outcome=outcome)

    async def faults(self, **faults: Any) -> None:
        """What goes wrong from now on."""
        await self.act("faults", **faults)

    async def heal(self) -> None:
        """Nothing goes wrong any more."""
        await self._ask("DELETE", "/_sandbox/faults")

    async def events(self, after: str | None = None) -> list[dict[str, Any]]:
        """The platform's events since this was opened, or since that one, in the order in which things happened."""
        after = after or self._opened_after
        if after is None:
            return (await self.every("/v1/events"))[::-1]
        found: list[dict[str, Any]] = []
        while True:
            page = await self.get("/v1/events", {"limit": 100, "ending_before": after})
            found += page["data"][::-1]
            if not page["has_more"]:
                return found
            after = page["data"][0]["id"]

    async def events_about(self, *ids: str, account: str | None = None) -> list[dict[str, Any]]:
        """The events of the objects with these ids, or of what belongs to them, the oldest first.

        The platform's, or those of a connected account.
        """
        wanted = set(ids)
        events = await self.events() if account is None else (await self.every("/v1/events", account=account))[::-1]
        return [event for event in events if wanted & _named(event["data"]["object"])]

    async def requests_to(self, path: str) -> list[dict[str, Any]]:
        """The calls of late whose path starts so, the oldest first."""
        answer = await self._ask("GET", "/_sandbox/requests")
        return [request for request in answer["requests"] if request["path"].startswith(path)]

    async def _ask(self, method: str, path: str, **rest: Any) -> Any:
        response = await self._http.request(method, path, **rest)
        if response.is_error:
            raise RefusedError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json()

    def _headers(self, account: str | None) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self._key}", "Content-Type": "application/x-www-form-urlencoded",
            **({"Stripe-Account": account} if account else {}),
        }  # fmt: skip


def _named(thing: dict[str, Any]) -> set[str]:
    return {str(thing.get(name)) for name in ("id", "payment_intent", "charge") if thing.get(name)}

