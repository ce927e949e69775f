from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import strawberry
import uvicorn
from starlette.applications import Starlette
from strawberry.types import Info

from resolvers.transport.routes import transport_routes
from resolvers.transport.sockets import Sockets
from services.authentication import Authenticator, mint_token
from services.errors import InvalidInput, NotFound, StaleCursor, StripeUnavailable
from services.live import SlowReaderError
from services.viewer import Viewer
from settings import Settings

SECRET = "an-hs256-secret-of-more-than-32-bytes"


@dataclass
class Context:
    """What the resolvers of the test schema see; `number` tells contexts apart."""

    viewer: Viewer | None
    accept_language: str | None
    number: int
    world: World


@dataclass
class World:
    """What the test schema does, seen from outside."""

    contexts: int = 0
    streams: int = 0
    moved: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    drained: asyncio.Event = field(default_factory=asyncio.Event)

    def context(self, viewer: Viewer | None, accept_language: str | None) -> Context:
        self.contexts += 1
        return Context(viewer, accept_language, self.contexts, self)


@strawberry.type
class Item:
    id: strawberry.ID
    name: str

    @strawberry.field
    def parent(self) -> Item:
        return Item(id=self.id, name=self.name)

    @strawberry.field
    def tags(self) -> list[Item]:
        return [self]

    @strawberry.field
    def must_not_be_null(self) -> str:
        return None  # type: ignore[return-value]


@strawberry.type
class ItemEdge:
    node: Item
    cursor: str


@strawberry.type
class ItemConnection:
    edges: list[ItemEdge]
    total_count: int


def connection(first: int) -> ItemConnection:
    edges = [ItemEdge(node=Item(id=strawberry.ID(str(n)), name=f"item {n}"), cursor=str(n)) for n in range(first)]
    return ItemConnection(edges=edges, total_count=first)


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"Hello, {name}!"

    @strawberry.field
    def viewer(self, info: Info[Context, None]) -> str | None:
        return info.context.viewer.caller if info.context.viewer else None

    @strawberry.field
    def language(self, info: Info[Context, None]) -> str | None:
        return info.context.accept_language

    @strawberry.field
    def item(self) -> Item:
        return Item(id=strawberry.ID("1"), name="item 1")

    @strawberry.field
    def items(self, first: int | None = None, last: int | None = None) -> ItemConnection:
        return connection(min(first or last or 20, 100))

    @strawberry.field
    def nodes(self, ids: list[strawberry.ID]) -> list[Item]:
        return [Item(id=id_, name="") for id_ in ids]

    @strawberry.field
    def missing(self) -> str | None:
        raise NotFound

    @strawberry.field
    def invalid(self) -> str:
        raise InvalidInput("quantity", "The quantity must be 1 or more.")

    @strawberry.field
    def unavailable(self) -> str | None:
        raise StripeUnavailable(retry_after_seconds=7)

    @strawberry.field
    async def bug(self) -> str | None:
        raise RuntimeError("secret detail")

    @strawberry.field
    async def slow(self, info: Info[Context, None]) -> str:
        info.context.world.entered.set()
        try:
            await info.context.world.gate.wait()
        finally:
            info.context.world.drained.set()
        return "late"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def move(self, info: Info[Context, None], what: str) -> str:
        world = info.context.world
        world.entered.set()
        if what == "slowly":
            await world.gate.wait()
        world.moved.append(what)
        world.drained.set()
        return what


@strawberry.type
class Tick:
    number: int
    context: int


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info[Context, None], to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @strawberry.subscription
    async def ticks(self, info: Info[Context, None], first: int = 1) -> AsyncIterator[Tick]:
        """Some ticks at once, then nothing until it is closed."""
        world = info.context.world
        world.streams += 1
        try:
            for number in range(first):
                yield Tick(number=number, context=info.context.number)
            world.entered.set()
            await world.gate.wait()
        finally:
            world.streams -= 1
            world.drained.set()

    @strawberry.subscription
    async def contexts(self) -> AsyncIterator[ContextNumber]:
        for _ in range(2):
            yield ContextNumber()

    @strawberry.subscription
    async def flood(self, info: Info[Context, None], size: int) -> AsyncIterator[str]:
        world = info.context.world
        world.streams += 1
        try:
            while True:
                yield "x" * size
        finally:
            world.streams -= 1
            world.drained.set()

    @strawberry.subscription
    async def stale(self) -> AsyncIterator[int]:
        raise StaleCursor
        yield 0

    @strawberry.subscription
    async def broken(self) -> AsyncIterator[int]:
        yield 0
        raise RuntimeError("secret detail")

    @strawberry.subscription
    async def too_slow(self) -> AsyncIterator[int]:
        yield 0
        raise SlowReaderError


@strawberry.type
class ContextNumber:
    @strawberry.field
    def number(self, info: Info[Context, None]) -> int:
        return info.context.number


@pytest.fixture(scope="session")
def schema() -> strawberry.Schema:
    return strawberry.Schema(Query, Mutation, Subscription)


@dataclass
class Server:
    url: str
    socket_url: str
    sockets: Sockets
    world: World
    uvicorn: uvicorn.Server
    http: aiohttp.ClientSession
    settings: Settings

    async def post(self, query: str, *, token: str | None = None, accept: str | None = None, **more: Any) -> Any:
        """The status and JSON of one request."""
        headers = {"accept": accept or "application/graphql-response+json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        async with self.http.post(self.url, json={"query": query, **more}, headers=headers) as response:
            return response.status, await response.json(content_type=None)


def token(role: str = "user", *, sub: str = "guest", ttl_s: float = 60) -> str:
    return mint_token(SECRET, sub=sub, role=role, ttl_s=ttl_s)


@asynccontextmanager
async def serve(schema: strawberry.Schema, **overrides: Any) -> AsyncIterator[Server]:
    """The routes on a real uvicorn at a port of its own."""
    tokens = overrides.pop("tokens", None)
    settings = Settings(_env_file=None, jwt_secret=SECRET, **overrides)
    world, sockets = World(), Sockets()
    routes = transport_routes(
        schema, settings, Authenticator.from_settings(settings), world.context, sockets=sockets, tokens=tokens
    )
    config = uvicorn.Config(
        Starlette(routes=routes), host="127.0.0.1", port=0, ws="websockets-sansio", http="httptools", log_level="error",
        lifespan="off", timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as http:
        yield Server(
            f"http://127.0.0.1:{port}/graphql", f"ws://127.0.0.1:{port}/graphql", sockets, world, server, http, settings
        )
        world.gate.set()
        await sockets.close_all()
    server.should_exit = True
    await task


@pytest.fixture
async def server(schema: strawberry.Schema) -> AsyncIterator[Server]:
    async with serve(schema) as running:
        yield running
