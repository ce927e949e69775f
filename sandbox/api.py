"""The API over HTTP: keys, versions, accounts, idempotency, errors; what is done is the operations' matter."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from sandbox import API_VERSION, forms, multipart
from sandbox.catalogue import OPERATIONS
from sandbox.errors import ApiError, Json
from sandbox.expansion import expand, shown
from sandbox.faults import Fate, rate_limited, server_error
from sandbox.ids import random_text
from sandbox.operations import Call, Contents, Operation, Router
from sandbox.resources.accounts import no_access
from sandbox.stored import SavedAnswer
from sandbox.validation import Validator
from sandbox.work import Origin, Work

if TYPE_CHECKING:
    from sandbox.engine import Engine

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log: Final = logging.getLogger("sandbox")

_KEY: Final = re.compile(r"(sk|rk)_test_\w{1,250}$")
_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}(\.\w+)?$")
_KEY_LENGTH: Final = 255
_KEPT_S: Final = 86_400
_BODY: Final = 1_048_576
_UPLOAD: Final = 17 * _BODY
_JSON: Final = "application/json"
_DOCS: Final = "See https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/."


@dataclass(slots=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    id: str = field(default_factory=lambda: f"req_{random_text(14)}")
    account: str | None = None

    def header(self, name: bytes) -> str | None:
        """A header by its name in small letters."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()


@dataclass(slots=True)
class Answer:
    """One answer, and what becomes of its connection."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)
    resets: bool = False
    media_type: str = _JSON


class ApiApp:
    """The ASGI application under /v1."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._router = Router(OPERATIONS)
        self._validator = Validator()
        self._in_flight: set[tuple[str, str]] = set()
        self.recent: deque[Json] = deque(maxlen=20_000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope["method"], scope["path"], scope["query_string"], dict(scope["headers"]), b"")
        try:
            request.body = await _read(receive, _UPLOAD if _is_upload(request) else _BODY)
            answer = await self._answer(request)
        except ApiError as error:
            answer = _error_answer(error, request)
        except Exception as error:  # noqa: BLE001 -- whatever goes wrong in here, the client gets Stripe's JSON
            answer = _error_answer(_own_mistake(error, request), request)
        self._note(request, answer)
        if answer.resets:
            reset(scope)
            # Gone once this comes: the server would otherwise complain of an answer that never began.
            await receive()
            return
        headers = [
            ("Content-Type", answer.media_type), ("Request-Id", request.id), ("Content-Length", str(len(answer.body))),
            ("Stripe-Version", request.header(b"stripe-version") or API_VERSION), *answer.headers,
        ]  # fmt: skip
        for name in ("Idempotency-Key", "Stripe-Account"):
            value = request.header(name.lower().encode())
            if value is not None:
                headers.append((name, value))
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    def _note(self, request: Request, answer: Answer) -> None:
        if request.method == "GET":
            return
        self.recent.append(
            {
                "id": request.id, "created": time.time(), "method": request.method, "path": request.path,
                "idempotency_key": request.header(b"idempotency-key"), "account": request.header(b"stripe-account"),
                "status": None if answer.resets else answer.status,
                "replayed": ("Idempotent-Replayed", "true") in answer.headers,
                "body": "" if _is_upload(request) else request.body.decode("utf-8", "replace"),
            }
        )  # fmt: skip

    async def _answer(self, request: Request) -> Answer:
        platform = self._engine.platform_of(_secret_key(request))
        # Without one it is the account's, which may be any: what older versions took is taken then, too.
        version = request.header(b"stripe-version") or ""
        if version and not _VERSION.match(version):
            raise ApiError(f"Invalid Stripe API version: {version}", is_saved=False)
        account = self._account(request, platform)
        found = self._router.find(request.method, request.path)
        if found is None:
            raise ApiError(
                f"Unrecognized request URL ({request.method}: {request.path}). Please see https://stripe.com/docs or "
                "we can help at https://support.stripe.com/.", status=404, is_saved=False,
            )  # fmt: skip
        operation, path = found
        if _is_upload(request):
            params = multipart.decode(request.body, request.header(b"content-type") or "")
        else:
            params = forms.decode(request.body)
        if request.query:
            params = {**forms.decode(request.query), **params}
        key = request.header(b"idempotency-key") if request.method == "POST" else None
        fate = self._engine.faults.draw()
        if key is None:
            return await self._execute(request, operation, path, params, platform, account, version, fate, None)
        if not 0 < len(key) <= _KEY_LENGTH:
            raise ApiError(f"Idempotency keys can have up to {_KEY_LENGTH} characters.", is_saved=False)
        flight = (account, key)
        if flight in self._in_flight:
            raise ApiError(
                "There is currently another in-progress request using this Stripe Account and idempotency key "
                f"({key[:8]}…). Try again when it is done.", status=409, type_="idempotency_error",
                code="idempotency_key_in_use", is_saved=False,
            )  # fmt: skip
        self._in_flight.add(flight)
        try:
            return await self._execute(request, operation, path, params, platform, account, version, fate, key)
        finally:
            self._in_flight.discard(flight)

    def _account(self, request: Request, platform: str) -> str:
        named = request.header(b"stripe-account")
        if not named or named == platform:
            return platform
        row = self._engine.store.row(named)
        if row is None or row.account != platform or not row.listed or row.body.get("_deauthorized"):
            raise no_access(named)
        request.account = named
        return named

    async def _execute(
        self, request: Request, operation: Operation, path: dict[str, str], params: Json, platform: str, account: str,
        version: str, fate: Fate, key: str | None,
    ) -> Answer:  # fmt: skip
        if fate.latency_s:
            await asyncio.sleep(fate.latency_s)
        if fate.reset_before:
            return Answer(0, b"", resets=True)
        if fate.limited:
            raise rate_limited()
        fingerprint = ""
        if key is not None:
            encoded = orjson.dumps(params, default=_digest, option=orjson.OPT_SORT_KEYS)
            fingerprint = f"{request.path} {sha256(encoded).hexdigest()}"
            saved = self._engine.store.answer(account, key)
            if saved is not None and saved.created > time.time() - _KEPT_S:
                answer = _replay(saved, fingerprint, key)
                return Answer(0, b"", resets=True) if fate.reset_after else answer
        status, body, is_saved, media_type = 200, b"", True, _JSON
        work = self._engine.work(platform, account, Origin(request.id, key), _base_url(request))
        error = server_error() if fate.error else None
        try:
            if error is None:
                media_type, body = self._perform(work, operation, path, params, version)
                error = _after_effect() if fate.error_after else None
        except ApiError as refusal:
            error = refusal
        except Exception as mistake:  # noqa: BLE001 -- nothing of it is kept, and the key remembers the answer
            error = _own_mistake(mistake, request)
        answer_headers = []
        if error is not None:
            if not error.keeps_changes:
                work = self._engine.work(platform, account)
            status, is_saved, media_type = error.status, error.is_saved, _JSON
            answer_headers = list(error.headers)
            body = orjson.dumps(error.body(request.id))
        if key is not None and is_saved:
            self._engine.store.save_answer(
                account, key, SavedAnswer(fingerprint, status, body, request.id, int(time.time()))
            )
        await self._engine.finish(work)
        if fate.reset_after:
            return Answer(0, b"", resets=True)
        return Answer(status, body, answer_headers, media_type=media_type)

    def _perform(
        self, work: Work, operation: Operation, path: dict[str, str], params: Json, version: str
    ) -> tuple[str, bytes]:
        typed = self._validator.check(operation.params, params, version)
        made = operation.handler(Call(work, typed, path, version))
        if isinstance(made, Contents):
            return made.media_type, made.body
        result = shown(work, made)
        return _JSON, orjson.dumps(expand(work, result, typed["expand"]) if typed.get("expand") else result)


def _own_mistake(error: Exception, request: Request) -> ApiError:
    """What Stripe answers where the mistake is its own; here the log says which it was."""
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return server_error()


def _after_effect() -> ApiError:
    error = server_error()
    error.keeps_changes = True
    return error


def _replay(saved: SavedAnswer, fingerprint: str, key: str) -> Answer:
    if saved.request != fingerprint:
        before, now = saved.request.split()[0], fingerprint.split(maxsplit=1)[0]
        same = "for the same endpoint" if before != now else "with the same parameters"
        detail = f" ('{before}' vs '{now}')" if before != now else ""
        raise ApiError(
            f"Keys for idempotent requests can only be used {same} they were first used "
            f"{'for' if before != now else 'with'}{detail}. Try using a key other than '{key}' if you meant to "
            "execute a different request.", type_="idempotency_error", is_saved=False,
        )  # fmt: skip
    return Answer(
        saved.status, saved.body, [("Idempotent-Replayed", "true"), ("Original-Request", saved.request_id)]
    )


def _error_answer(error: ApiError, request: Request) -> Answer:
    return Answer(error.status, orjson.dumps(error.body(request.id)), list(error.headers))


def _base_url(request: Request) -> str:
    return f"http://{request.header(b'host') or '127.0.0.1'}"


def _secret_key(request: Request) -> str:
    scheme, _, value = (request.header(b"authorization") or "").partition(" ")
    key = value.strip()
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key).decode("latin-1").partition(":")[0]
        except (binascii.Error, ValueError):
            key = ""
    if not key:
        raise _unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            f"Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). {_DOCS}"
        )
    if key.startswith("pk_"):
        raise _unauthorized(
            "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a "
            "list of your API keys at https://dashboard.stripe.com/account/apikeys.", code="secret_key_required",
        )  # fmt: skip
    if not _KEY.match(key):
        raise _unauthorized(f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:]}")
    return key


def _unauthorized(message: str, code: str | None = None) -> ApiError:
    return ApiError(
        message, status=401, code=code, is_saved=False, headers=(("WWW-Authenticate", 'Bearer realm="Stripe"'),)
    )


def _is_upload(request: Request) -> bool:
    return (request.header(b"content-type") or "").startswith(multipart.MEDIA_TYPE)


def _digest(contents: Any) -> str:
    """What stands for a file where requests are compared."""
    return sha256(contents).hexdigest()


async def _read(receive: Receive, most: int) -> bytes:
    message = await receive()
    parts: list[bytes] = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise ApiError("The request body is too large.", status=413, is_saved=False)
    return b"".join(parts)


def reset(scope: Scope) -> None:
    """Break the connection off, so that the client sees a reset and not an end."""
    transport = scope["sandbox.transport"]
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
