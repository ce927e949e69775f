"""Somebody with a token: calls the API, and hears of changes over a websocket."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import aiohttp
    from rich.console import Console

WAIT_S = 30.0


class DemoError(Exception):
    """A step did not do what it should."""


@dataclass
class Person:
    """Somebody whose name the console prints in front of what they hear."""

    name: str
    token: str
    endpoints: Mapping[str, Any]
    http: aiohttp.ClientSession
    console: Console
    heard: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """Run an operation.

        Raises: DemoError for an answer with errors.
        """
        async with self.http.post(
            self.endpoints["graphql"],
            json={"query": document, "variables": variables},
            headers={"Authorization": f"Bearer {self.token}"},
        ) as response:
            answer = await response.json(content_type=None)
        if answer.get("errors"):
            raise DemoError("; ".join(error["message"] for error in answer["errors"]))
        return dict(answer["data"])

    async def act(self, document: str, **variables: Any) -> dict[str, Any]:
        """Run a document's only mutation, to its payload.

        Raises: DemoError for a payload with errors.
        """
        [(name, payload)] = (await self.ask(document, **variables)).items()
        if payload["errors"]:
            raise DemoError(f"{name}: {payload['errors'][0]['code']}: {payload['errors'][0]['message']}")
        return dict(payload)

    @asynccontextmanager
    async def listening(
        self, document: str, tell: Callable[[dict[str, Any]], str], **variables: Any
    ) -> AsyncIterator[None]:
        """Follow a subscription (graphql-transport-ws) meanwhile; what comes is told and goes into `heard`."""
        async with self.http.ws_connect(self.endpoints["websocket"], protocols=["graphql-transport-ws"]) as socket:
            await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {self.token}"}})
            await socket.receive_json()
            operation = {"query": document, "variables": variables}
            await socket.send_json({"id": "1", "type": "subscribe", "payload": operation})
            # Operations of one socket are started in order: when this is answered, the subscription is live.
            await socket.send_json({"id": "2", "type": "subscribe", "payload": {"query": "{ __typename }"}})
            started = asyncio.Event()
            task = asyncio.create_task(self._hear(socket, started, tell))
            try:
                async with asyncio.timeout(WAIT_S):
                    await started.wait()
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _hear(
        self, socket: aiohttp.ClientWebSocketResponse, started: asyncio.Event, tell: Callable[[dict[str, Any]], str]
    ) -> None:
        async for message in socket:
            body = message.json()
            if body["type"] == "ping":
                await socket.send_json({"type": "pong"})
            elif body.get("id") == "2":
                started.set()
            elif body["type"] == "next":
                [change] = body["payload"]["data"].values()
                self.console.print(f"    [dim]live[/dim] [magenta]{self.name}[/magenta] {tell(change)}")
                self.heard.put_nowait(change)

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a change comes for which this holds.

        Raises: DemoError after 30 seconds.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                while not holds(await self.heard.get()):
                    pass
        except TimeoutError:
            raise DemoError(f"{self.name} waited {WAIT_S:.0f} s for a change that did not come") from None
