"""What load balancers are told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
from redis.asyncio import Redis
from starlette.applications import Starlette

from resolvers.health import health_routes
from services.database import Database

if TYPE_CHECKING:
    from services.core import Services


async def asked(services: Services, path: str) -> tuple[int, Any]:
    transport = httpx.ASGITransport(Starlette(routes=health_routes(services)))
    async with httpx.AsyncClient(transport=transport, base_url="http://paydesk") as client:
        response = await client.get(path)
    assert response.headers["cache-control"] == "no-store"
    return response.status_code, response.json()


async def test_a_process_with_all_that_it_needs_is_ready(services: Services) -> None:
    assert await asked(services, "/healthz") == (200, {"status": "ok"})
    assert await asked(services, "/readyz") == (200, {"status": "ok", "failed": [], "degraded": []})


async def test_without_its_database_it_lives_but_takes_no_payments(services: Services) -> None:
    async with asyncpg.create_pool(services.database.url, min_size=1, max_size=1) as pool:
        closed = pool
    away = replace(services, database=Database(services.database.url, closed))
    assert await asked(away, "/healthz") == (200, {"status": "ok"})
    assert await asked(away, "/readyz") == (503, {"status": "unavailable", "failed": ["database"], "degraded": []})


async def test_without_redis_it_goes_on(services: Services) -> None:
    away = replace(services, redis=Redis(host="127.0.0.1", port=1))
    assert await asked(away, "/readyz") == (200, {"status": "degraded", "failed": [], "degraded": ["redis"]})
