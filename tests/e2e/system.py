"""A running Paydesk: API processes over the session's PostgreSQL and Valkey, and a sandbox of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx

from services.authentication import mint_token
from tests.support.postgres import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ROOT = Path(__file__).parents[2]
JWT_SECRET = "a-signing-key-for-nothing-but-tests"
STRIPE_KEY = "sk_test_paydesk_end_to_end"
START_S = 30


class Process:
    """A child that says `ready …` on standard output."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    async def start(cls, *command: str, **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            while line := await process.stdout.readline():
                if line.startswith(b"ready "):
                    return cls(process, line.decode().split()[1])
        await process.wait()
        raise AssertionError(f"{' '.join(command)} ended with {process.returncode} before it was ready")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            await self.process.stdout.read()
            return await self.process.wait()


class AnswerError(AssertionError):
    """GraphQL errors where data was expected."""


@dataclass
class System:
    """Where everything is; each API process is a `Process`."""

    database_url: str
    redis_url: str
    sandbox: str
    http: httpx.AsyncClient
    folder: Path
    port: int = field(default_factory=free_port)
    secrets: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    async def start(
        self, *, crashing: bool = False, moving: bool = False, port: int | None = None, **settings: str
    ) -> Process:
        """Start an API process, with its worker.

        Args:
            crashing: it dies where `crash_file` says.
            moving: its time is what `clock_file` says.
        """
        command = ["server.py"]
        if crashing or moving:
            command = ["-m", "tests.e2e.crashing_server" if crashing else "tests.e2e.moving_server"]
        environment = {
            "DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "STRIPE_SECRET_KEY": STRIPE_KEY,
            "STRIPE_API_BASE": self.sandbox, "STRIPE_WEBHOOK_SECRET": self.secrets["platform"],
            "STRIPE_CONNECT_WEBHOOK_SECRET": self.secrets["connect"], "PAYDESK_JWT_SECRET": JWT_SECRET,
            "PAYDESK_LEASE_S": "2", "PAYDESK_RECOVER_EVERY_S": "0.3", "PAYDESK_STRIPE_RATE": "1000",
            "PAYDESK_EXPIRE_EVERY_S": "0.5", "CRASH_FILE": str(self.crash_file), "PAYDESK_LOG_LEVEL": "WARNING",
            "PAYDESK_DUNNING_EVERY_S": "0.3", "CLOCK_FILE": str(self.clock_file),
            **settings,
        }  # fmt: skip
        process = await Process.start(
            *command, "--port", str(port or self.port), "--data-dir", str(self.folder / "data"), **environment
        )
        self.processes.append(process)
        return process

    @property
    def crash_file(self) -> Path:
        """What a crashing server looks into: the boundary and the path of the call that it dies at."""
        return self.folder / "crash"

    @property
    def clock_file(self) -> Path:
        """What a moving server looks into: how many seconds later it is than it is."""
        return self.folder / "clock"

    def set_clock(self, seconds: float) -> None:
        """Let moving servers be that much later."""
        written = self.clock_file.with_suffix(".new")
        written.write_text(str(seconds))
        written.rename(self.clock_file)

    async def register_webhooks(self) -> None:
        """Have the sandbox send its events to the API's port."""
        for name, connect, path in (("platform", "false", ""), ("connect", "true", "/connect")):
            made = await self.stripe(
                "POST", "/v1/webhook_endpoints",
                {
                    "url": f"http://127.0.0.1:{self.port}/webhooks/stripe{path}", "enabled_events[0]": "*",
                    "connect": connect,
                },
            )  # fmt: skip
            self.secrets[name] = made["secret"]

    async def stripe(self, method: str, path: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        """What the sandbox answers to a call of Stripe's API."""
        response = await self.http.request(
            method, self.sandbox + path, data=form if method == "POST" else None,
            params=form if method == "GET" else None, headers={"Authorization": f"Bearer {STRIPE_KEY}"},
        )  # fmt: skip
        assert response.status_code < 400, response.text
        return dict(response.json())

    async def person(self, path: str, body: dict[str, Any] | None = None) -> None:
        """What a person does on one of Stripe's pages, or the weather that the sandbox is told to make."""
        response = await self.http.post(f"{self.sandbox}/_sandbox/{path}", json=body or {})
        assert response.status_code < 400, response.text

    async def ask(self, who: str, document: str, *, port: int | None = None, **variables: Any) -> dict[str, Any]:
        """The data that an operation answers, for "guest", "host", … or "service" and "admin"."""
        response = await self.http.post(
            f"http://127.0.0.1:{port or self.port}/graphql",
            json={"query": document, "variables": variables},
            headers={"Authorization": f"Bearer {token(who)}"},
        )
        answer = response.json()
        if answer.get("errors"):
            raise AnswerError(answer["errors"])
        return dict(answer["data"])

    async def host(self, name: str = "host") -> None:
        """A host who can be paid."""
        await self.user(name)
        made = await self.ask(
            name,
            """mutation ($key: String!) { createConnectAccount(input: {type: EXPRESS, idempotencyKey: $key}) {
                account { stripeAccountId } errors { message } } }""",
            key=str(uuid4()),
        )
        account = made["createConnectAccount"]["account"]["stripeAccountId"]
        await self.person(f"accounts/{account}/onboard")

        async def ready() -> bool:
            viewer = (await self.ask(name, "{ viewer { connectAccount { chargesEnabled } } }"))["viewer"]
            return bool(viewer["connectAccount"]["chargesEnabled"])

        await eventually(ready)

    async def user(self, name: str) -> None:
        made = await self.ask(
            "service",
            "mutation ($input: UpsertUserInput!) { upsertUser(input: $input) { errors { message } } }",
            input={"externalId": name, "email": f"{name}@example.com", "name": name, "country": "US"},
        )
        assert made["upsertUser"]["errors"] == []

    async def activity(self, *, capacity: int | None = 10, price: str = "45.00", host: str = "host") -> str:
        made = await self.ask(
            "service",
            """mutation ($input: UpsertActivityInput!) { upsertActivity(input: $input) {
                activity { id } errors { message path } } }""",
            input={
                "externalId": str(uuid4()), "title": "Kayak", "hostExternalId": host, "capacity": capacity,
                "price": {"amount": price, "currency": "USD"}, "startsAt": "2031-06-01T18:00:00Z",
            },
        )  # fmt: skip
        assert made["upsertActivity"]["errors"] == []
        return str(made["upsertActivity"]["activity"]["id"])


def token(who: str) -> str:
    """A token of a person, or of the platform's backend or an admin."""
    role = who if who in {"service", "admin"} else "user"
    return mint_token(JWT_SECRET, sub=who, role=role, ttl_s=3600, now=int(time.time()))


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_s: float = 20) -> None:
    """Wait until it holds: what is told by webhooks and jobs has no other end to wait for."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - another process moves
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_system(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[System]:
    """A sandbox, and a `System` that has no API process yet."""
    sandbox = await Process.start("-m", "sandbox", "--port", "0", "--data-dir", str(folder / "sandbox"))
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=300)) as http:
        system = System(database_url, redis_url, sandbox.url.rstrip("/"), http, folder)
        try:
            await system.register_webhooks()
            yield system
        finally:
            for process in [*system.processes, sandbox]:
                await process.stop(signal.SIGKILL)
