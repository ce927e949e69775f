"""What load balancers and Prometheus ask: does the process live, can it take payments, what does it count."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.circuit_breaker import BreakerState
from services.database import DATABASE_ERRORS
from services.migrations import pending_migrations

if TYPE_CHECKING:
    from starlette.requests import Request

    from services.core import Services

CHECK_TIMEOUT_S = 2.0
_NOT_KEPT = {"Cache-Control": "no-store"}


def health_routes(services: Services) -> list[Route]:
    """GET /healthz, /readyz and /metrics."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_NOT_KEPT)

    async def readyz(_request: Request) -> Response:
        failed, degraded = await _state(services)
        status = "unavailable" if failed else "degraded" if degraded else "ok"
        body = {"status": status, "failed": failed, "degraded": degraded}
        return JSONResponse(body, 503 if failed else 200, _NOT_KEPT)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(services.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


async def _state(services: Services) -> tuple[list[str], list[str]]:
    """What keeps payments from being taken, and what is down without doing so."""
    failed, degraded = [], []
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            if await pending_migrations(services.database.pool):
                failed.append("migrations")
    except DATABASE_ERRORS:
        failed.append("database")
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await services.redis.ping()
    except (RedisError, OSError):
        # Payments go on without it: each process keeps to a part of Stripe's rate, and live updates poll.
        degraded.append("redis")
    if services.stripe.breaker.state is not BreakerState.CLOSED:
        degraded.append("stripe")
    return failed, degraded
