"""What is measured: PostgreSQL and Valkey as Paydesk ships them, Paydesk, the floor, and a stand-in for Stripe."""

from __future__ import annotations

import secrets
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.processes import ROOT, Child, child
from models.base import new_id
from schema.ids import global_id
from services.authentication import mint_token
from services.embedded import postgres, valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GUESTS, ACTIVITIES = 100, 20
WEBHOOK_SECRET = "whsec_benchmark"
JWT_SECRET = secrets.token_hex(32)

_GUESTS = """
INSERT INTO users (id, external_id, email, name, stripe_customer_id)
SELECT id, name, name || '@example.com', initcap(name), 'cus_' || name
FROM unnest($1::uuid[], $2::text[]) AS v(id, name)
"""
_HOST = "INSERT INTO users (id, external_id, email, name) VALUES ($1, 'host', 'host@example.com', 'Host')"
_ACCOUNT = """
INSERT INTO connect_accounts (id, user_id, stripe_account_id, type, country, default_currency, details_submitted,
                              stripe_charges_enabled, payouts_enabled, capabilities, requirements, version, position)
VALUES ($1, $2, 'acct_benchmark', 'EXPRESS', 'US', 'USD', true, true, true,
        '{"transfers": "active", "card_payments": "active"}', '[]', 1, 0)
"""
_ACTIVITIES = """
INSERT INTO activities (id, external_id, title, host_id, price_minor, currency, starts_at, payout_timing)
SELECT id, 'activity-' || id, 'Wine tasting', $2, 2000, 'USD', now() + interval '30 days', 'IMMEDIATE'
FROM unnest($1::uuid[]) AS id
"""


@dataclass
class Parts:
    """What all scenarios share."""

    folder: Path
    database_url: str
    redis_url: str
    postgres_pid: int

    async def database(self, name: str) -> str:
        """The URL of a new database."""
        connection = await asyncpg.connect(self.database_url)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return urlunsplit(urlsplit(self.database_url)._replace(path=f"/{name}"))


@dataclass
class Paydesk:
    """A running Paydesk with people in it."""

    server: Child
    stripe: Child
    database_url: str
    tokens: list[str] = field(default_factory=list)
    activities: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return self.server.url.removesuffix("/graphql")


@asynccontextmanager
async def parts(folder: Path) -> AsyncIterator[Parts]:
    """PostgreSQL and Valkey in a folder of their own."""
    async with postgres(folder / "postgres") as database_url, valkey(folder / "valkey") as redis_url:
        pid = int((folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        yield Parts(folder, database_url, redis_url, pid)


@asynccontextmanager
async def floor(parts_: Parts, *, latency_ms: float) -> AsyncIterator[Child]:
    """The floor, on a database of its own."""
    url = await parts_.database("floor")
    async with (
        child("-m", "benchmarks.stripe_stub", "--latency-ms", str(latency_ms)) as stripe,
        child("-m", "benchmarks.floor", "--database", url, "--stripe", stripe.url) as server,
    ):
        yield server


@asynccontextmanager
async def paydesk(
    parts_: Parts, name: str, *, latency_ms: float, worker: bool, events: bool = False, root: Path = ROOT
) -> AsyncIterator[Paydesk]:
    """Paydesk as it runs everywhere, on a database of its own.

    Args:
        worker: whether the server runs its background jobs.
        events: whether Stripe sends the events that follow each payment.
        root: the checkout that runs.
    """
    port = _free_port()
    follow = ("--webhook", f"http://127.0.0.1:{port}/webhooks/stripe", "--webhook-secret", WEBHOOK_SECRET)
    url = await parts_.database(name)
    async with (
        child("-m", "benchmarks.stripe_stub", "--latency-ms", str(latency_ms), *(follow if events else ())) as stripe,
        child(
            "server.py", "--port", str(port), "--data-dir", str(parts_.folder / name),
            DATABASE_URL=url, REDIS_URL=parts_.redis_url, STRIPE_SECRET_KEY="sk_test_benchmark",
            STRIPE_API_BASE=stripe.url, STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
            STRIPE_CONNECT_WEBHOOK_SECRET=WEBHOOK_SECRET, PAYDESK_JWT_SECRET=JWT_SECRET, PAYDESK_STRIPE_RATE="100000",
            PAYDESK_WORKER=str(int(worker)), PAYDESK_LOG_LEVEL="WARNING", root=root,
        ) as server,
    ):  # fmt: skip
        running = Paydesk(server, stripe, url)
        await _settle_in(running)
        yield running


def _free_port() -> int:
    """A port that Paydesk can listen on: Stripe's stand-in has to know it before Paydesk starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _settle_in(running: Paydesk) -> None:
    """Guests with a customer and a token each, and a host with activities."""
    guests = [f"guest{i}" for i in range(GUESTS)]
    host, activities = new_id(), [new_id() for _ in range(ACTIVITIES)]
    connection = await asyncpg.connect(running.database_url)
    await connection.execute(_GUESTS, [new_id() for _ in guests], guests)
    await connection.execute(_HOST, host)
    await connection.execute(_ACCOUNT, new_id(), host)
    await connection.execute(_ACTIVITIES, activities, host)
    await connection.close()
    running.tokens = [mint_token(JWT_SECRET, sub=guest, role="user", ttl_s=3600) for guest in [*guests, "host"]]
    running.activities = [global_id("Activity", id_) for id_ in activities]
