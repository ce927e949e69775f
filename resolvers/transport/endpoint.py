"""GraphQL over HTTP, as its specification says: media types, methods and status codes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import orjson
from graphql import OperationType

from resolvers.transport.bodies import Bodies, BodyTooLarge, BodyTooSlow
from resolvers.transport.card_numbers import CODE as CARD_NUMBER
from resolvers.transport.card_numbers import REFUSAL as CARD_NUMBER_REFUSAL
from resolvers.transport.card_numbers import has_card_number, has_card_number_in_url
from resolvers.transport.documents import RequestRefused
from resolvers.transport.execution import Caller, Execution
from resolvers.transport.masking import formatted, masked
from resolvers.transport.negotiation import PLAIN_JSON, RESPONSE_JSON, is_json, media_type, wants_html
from resolvers.transport.parameters import (
    MalformedRequest,
    Parameters,
    parse_json,
    read_parameters,
    read_url_parameters,
)
from services.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from resolvers.transport.graphiql_page import Graphiql
    from services.authentication import Authenticator

    Headers = Mapping[bytes, str]

_METHODS: Final = "GET, POST, OPTIONS"
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 8 * 1024 * 1024
_URL_PARAMETERS: Final = 16


class _Answered(Exception):
    """A request that is answered before any GraphQL; the text says what to do."""

    def __init__(self, status: HTTPStatus, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class GraphQLEndpoint:
    """The ASGI application of `/graphql` for HTTP."""

    def __init__(
        self, execution: Execution, authenticator: Authenticator, *, bodies: Bodies, graphiql: Graphiql | None
    ) -> None:
        """
        Args:
            bodies: reads bodies, within their limits.
            graphiql: the page for browsers, if they get one.
        """
        self._execution = execution
        self._authenticator = authenticator
        self._bodies = bodies
        self._graphiql = graphiql

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        accept = headers.get(b"accept")
        if self._graphiql is not None and scope["method"] == "GET" and wants_html(accept):
            await self._graphiql.send_page(headers.get(b"host", ""), send)
            return
        answer_type = media_type(accept)
        try:
            status, body = await self._answer(scope, headers, receive, answer_type)
        except _Answered as answered:
            body = orjson.dumps({"errors": [{"message": str(answered), "extensions": {"code": answered.code}}]})
            unread = answered.status in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.SERVICE_UNAVAILABLE}
            await _send(send, answered.status, body, answer_type or PLAIN_JSON, answered.headers, more=unread)
            if unread:
                await _linger(receive)
                await send({"type": "http.response.body", "body": b""})
            return
        except Exception as error:  # noqa: BLE001 - the outermost place: what comes here is a bug, logged and masked
            status, body = HTTPStatus.INTERNAL_SERVER_ERROR, orjson.dumps({"errors": [masked(error, operation=None)]})
        await _send(send, status, body, answer_type or PLAIN_JSON, {})

    async def _answer(
        self, scope: Scope, headers: Headers, receive: Receive, answer_type: str | None
    ) -> tuple[HTTPStatus, bytes]:
        method = scope["method"]
        if answer_type is None:
            raise _Answered(HTTPStatus.NOT_ACCEPTABLE, "NOT_ACCEPTABLE", f"Accept {RESPONSE_JSON} or {PLAIN_JSON}.")
        if method not in {"GET", "POST"}:
            if method == "OPTIONS":
                raise _Answered(HTTPStatus.OK, "OPTIONS", "GraphQL takes GET and POST.", allow=_METHODS)
            raise _Answered(
                HTTPStatus.METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "GraphQL takes GET and POST.", allow=_METHODS
            )
        try:
            authenticated = await self._authenticator.authenticate(headers.get(b"authorization"))
        except Unauthenticated as error:
            raise _Answered(
                HTTPStatus.UNAUTHORIZED, error.code, str(error), www_authenticate='Bearer error="invalid_token"'
            ) from None
        caller = Caller(authenticated.viewer if authenticated else None, headers.get(b"accept-language"))
        async with AsyncExitStack() as body:
            try:
                parameters = await self._parameters(scope, headers, receive, body, known=authenticated is not None)
            except MalformedRequest as error:
                raise _Answered(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", str(error)) from None
            return await self._execute(parameters, caller, method, answer_type)

    async def _execute(
        self, parameters: Parameters, caller: Caller, method: str, answer_type: str
    ) -> tuple[HTTPStatus, bytes]:
        try:
            operation = self._execution.prepare(parameters)
            self._check_kind(operation.kind, method)
            answer = await self._execution.execute(operation, parameters, caller)
        except RequestRefused as refused:
            # Clients that take only application/json read errors from a 200 alone (the specification's legacy rule).
            status = HTTPStatus.BAD_REQUEST if answer_type == RESPONSE_JSON else HTTPStatus.OK
            return status, orjson.dumps({"errors": [formatted(error) for error in refused.errors]})
        return HTTPStatus.OK, orjson.dumps(answer)

    @staticmethod
    def _check_kind(kind: OperationType, method: str) -> None:
        if kind is OperationType.SUBSCRIPTION:
            raise _Answered(
                HTTPStatus.BAD_REQUEST, "BAD_REQUEST",
                "Subscriptions come over a websocket at the same address, by the protocol graphql-transport-ws.",
            )  # fmt: skip
        if kind is OperationType.MUTATION and method == "GET":
            raise _Answered(
                HTTPStatus.METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Send mutations by POST.", allow="POST"
            )

    async def _parameters(
        self, scope: Scope, headers: Headers, receive: Receive, body: AsyncExitStack, *, known: bool
    ) -> Parameters:
        """The parameters; what `body` holds is let go of once they are done with."""
        if has_card_number_in_url(scope["query_string"]):
            raise _Answered(HTTPStatus.BAD_REQUEST, CARD_NUMBER, CARD_NUMBER_REFUSAL)
        if scope["method"] == "GET":
            try:
                pairs = parse_qsl(
                    scope["query_string"].decode("ascii"), keep_blank_values=True, max_num_fields=_URL_PARAMETERS,
                    errors="strict",
                )  # fmt: skip
            except ValueError:
                raise MalformedRequest("The URL's parameters are not valid UTF-8, or too many.") from None
            return read_url_parameters(dict(pairs))
        if not is_json(headers.get(b"content-type")):
            raise _Answered(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", f"Send {PLAIN_JSON} in UTF-8.",
                accept_post=PLAIN_JSON,
            )  # fmt: skip
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise _Answered(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "Send the body without compression.",
                accept_encoding="identity",
            )  # fmt: skip
        read = self._bodies.read(headers.get(b"content-length", ""), receive, known=known)
        try:
            text = await body.enter_async_context(read)
        except BodyTooLarge as error:
            raise _Answered(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BODY_TOO_LARGE", str(error), connection="close"
            ) from None
        except BodyTooSlow as error:
            raise _Answered(
                HTTPStatus.SERVICE_UNAVAILABLE, "BUSY", str(error), connection="close", retry_after="10"
            ) from None
        large = len(text) > self._bodies.limit
        # A large one takes its time, which the others need not wait for.
        if await asyncio.to_thread(has_card_number, text) if large else has_card_number(text):
            raise _Answered(HTTPStatus.BAD_REQUEST, CARD_NUMBER, CARD_NUMBER_REFUSAL)
        parameters = read_parameters(parse_json(text))
        if large and len(parameters.query or "") > self._bodies.limit:
            raise MalformedRequest("Send what is large in `variables`, not within the document.")
        return parameters


async def _send(
    send: Send, status: int, body: bytes, answer_type: str, headers: Mapping[str, str], *, more: bool = False
) -> None:
    """An answer; without its end where `more`."""
    own = [
        (b"content-type", f"{answer_type}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept, Authorization"),
        (b"x-content-type-options", b"nosniff"),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": int(status), "headers": own})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _linger(receive: Receive) -> None:
    """Let a body that is too large run out for a moment: a connection closed on unread data loses the answer too."""
    left = _LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
                left -= len(message.get("body", b""))
