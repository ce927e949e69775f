"""The parts that webhooks need: a real database and inbox; Stripe answers as each test says."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
import stripe
import structlog
from pydantic import SecretStr

from services.batching import Batcher
from services.circuit_breaker import CircuitBreaker
from services.completion import Operations
from services.core import Services
from services.live import LiveUpdates
from services.metrics import Metrics
from services.rate_limiter import Priority, RateLimiter
from services.stripe_gateway import API_VERSION, GatewayConfig, StripeError, StripeGateway, StripeResponse
from services.webhooks.inbox import StoreEvents
from settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.database import Database
    from services.stripe_requests import StripeRequest

PLATFORM_SECRET = "whsec_platform"
CONNECT_SECRET = "whsec_connect"


class ScriptedStripe(StripeGateway):
    """Stripe, answering what a test put in: the real gateway but for the network."""

    def __init__(self) -> None:
        config = GatewayConfig("sk_test_x", "http://127.0.0.1:9", timeout_s=1, deadline_s=1, connections=1)
        limiter = RateLimiter(None, key="test", rate=1000, queue_s=1)
        super().__init__(config, limiter=limiter, breaker=CircuitBreaker(failures=5, open_s=1))
        self.answers: defaultdict[str, list[dict[str, Any] | StripeError]] = defaultdict(list)
        self.requests: list[StripeRequest] = []

    async def send(self, request: StripeRequest, *, priority: Priority = Priority.INTERACTIVE) -> StripeResponse:
        """The next answer for the path; the last one again and again."""
        self.requests.append(request)
        answers = self.answers[request.path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, StripeError):
            raise answer
        return StripeResponse(200, answer, "req_1", idempotent_replayed=False)


class Clock:
    """The time, which stands unless a test moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **length: float) -> None:
        self.now += timedelta(**length)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Log without rendering: a failure's traceback takes a second."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def services(database: Database, clock: Clock) -> AsyncIterator[Services]:
    settings = Settings(
        _env_file=None,
        stripe_webhook_secret=(SecretStr("whsec_old"), SecretStr(PLATFORM_SECRET)),
        stripe_connect_webhook_secret=(SecretStr(CONNECT_SECRET),),
        inbox_every_s=0.1, webhook_attempts=3,
    )  # fmt: skip
    gateway = ScriptedStripe()
    inbox = Batcher("inbox", database.connect, StoreEvents(), lanes=2, batch_max=64)
    live = LiveUpdates(database, None)
    unused = cast("Any", None)  # nothing here reserves or settles
    yield Services(
        settings=settings, database=database, redis=unused, stripe=gateway,
        operations=Operations([], lease_s=45, duplicate_wait_s=1), live=live, reservations=unused, settlements=unused,
        inbox=inbox, admin_reads=unused, metrics=Metrics(), clock=clock,
    )  # fmt: skip
    await inbox.close()
    await gateway.close()


@pytest.fixture
def scripted(services: Services) -> ScriptedStripe:
    """The services' Stripe, to be told its answers."""
    return cast("ScriptedStripe", services.stripe)




def make_event(id_: str = "evt_1", type_: str = "payment_intent.succeeded", **values: Any) -> dict[str, Any]:
    """An event as Stripe sends it; of a payment intent that is not ours, unless `object_` says otherwise."""
    thing = values.pop("object_", {"id": "pi_of_nobody", "object": "payment_intent", "metadata": {}})
    return {
        "id": id_, "object": "event", "api_version": API_VERSION, "created": int(time.time()), "livemode": False,
        "pending_webhooks": 1, "request": None, "type": type_, "data": {"object": thing}, **values,
    }  # fmt: skip


def signed(payload: bytes, secret: str = PLATFORM_SECRET, *, at: int | None = None) -> str:
    """Stripe's signature of a body."""
    header: str = stripe.WebhookSignature.generate_signature_header(payload.decode(), secret, at)
    return header


def body_of(event: dict[str, Any]) -> bytes:
    """An event as it goes over the wire."""
    return orjson.dumps(event)
