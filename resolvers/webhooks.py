"""Where Stripe sends its events: verified, stored and answered, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from services.batching import OutcomeUnknownError
from services.database import DATABASE_ERRORS
from services.stripe_gateway import InvalidSignatureError
from services.webhooks.inbox import EventSource, MalformedEventError, receive

if TYPE_CHECKING:
    from starlette.requests import Request

    from services.core import Services

log = structlog.get_logger("webhooks")


def webhook_routes(services: Services) -> list[Route]:
    """POST /webhooks/stripe for the platform's own events, and POST /webhooks/stripe/connect for its hosts'."""

    async def platform(request: Request) -> Response:
        return await _answer(services, EventSource.PLATFORM, request)

    async def connect(request: Request) -> Response:
        return await _answer(services, EventSource.CONNECT, request)

    return [
        Route("/webhooks/stripe", platform, methods=["POST"]),
        Route("/webhooks/stripe/connect", connect, methods=["POST"]),
    ]


async def _answer(services: Services, source: EventSource, request: Request) -> Response:
    """200 once the event is stored; 400 for what Stripe did not send; 503 where Stripe should send it again."""
    try:
        payload = await _body(request, services.settings.body_limit)
    except ClientDisconnect:
        return _json(400, {"error": "The body did not arrive."})
    if payload is None:
        return _json(413, {"error": "The body is too large."})
    try:
        await receive(services, source=source, payload=payload, signature=request.headers.get("stripe-signature", ""))
    except InvalidSignatureError:
        return _json(400, {"error": "The signature is missing, wrong or too old."})
    except MalformedEventError as error:
        return _json(400, {"error": str(error)})
    except (OutcomeUnknownError, *DATABASE_ERRORS) as error:
        log.warning("webhooks.not_stored", source=source.value, error=type(error).__name__)
        return _json(503, {"error": "The event could not be stored."}, {"Retry-After": "5"})
    return _json(200, {"received": True})


async def _body(request: Request, limit: int) -> bytes | None:
    """The body; None where it is longer than the limit."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            return None
    return bytes(body)


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")
