"""The websocket side of `/graphql`: who may connect, and which connections are open."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from resolvers.transport.card_numbers import REFUSAL as CARD_NUMBER_REFUSAL
from resolvers.transport.card_numbers import has_card_number_in_url
from resolvers.transport.connection import Connection
from resolvers.transport.socket_messages import SUBPROTOCOL, CloseCode, fit_reason

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine

    from starlette.types import Receive, Scope, Send

    from resolvers.transport.execution import Execution
    from services.authentication import Authenticator

Answer = TypeVar("Answer")

WAIT_S: Final = 30.0
STALL_S: Final = 15.0
"""Seconds that one message may wait for a client that does not read."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one connection may do; times in seconds, sizes in characters."""

    init_s: float
    subscriptions: int
    message_length: int
    stall_s: float = STALL_S


class Sockets:
    """Every open websocket of this process; `server.py` closes them when it stops."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._finishing: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self.is_closing = False

    def __len__(self) -> int:
        return len(self._open)

    async def close_all(self, within_s: float = WAIT_S) -> None:
        """End each connection with 1001, and wait for the mutations that they started, for so many seconds at most.

        To be called before the HTTP server shuts its connections down, which ends them without a word.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._close_all()

    async def _close_all(self) -> None:
        self.is_closing = True
        ended = [connection.ended for connection in self._open]
        for connection in list(self._open):
            connection.end(CloseCode.GOING_AWAY, "The server is stopping. Connect again.")
        if ended:
            await asyncio.wait(ended)
        while self._finishing:
            await asyncio.wait(self._finishing)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def finish(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        """Run a mutation to its end, whatever becomes of the connection that asked for it."""
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._finishing.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, so that a refusal that nobody waits for is not reported as forgotten

    def add(self, connection: Connection) -> None:
        """Count a connection in."""
        self._open.add(connection)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._cut_off_slow_readers())

    def remove(self, connection: Connection) -> None:
        """Count a connection out."""
        self._open.discard(connection)

    async def _cut_off_slow_readers(self) -> None:
        # One timer for all: a timer for each message would cost more than the message.
        while self._open:
            await asyncio.sleep(min(connection.stall_s for connection in self._open) / 4)
            for connection in list(self._open):
                connection.cut_off_if_stalled()


class SocketEndpoint:
    """The ASGI application of `/graphql` for websockets."""

    def __init__(
        self,
        execution: Execution,
        authenticator: Authenticator,
        sockets: Sockets,
        limits: SocketLimits,
        *,
        allowed_origins: Collection[str],
    ) -> None:
        """
        Args:
            allowed_origins: of browsers, beside the server's own; `*` for all.
        """
        self._execution = execution
        self._authenticator = authenticator
        self._sockets = sockets
        self._limits = limits
        self._allowed_origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket until it ends."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        await receive()
        if not self._is_allowed(headers.get(b"origin"), headers.get(b"host", "")):
            # Before the handshake is complete this is an HTTP answer: 403.
            await send({"type": "websocket.close", "code": int(CloseCode.FORBIDDEN)})
            return
        if has_card_number_in_url(scope["query_string"]):
            await _refuse(send, CloseCode.BAD_REQUEST, fit_reason(CARD_NUMBER_REFUSAL), None)
            return
        if SUBPROTOCOL not in scope["subprotocols"]:
            await _refuse(
                send, CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE, f"Connect with the subprotocol {SUBPROTOCOL}.", None
            )
            return
        if self._sockets.is_closing:
            await _refuse(send, CloseCode.GOING_AWAY, "The server is stopping. Connect again.", SUBPROTOCOL)
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        connection = Connection(
            self._execution, self._authenticator, self._sockets, self._limits, headers, receive, send
        )
        self._sockets.add(connection)
        try:
            await connection.run()
        finally:
            self._sockets.remove(connection)

    def _is_allowed(self, origin: str | None, host: str) -> bool:
        """Whether a browser's page may connect; who sends no origin is no browser."""
        if origin is None or "*" in self._allowed_origins or origin.lower() in self._allowed_origins:
            return True
        # The scheme is not compared: a proxy in front may end TLS.
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()


async def _refuse(send: Send, code: CloseCode, reason: str, subprotocol: str | None) -> None:
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    await send({"type": "websocket.close", "code": int(code), "reason": reason})
