"""One websocket: its handshake, its operations, its end.

Messages are sent by whoever has one, with nothing queued in between: a client that does not read holds up the
operations of its own connection, each with one message in hand, and is cut off when a message has waited too long.
What a subscription misses meanwhile is bounded by its source, which then ends it the same way.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from graphql import GraphQLError, OperationType

from resolvers.transport.card_numbers import CODE as CARD_NUMBER
from resolvers.transport.card_numbers import REFUSAL as CARD_NUMBER_REFUSAL
from resolvers.transport.card_numbers import has_card_number
from resolvers.transport.documents import RequestRefused
from resolvers.transport.execution import Caller, SubscriptionFailed
from resolvers.transport.masking import formatted, masked
from resolvers.transport.parameters import MalformedRequest, read_parameters
from resolvers.transport.socket_messages import (
    CloseCode,
    Message,
    ProtocolViolation,
    fit_reason,
    read_message,
    write_message,
)
from services.errors import Unauthenticated
from services.live import SlowReaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import Receive, Send

    from resolvers.transport.execution import Execution
    from resolvers.transport.parameters import Parameters
    from resolvers.transport.sockets import SocketLimits, Sockets
    from services.authentication import Authenticated, Authenticator

_SLOW: Final = "Messages were not read in time. Connect again and resume from your cursor."
_EXPIRED: Final = "The token has expired. Connect again with a new one."
_LAST_WORDS_S: Final = 5.0
_TIMER_S: Final = 86_400.0


class Connection:
    """Serves one client by graphql-transport-ws."""

    def __init__(
        self,
        execution: Execution,
        authenticator: Authenticator,
        sockets: Sockets,
        limits: SocketLimits,
        headers: Mapping[bytes, str],
        receive: Receive,
        send: Send,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._execution = execution
        self._authenticator = authenticator
        self._sockets = sockets
        self._limits = limits
        self._headers = headers
        self._receive = receive
        self._transmit = send
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[tuple[CloseCode | None, str]] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection has been closed and its operations are over."""
        self.stall_s = limits.stall_s
        self._timer: asyncio.TimerHandle | None = None
        self._has_init = False
        self._caller: Caller | None = None
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._waiting: dict[int, float] = {}
        self._messages = 0

    async def run(self) -> None:
        """Serve until the client leaves or the connection is ended."""
        self._timer = self._loop.call_later(
            self._limits.init_s, self.end, CloseCode.INIT_TIMEOUT, "Connection initialisation timeout"
        )
        reader = asyncio.create_task(self._read())
        try:
            code, reason = await self._outcome
            await self._stop(reader)
            if code is not None:
                await self._say_goodbye(code, reason)
        finally:
            await self._stop(reader)
            self.ended.set_result(None)

    def end(self, code: CloseCode | None, reason: str = "") -> None:
        """End the connection, for the first reason that is given; None where the client is gone."""
        if not self._outcome.done():
            self._outcome.set_result((code, fit_reason(reason)))

    def cut_off_if_stalled(self) -> None:
        """End the connection if a message has been waiting for the client for too long."""
        if self._waiting and self._loop.time() - min(self._waiting.values()) > self.stall_s:
            self.end(CloseCode.SLOW_READER, _SLOW)

    async def _stop(self, reader: asyncio.Task[None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = {reader, *self._running}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _say_goodbye(self, code: CloseCode, reason: str) -> None:
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._transmit({"type": "websocket.close", "code": int(code), "reason": reason})
        except (OSError, RuntimeError, TimeoutError):
            pass  # The client is gone, or does not read: there is nobody to tell.

    async def _send(self, text: str) -> None:
        self._messages += 1
        number = self._messages
        self._waiting[number] = self._loop.time()
        try:
            await self._transmit({"type": "websocket.send", "text": text})
        except (OSError, RuntimeError):
            self.end(None)
        finally:
            del self._waiting[number]

    async def _read(self) -> None:
        try:
            while True:
                frame = await self._receive()
                if frame["type"] == "websocket.disconnect":
                    self.end(None)
                    return
                text = self._text_of(frame)
                if has_card_number(text.encode()):
                    await self._refuse_card(read_message(text))
                else:
                    await self._handle(read_message(text))
        except ProtocolViolation as violation:
            self.end(violation.code, violation.reason)
        except Exception as error:  # noqa: BLE001 - the outermost place: what comes here is a bug, logged and masked
            masked(error, operation=None)
            self.end(CloseCode.INTERNAL, "internal error")

    def _text_of(self, frame: Mapping[str, Any]) -> str:
        text: str | None = frame.get("text")
        if text is None:
            raise ProtocolViolation(CloseCode.BAD_REQUEST, "Messages must be text.")
        limit = self._limits.message_length
        if len(text) > limit:
            raise ProtocolViolation(CloseCode.MESSAGE_TOO_BIG, f"A message has more than {limit} characters.")
        return text

    async def _handle(self, message: Message) -> None:
        match message.type:
            case "connection_init":
                await self._init(message.payload or {})
            case "ping":
                await self._send(write_message("pong", payload=message.payload))
            case "subscribe":
                self._subscribe(message)
            case "complete":
                task = self._operations.pop(message.id, None)
                if task is not None and task in self._running:
                    task.cancel()

    async def _refuse_card(self, message: Message) -> None:
        """Refuse an operation that carries what looks like a card number, without a look at it.

        Raises: ProtocolViolation where it is no operation, or where its answer would have to repeat the number.
        """
        if message.type != "subscribe" or has_card_number(message.id.encode()):
            raise ProtocolViolation(CloseCode.BAD_REQUEST, CARD_NUMBER_REFUSAL)
        self._check_new(message)
        error = formatted(GraphQLError(CARD_NUMBER_REFUSAL, extensions={"code": CARD_NUMBER}))
        await self._send(write_message("error", message.id, [error]))

    async def _init(self, payload: Mapping[str, Any]) -> None:
        if self._has_init:
            raise ProtocolViolation(CloseCode.TOO_MANY_INITS, "Too many initialisation requests")
        self._has_init = True
        given = next((value for name, value in payload.items() if name.lower() == "authorization"), None)
        header = self._headers.get(b"authorization") if given is None else given
        if header is not None and not isinstance(header, str):
            raise ProtocolViolation(CloseCode.FORBIDDEN, "`authorization` must be a string: `Bearer` and the token.")
        try:
            authenticated = await self._authenticator.authenticate(header)
        except Unauthenticated as error:
            raise ProtocolViolation(CloseCode.FORBIDDEN, str(error)) from None
        if self._timer is not None:
            self._timer.cancel()
        self._end_with(authenticated)
        viewer = authenticated.viewer if authenticated else None
        self._caller = Caller(viewer, self._headers.get(b"accept-language"))
        await self._send(write_message("connection_ack"))

    def _end_with(self, authenticated: Authenticated | None) -> None:
        """Let the connection end when its token does."""
        if authenticated is None:
            return
        left = authenticated.expires_at - self._clock()
        if left <= 0:
            self.end(CloseCode.FORBIDDEN, _EXPIRED)
        else:
            # Loops cannot count to the far future.
            self._timer = self._loop.call_later(min(left, _TIMER_S), self._end_with, authenticated)

    def _subscribe(self, message: Message) -> None:
        caller = self._check_new(message)
        try:
            parameters = read_parameters(message.payload)
        except MalformedRequest as error:
            raise ProtocolViolation(CloseCode.BAD_REQUEST, str(error)) from None
        is_over = len(self._running) + len(self._abandoned) >= self._limits.subscriptions
        task = asyncio.create_task(self._serve(message.id, parameters, caller, is_over=is_over))
        self._operations[message.id] = task
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _check_new(self, message: Message) -> Caller:
        """Who begins an operation.

        Raises: ProtocolViolation where nobody may yet, and for an id that is in use.
        """
        if self._caller is None:
            raise ProtocolViolation(CloseCode.UNAUTHORIZED, "Unauthorized: send connection_init, wait for its answer.")
        if message.id in self._operations:
            raise ProtocolViolation(CloseCode.SUBSCRIBER_EXISTS, f"Subscriber for {message.id} already exists")
        return self._caller

    async def _serve(self, identity: str, parameters: Parameters, caller: Caller, *, is_over: bool) -> None:
        """Run one operation from its message to `complete` or `error`."""
        errors: list[dict[str, Any]] | None = None
        try:
            if not is_over:
                await self._run(identity, parameters, caller)
            else:
                errors = [formatted(_too_many(self._limits.subscriptions))]
        except RequestRefused as refused:
            errors = [formatted(error) for error in refused.errors]
        except SubscriptionFailed as failed:
            errors = failed.errors
        except SlowReaderError:
            self.end(CloseCode.SLOW_READER, _SLOW)
            return
        except Exception as error:  # noqa: BLE001 - the outermost place of this task: what is a bug is logged and masked
            errors = [masked(error, operation=parameters.operation_name)]
        if self._operations.get(identity) is not asyncio.current_task():
            return
        # Freed before the client hears of it: it may use the id again at once.
        del self._operations[identity]
        kind = "complete" if errors is None else "error"
        await self._send(write_message(kind, identity, errors))

    async def _run(self, identity: str, parameters: Parameters, caller: Caller) -> None:
        operation = self._execution.prepare(parameters)
        if operation.kind is OperationType.SUBSCRIPTION:
            answers = await self._execution.subscribe(operation, parameters, caller)
            try:
                async for answer in answers:
                    await self._send(write_message("next", identity, answer))
            finally:
                await answers.aclose()
            return
        execution = self._execution.execute(operation, parameters, caller)
        if operation.kind is OperationType.MUTATION:
            # Money moves to the end even if nobody waits for the answer.
            task = self._sockets.finish(execution)
            try:
                answer = await asyncio.shield(task)
            except asyncio.CancelledError:
                self._abandoned.add(task)
                task.add_done_callback(self._abandoned.discard)
                raise
        else:
            answer = await execution
        await self._send(write_message("next", identity, answer))


def _too_many(limit: int) -> GraphQLError:
    return GraphQLError(
        f"This connection has {limit} operations under way, the limit. Complete one first, or open another connection.",
        extensions={"code": "TOO_MANY_SUBSCRIPTIONS"},
    )
