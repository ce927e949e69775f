"""The one way to Stripe: a request goes out as it is stored, and comes back answered, refused, not sent or unknown.

    StripeError
    ├── StripeRefusedError      final: the same request is refused again
    │   ├── StripeCardError     the guest's bank said no
    │   └── StripeInvalidRequest
    ├── StripeNotSent           certainly without effect: overloaded, circuit open, no connection
    └── StripeUnknownOutcome    may have taken effect: the same key has to be sent again, or the lists be asked
"""

from __future__ import annotations

import asyncio
import io
import random
import time
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
import stripe
import structlog

from services.multipart import multipart
from services.pauses import backoff_s
from services.rate_limiter import Priority, RateExceededError
from services.stripe_requests import StripeRequest, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from services.circuit_breaker import CircuitBreaker
    from services.rate_limiter import RateLimiter

__all__ = [
    "API_VERSION", "GatewayConfig", "InvalidSignatureError", "Priority", "StripeCardError", "StripeError",
    "StripeGateway", "StripeInvalidRequest", "StripeNotSent", "StripeRefusedError", "StripeResponse",
    "StripeUnknownOutcome",
]  # fmt: skip

log = structlog.get_logger("stripe")

API_VERSION: Final = "2026-10-28.endive"
_TOO_MANY: Final = 429
_CONFLICT: Final = 409
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_SERVER_ERROR: Final = 500
_KEY_REFUSED_S: Final = 30.0
_BACKOFF_S: Final = 0.5
_BACKOFF_AT_MOST_S: Final = 4.0
_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class StripeResponse:
    """Stripe's answer of success."""

    status: int
    body: dict[str, Any]
    request_id: str | None
    idempotent_replayed: bool


class StripeError(Exception):
    """Stripe did not do what was asked.

    Attributes:
        request_id: Stripe's, for its logs.
        may_retry: whether to send the same again at once; not where Stripe says `Stripe-Should-Retry: false`.
    """

    def __init__(self, message: str, *, request_id: str | None = None, may_retry: bool = True) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.may_retry = may_retry


class StripeRefusedError(StripeError):
    """A final refusal; `code` and `param` as in "Error codes".

    Attributes:
        idempotent_replayed: whether Stripe says again what it said to an earlier try.
    """

    def __init__(
        self, status: int, error: dict[str, Any], *, request_id: str | None, idempotent_replayed: bool = False
    ) -> None:
        super().__init__(str(error.get("code") or error.get("type") or status), request_id=request_id)
        self.status = status
        self.idempotent_replayed = idempotent_replayed
        self.code: str | None = error.get("code")
        self.param: str | None = error.get("param")
        self.decline_code: str | None = error.get("decline_code")
        self.advice_code: str | None = error.get("advice_code")
        self.payment_intent: dict[str, Any] | None = error.get("payment_intent")

    @property
    def is_cut_off(self) -> bool:
        """Whether the platform has no access to the account that it asked on ("Error codes", account_invalid)."""
        return (self.status, self.code) == (_FORBIDDEN, "account_invalid")


class StripeCardError(StripeRefusedError):
    """402: the bank or Stripe's own rules declined it."""


class StripeInvalidRequest(StripeRefusedError):
    """Another 4xx."""


class StripeNotSent(StripeError):
    """Nothing happened at Stripe."""

    def __init__(
        self, message: str, *, retry_after_s: float, request_id: str | None = None, may_retry: bool = True
    ) -> None:
        super().__init__(message, request_id=request_id, may_retry=may_retry)
        self.retry_after_s = retry_after_s


class StripeUnknownOutcome(StripeError):
    """It may or may not have happened; `status` is Stripe's 5xx, or None where no answer came."""

    def __init__(
        self, message: str, *, status: int | None = None, request_id: str | None = None, may_retry: bool = True
    ) -> None:
        super().__init__(message, request_id=request_id, may_retry=may_retry)
        self.status = status


class InvalidSignatureError(Exception):
    """A webhook that Stripe did not sign, or not now."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where and as whom, and how long to wait."""

    secret_key: str
    api_base: str
    timeout_s: float
    deadline_s: float
    connections: int
    tries: int = _TRIES
    files_base: str | None = None
    """Where files are uploaded to, where that is another place."""


class StripeGateway:
    """Sends requests over the Stripe package's aiohttp client, pinned to one API version."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        limiter: RateLimiter,
        breaker: CircuitBreaker,
        on_call: Callable[[str, str, float], None] = lambda resource, outcome, seconds: None,
        random_: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            on_call: told of each try: resource ("payment_intents"), outcome, seconds.
        """
        self._config = config
        self._limiter = limiter
        self.breaker = breaker
        self._on_call = on_call
        self._random = random_
        self._least_priority = Priority.INTERACTIVE
        # A connector of our own replaces the package's, which caps at 100 connections; certificates stay checked.
        connector = aiohttp.TCPConnector(limit=config.connections, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=config.timeout_s)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        self._http = stripe.AIOHTTPClient(session=self._session, timeout=timeout)
        self._headers = {
            "Authorization": f"Bearer {config.secret_key}",
            "Stripe-Version": API_VERSION,
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": f"Paydesk stripe-python/{stripe.VERSION}",
        }

    def in_background(self) -> StripeGateway:
        """The same gateway for work that nobody waits for: each call lets guests go first, whatever it asks for."""
        other = copy(self)
        other._least_priority = Priority.BACKGROUND  # noqa: SLF001 - it is one of us
        return other

    async def send(self, request: StripeRequest, *, priority: Priority = Priority.INTERACTIVE) -> StripeResponse:
        """Send a request, again under the same key where that is safe, until it is answered or time is up.

        Raises: StripeCardError, StripeInvalidRequest (final); StripeNotSent; StripeUnknownOutcome.
        """
        deadline = time.monotonic() + self._config.deadline_s
        maybe_done = False
        for attempt in range(1, self._config.tries + 1):
            try:
                return await self._try(request, priority)
            except (StripeNotSent, StripeUnknownOutcome) as error:
                maybe_done = maybe_done or isinstance(error, StripeUnknownOutcome)
                delay = self._delay(attempt, error)
                last = attempt == self._config.tries or time.monotonic() + delay > deadline
                if last or not error.may_retry:
                    if maybe_done and isinstance(error, StripeNotSent):
                        # An earlier try may have arrived: this one's certainty does not undo that.
                        raise StripeUnknownOutcome("not answered", request_id=error.request_id) from error
                    raise
                await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    async def list_all(
        self, request: StripeRequest, *, priority: Priority = Priority.BACKGROUND
    ) -> AsyncIterator[dict[str, Any]]:
        """Every object of a list, page by page ("Pagination")."""
        after: str | None = None
        while True:
            query = request.body + (f"&{encode({'starting_after': after})}" if after else "")
            page = (
                await self.send(
                    StripeRequest(request.method, request.path, query, None, request.stripe_account), priority=priority
                )
            ).body
            for item in page["data"]:
                yield item
            if not page["has_more"] or not page["data"]:
                return
            after = page["data"][-1]["id"]

    def verify_webhook(self, payload: bytes, signature: str, secrets: Sequence[str], *, tolerance_s: int) -> None:
        """Check that Stripe signed this body just now, with any of the secrets ("Check the webhook signatures").

        Raises: InvalidSignatureError.
        """
        for secret in secrets if signature.isascii() else ():  # the package cannot compare other text
            try:
                stripe.WebhookSignature.verify_header(payload, signature, secret, tolerance_s)
                sent_at = int(next(part[2:] for part in signature.split(",") if part.startswith("t=")))
            except (stripe.SignatureVerificationError, ValueError, StopIteration):
                continue
            if sent_at <= time.time() + tolerance_s:
                return
        raise InvalidSignatureError

    async def close(self) -> None:
        """Close the connections."""
        await self._limiter.close()
        await self._session.close()

    async def _try(self, request: StripeRequest, priority: Priority) -> StripeResponse:
        if not self.breaker.allow():
            raise _held_back("the circuit to Stripe is open", max(1.0, self.breaker.retry_after_s))
        try:
            await self._limiter.acquire(max(priority, self._least_priority))
        except RateExceededError:
            self.breaker.abandoned()
            raise _held_back("too many calls to Stripe", 2.0) from None
        except BaseException:
            self.breaker.abandoned()
            raise
        resource = request.path.split("/")[2]
        started = time.monotonic()
        try:
            response = await self._exchange(request)
        except StripeError as error:
            self._on_call(resource, type(error).__name__, time.monotonic() - started)
            raise
        self._on_call(resource, "ok", time.monotonic() - started)
        return response

    async def _exchange(self, request: StripeRequest) -> StripeResponse:
        headers = dict(self._headers)
        if request.idempotency_key is not None:
            headers["Idempotency-Key"] = request.idempotency_key
        if request.stripe_account is not None:
            headers["Stripe-Account"] = request.stripe_account
        url = self._config.api_base + request.path
        body: str | io.BytesIO | None = request.body
        if request.upload is not None:
            url = (self._config.files_base or self._config.api_base) + request.path
            form, headers["Content-Type"] = multipart(request, request.upload)
            # In pieces, so that a large file does not hold up everything else.
            body = io.BytesIO(form)
        elif request.method in {"get", "delete"}:
            url, body = f"{url}?{request.body}" if request.body else url, None
        try:
            content, status, answer = await self._http.request_async(request.method, url, headers, body)
            parsed = _object(content)
        except stripe.APIConnectionError as error:
            self.breaker.failed()
            if isinstance(error.__cause__, aiohttp.ClientConnectorError):
                raise StripeNotSent("no connection to Stripe", retry_after_s=2.0) from error
            raise StripeUnknownOutcome("no answer from Stripe") from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.breaker.failed()
            raise StripeUnknownOutcome("half an answer from Stripe") from error
        except BaseException:
            self.breaker.abandoned()
            raise
        return self._answered(status, answer, parsed)

    def _answered(self, status: int, headers: Any, body: dict[str, Any]) -> StripeResponse:
        request_id = headers.get("Request-Id")
        may_retry = headers.get("Stripe-Should-Retry") != "false"
        replayed = headers.get("Idempotent-Replayed") == "true"
        if status >= _SERVER_ERROR:
            self.breaker.failed()
            raise StripeUnknownOutcome(
                f"Stripe answered {status}", status=status, request_id=request_id, may_retry=may_retry
            )
        self.breaker.succeeded()
        if status < 400:
            return StripeResponse(status, body, request_id, replayed)
        error = body.get("error")
        error = error if isinstance(error, dict) else {"code": error}
        code = error.get("code")
        log.info("stripe.refused", status=status, code=code, param=error.get("param"), request_id=request_id)
        if status == _TOO_MANY:
            raise StripeNotSent(
                "Stripe's rate limit", retry_after_s=_retry_after_s(headers), request_id=request_id, may_retry=may_retry
            )
        if status == _UNAUTHORIZED:
            # The key was rolled or revoked: what is under way waits for the right one.
            log.error("stripe.key_refused", request_id=request_id)
            raise _held_back("Stripe does not take our key", _KEY_REFUSED_S, request_id=request_id)
        if status == _CONFLICT and code == "idempotency_key_in_use":
            raise StripeUnknownOutcome("the same request is under way", request_id=request_id)
        if error.get("type") == "idempotency_error":
            # Something else was sent under this key before: what became of that, only the lists can tell.
            raise StripeUnknownOutcome(
                "the key was used for another request", status=status, request_id=request_id, may_retry=False
            )
        kind = StripeCardError if status == 402 else StripeInvalidRequest
        raise kind(status, error, request_id=request_id, idempotent_replayed=replayed)

    def _delay(self, attempt: int, error: StripeError) -> float:
        """Full jitter over an exponential backoff, but no less than Stripe asks for."""
        ceiling = backoff_s(attempt, first_s=_BACKOFF_S, at_most_s=_BACKOFF_AT_MOST_S)
        least = error.retry_after_s if isinstance(error, StripeNotSent) and error.request_id else 0.0
        return max(least, self._random() * ceiling)


def _object(content: bytes) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises: ValueError.
    """
    body = orjson.loads(content)
    if not isinstance(body, dict):
        raise ValueError("Stripe answers with objects")  # noqa: TRY004 (as for JSON that is none)
    return body


def _held_back(why: str, retry_after_s: float, *, request_id: str | None = None) -> StripeNotSent:
    """Nothing is sent, and trying again at once would not change that."""
    return StripeNotSent(why, retry_after_s=retry_after_s, request_id=request_id, may_retry=False)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds of the header; a second where it is missing, or a date, as proxies may write it."""
    try:
        return max(0.0, float(headers.get("Retry-After") or 1))
    except ValueError:
        return 1.0
