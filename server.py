"""The ASGI app and the command `python server.py`: builds, wires, serves; no logic."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
import uvloop
from rich.console import Console
from starlette.applications import Starlette

from resolvers.api import build_schema
from resolvers.health import health_routes
from resolvers.transport.routes import graphql_routes
from resolvers.transport.sockets import Sockets
from resolvers.webhooks import webhook_routes
from services.authentication import Authenticator
from services.demo_people import seed_demo_people
from services.embedded import embedded_parts
from services.endpoints import base_url, describe, development_secret, endpoints_file, introduce
from services.jobs import run_worker
from services.logs import configure_logs
from services.migrations import migrate, require_migrated
from services.wiring import open_services
from settings import ConfigurationError, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from services.core import Services

log = structlog.get_logger("server")

# Payments make few cycles: looking for them rarely saves a tenth of the CPU.
GC_THRESHOLD = 50_000
# Longer than load balancers keep idle connections: whoever closes first may cut off a request that is on its way.
KEEP_ALIVE_S = 75


def build_app(
    services: Services, authenticator: Authenticator, *, sockets: Sockets, tokens: Mapping[str, str]
) -> Starlette:
    """Every route of the system; `tokens` are those that GraphiQL fills in."""
    return Starlette(
        routes=[
            *graphql_routes(build_schema(), services, authenticator, sockets=sockets, tokens=tokens),
            *webhook_routes(services),
            *health_routes(services),
        ]
    )


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handling: what is in flight is finished, and children outlive the last request."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_until_signal`."""
        yield


def _listen(settings: Settings) -> socket.socket:
    """The listening socket, bound before anything is started: a taken port is said at once.

    Raises: ConfigurationError.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"PAYDESK_HOST, PAYDESK_PORT: cannot listen on {settings.host}:{settings.port} ({error.strerror})."
        ) from None
    return listener


@contextlib.asynccontextmanager
async def _worker(services: Services) -> AsyncIterator[None]:
    """Background jobs beside the API, where the settings say so."""
    if not services.settings.worker:
        yield
        return
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(services, stop), name="worker")
    try:
        yield
    finally:
        stop.set()
        await task


async def _until_signal(server: uvicorn.Server, sockets: Sockets, shutdown_s: float) -> None:
    """Wait for SIGTERM or SIGINT, then end websockets and let the server finish; a second signal ends it at once."""
    stop = asyncio.Event()

    def stop_or_force() -> None:
        server.force_exit = stop.is_set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_force)
    await stop.wait()
    await sockets.close_all(within_s=shutdown_s)
    server.should_exit = True


async def serve(settings: Settings) -> None:
    """Start what is missing, serve until a signal comes, and stop everything in turn.

    Raises: ConfigurationError.
    """
    listener = _listen(settings)
    port = listener.getsockname()[1]
    settings = development_secret(settings.model_copy(update={"port": port}))
    base = base_url(settings.host, port)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        parts = await stack.enter_async_context(embedded_parts(settings, api_base=base))
        settings = parts.settings
        database_url = settings.database_url.get_secret_value() if settings.database_url else ""
        if settings.is_production:
            await require_migrated(database_url)
        else:
            await migrate(database_url)
        services = await stack.enter_async_context(open_services(settings))
        if parts.database_is_embedded:
            await seed_demo_people(services)
        await stack.enter_async_context(_worker(services))
        authenticator = Authenticator.from_settings(settings)
        sockets, endpoints = Sockets(), describe(settings, base)
        app = build_app(services, authenticator, sockets=sockets, tokens=endpoints["tokens"])
        server = _Server(_config(app, settings))
        stopping = asyncio.create_task(_until_signal(server, sockets, settings.shutdown_s), name="signals")
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        await server.listening.wait()
        with endpoints_file(settings, endpoints):
            introduce(endpoints, Console())
            print(f"ready {base}/graphql", flush=True)
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            await serving
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
    log.info("server.stopped")


def _config(app: Starlette, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app, http="httptools", ws="websockets-sansio", lifespan="off", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=int(settings.shutdown_s), backlog=4096,
        ws_max_size=settings.body_limit, ws_per_message_deflate=False, timeout_keep_alive=KEEP_ALIVE_S,
    )  # fmt: skip


def _arguments() -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Serve Paydesk; settings come from the environment and .env.")
    parser.add_argument("--host", help="the address to listen on (PAYDESK_HOST)")
    parser.add_argument("--port", type=int, help="the port to listen on, 0 for a free one (PAYDESK_PORT)")
    parser.add_argument("--data-dir", help="where embedded parts keep their data (PAYDESK_DATA_DIR)")
    return {name: value for name, value in vars(parser.parse_args()).items() if value is not None}


def main() -> int:
    """Run the command.

    Returns: the exit code; 2 where the configuration is at fault.
    """
    try:
        settings = load_settings(**_arguments())
        configure_logs(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except ConfigurationError as error:
        print(f"Paydesk cannot start:\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
