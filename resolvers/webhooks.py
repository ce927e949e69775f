"""Where Stripe sends its events: verified, stored and answered, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route

from services.batching import OutcomeUnknownError
from services.database import DATABASE_ERRORS
from services.stripe_gateway import InvalidSignatureError
from services.webhooks.inbox import EventSource, MalformedEventError, receive

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

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
        return JSONResponse({"error": "The body did not arrive."}, 400)
    if payload is None:
        return JSONResponse({"error": "The body is too large."}, 413)
    try:
        await receive(services, source=source, payload=payload, signature=request.headers.get("stripe-signature", ""))
    except InvalidSignatureError:
        return JSONResponse({"error": "The signature is missing, wrong or too old."}, 400)
    except MalformedEventError as error:
        return JSONResponse({"error": str(error)}, 400)
    except (OutcomeUnknownError, *DATABASE_ERRORS) as error:
        log.warning("webhooks.not_stored", source=source.value, error=type(error).__name__)
        return JSONResponse({"error": "The event could not be stored."}, 503, {"Retry-After": "5"})
    return JSONResponse({"received": True})


async def _body(request: Request, limit: int) -> bytes | None:
    """The body; None where it is longer than the limit."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            return None
    return bytes(body)
