"""A server with Paydesk's own logging, at its most talkative, that is asked for what must not be logged.

Run by itself: `python -m tests.resolvers.transport.quiet_server`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import aiohttp
import strawberry
import structlog
import uvicorn
from starlette.applications import Starlette

from resolvers.transport.routes import transport_routes
from server import _config
from services.authentication import Authenticator
from services.logs import configure_logs
from settings import Settings

SECRET = "an-hs256-secret-of-more-than-32-bytes"


@strawberry.type
class Query:
    @strawberry.field
    def echo(self, text: str) -> str:
        return text

    @strawberry.field
    def bug(self, text: str) -> str:
        raise RuntimeError("a bug")


async def ask(url: str, said: str) -> None:
    """Everything that a client can do with a text, well and badly."""
    document = f'{{ echo(text: "{said}") }}'
    async with aiohttp.ClientSession() as http:
        for params in ({"query": document}, {"query": f"{{ {said}"}, {said: said}):
            async with http.get(url, params=params) as response:
                await response.read()
        for body in (
            {"query": document}, {"query": f'{{ bug(text: "{said}") }}'}, {"query": "{", "x": said}, [said],
            {"query": "query($t: String!) { bug(text: $t) }", "variables": {"t": said}},
        ):  # fmt: skip
            async with http.post(url, json=body) as response:
                await response.read()
        for message in ({"type": "subscribe", "id": "1", "payload": {"query": document}}, {"type": said}):
            with suppress(aiohttp.ClientError):
                async with http.ws_connect(f"{url}?said={said}", protocols=["graphql-transport-ws"]) as socket:
                    await socket.send_json({"type": "connection_init"})
                    await socket.send_json(message)
                    await socket.receive()
                    await socket.receive()
        async with http.get(f"{url}/nowhere?said={said}") as response:
            await response.read()


async def main() -> None:
    settings = Settings(_env_file=None, jwt_secret=SECRET, log_level="DEBUG", port=0)
    configure_logs(settings)
    routes = transport_routes(
        strawberry.Schema(Query), settings, Authenticator.from_settings(settings), lambda viewer, language: None
    )
    config = _config(Starlette(routes=routes), settings)
    config.host, config.port = "127.0.0.1", 0
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    for said in sys.argv[1:]:
        await ask(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/graphql", said)
    structlog.get_logger().info("asked")
    server.should_exit = True
    await task


if __name__ == "__main__":
    asyncio.run(main())
