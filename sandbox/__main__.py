"""`python -m sandbox`: runs the sandbox until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import gc
import signal
import socket
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.app import SandboxApp
from sandbox.engine import Endpoint, Engine, Options

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 4096


class _Protocol(HttpToolsProtocol):
    """Lets the application break a connection off, which is how a lost answer looks."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["sandbox.transport"] = self.transport  # type: ignore[typeddict-unknown-key]


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End well when asked to: uvicorn would raise the signal once more and die of it."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so in one line."""
        await super().startup(sockets)
        if not self.started or not sockets:
            return
        host, port = sockets[0].getsockname()[:2]
        self._engine.base_url = f"http://{host}:{port}"
        print(f"ready http://{host}:{port}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m sandbox", description="A stand-in for Stripe's API that keeps state.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=12111, help="the port; 0 takes a free one (12111)")
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".data/sandbox"), help="where its state is kept (.data/sandbox)"
    )
    parser.add_argument("--webhook", metavar="URL", help="an endpoint for the platform's events")
    parser.add_argument("--webhook-secret", metavar="SECRET", help="its signing secret (whsec_…)")
    parser.add_argument("--connect-webhook", metavar="URL", help="an endpoint for connected accounts' events")
    parser.add_argument("--connect-webhook-secret", metavar="SECRET", help="its signing secret (whsec_…)")
    parser.add_argument("--accounts-by-key", action="store_true", help="each secret key opens an account of its own")
    parser.add_argument("--country", default="US", help="the platform's country (US)")
    parser.add_argument("--async-delay", type=float, default=1.0, metavar="S", help="seconds that a bank takes (1)")
    parser.add_argument("--public-url", metavar="URL", help="where people reach its pages, if not at this address")
    return parser.parse_args()


def _lock(data_dir: Path) -> IO[Any]:
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = (data_dir / "sandbox.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"Another sandbox is using {data_dir}.")
    return lock


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        sys.exit(f"Cannot listen on {host}:{port}: {error.strerror}.")
    listener.listen(_BACKLOG)
    return listener


def main() -> None:
    """Run the sandbox."""
    arguments = _arguments()
    lock = _lock(arguments.data_dir)
    listener = _listen(arguments.host, arguments.port)
    endpoints = (
        Endpoint(arguments.webhook, arguments.webhook_secret, connect=False),
        Endpoint(arguments.connect_webhook, arguments.connect_webhook_secret, connect=True),
    )
    options = Options(
        data_dir=arguments.data_dir, accounts_by_key=arguments.accounts_by_key, country=arguments.country.upper(),
        async_delay_s=arguments.async_delay, public_url=arguments.public_url,
        endpoints=tuple(endpoint for endpoint in endpoints if endpoint.url),
    )  # fmt: skip
    app = SandboxApp(options)
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", loop="uvloop", lifespan="on", log_level="warning", access_log=False,
        timeout_keep_alive=75, backlog=_BACKLOG, server_header=False, timeout_graceful_shutdown=10,
    )  # fmt: skip
    server = _Server(config, app.engine)
    # What is there now stays; the many small objects of a request are gone with it, without cycles.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listener]))
    lock.close()


if __name__ == "__main__":
    main()
