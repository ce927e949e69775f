"""The way to Stripe: what is final, what is unknown, what never left; and that a key stays through all tries."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import pytest

from services.circuit_breaker import BreakerState, CircuitBreaker
from services.rate_limiter import Priority, RateLimiter
from services.stripe_gateway import (
    API_VERSION,
    GatewayConfig,
    InvalidSignatureError,
    StripeCardError,
    StripeGateway,
    StripeInvalidRequest,
    StripeNotSent,
    StripeUnknownOutcome,
)
from services.stripe_requests import StripeRequest
from tests.support.http_server import Answer, ScriptedServer, scripted_server
from tests.support.postgres import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WRITE = StripeRequest("post", "/v1/refunds", "amount=5&metadata[a]=%C3%A9", "op:step:1")
READ = StripeRequest("get", "/v1/refunds", "limit=100")


@pytest.fixture
async def stripe() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


def make(url: str, calls: list[tuple[str, str]] | None = None, **values: Any) -> StripeGateway:
    given: dict[str, Any] = {"timeout_s": 5.0, "deadline_s": 10.0, "connections": 50, **values}
    queue_s, rate = given.pop("queue_s", 5), given.pop("rate", 10_000)
    breaker = CircuitBreaker(failures=given.pop("failures", 100), open_s=given.pop("open_s", 60))
    return StripeGateway(
        GatewayConfig(secret_key="sk_test_x", api_base=url, **given),
        limiter=RateLimiter(None, key="x", rate=rate, queue_s=queue_s),
        breaker=breaker,
        on_call=lambda resource, outcome, _: calls.append((resource, outcome)) if calls is not None else None,
        random_=lambda: 0.01,
    )


@pytest.fixture
async def gateway(stripe: ScriptedServer) -> AsyncIterator[StripeGateway]:
    gateway = make(stripe.url)
    yield gateway
    await gateway.close()


async def test_a_write_leaves_as_it_is_stored(stripe: ScriptedServer, gateway: StripeGateway) -> None:
    stripe.will(Answer(200, {"id": "re_1"}, {"Idempotent-Replayed": "true"}))
    request = StripeRequest("post", "/v1/refunds", "amount=5&metadata[a]=%C3%A9", "op:step:1", "acct_1")
    answer = await gateway.send(request)
    assert answer.body == {"id": "re_1"}
    assert (answer.status, answer.request_id, answer.idempotent_replayed) == (200, "req_1", True)
    received = stripe.received[0]
    assert (received.method, received.path, received.body) == ("POST", "/v1/refunds", request.body)
    assert received.headers["authorization"] == "Bearer sk_test_x"
    assert received.headers["stripe-version"] == API_VERSION
    assert received.headers["idempotency-key"] == "op:step:1"
    assert received.headers["stripe-account"] == "acct_1"
    assert received.headers["content-type"] == "application/x-www-form-urlencoded"


async def test_a_read_has_its_parameters_in_the_query_and_no_key(
    stripe: ScriptedServer, gateway: StripeGateway
) -> None:
    await gateway.send(READ)
    received = stripe.received[0]
    assert (received.method, received.path, received.body) == ("GET", "/v1/refunds?limit=100", "")
    assert "idempotency-key" not in received.headers
    assert "stripe-account" not in received.headers


def same_each_time(stripe: ScriptedServer, times: int) -> bool:
    """Whether that many tries arrived, each with the same bytes under the same key."""
    keys = {(item.headers.get("idempotency-key"), item.path, item.body) for item in stripe.received}
    return len(stripe.received) == times and len(keys) == 1


PASSING = {
    "500": Answer(500, {"error": {"type": "api_error"}}),
    "502 from a proxy": Answer(502, b"<html>Bad gateway</html>"),
    "503": Answer(503, {}),
    "429": Answer(429, {"error": {"code": "rate_limit"}}, {"Retry-After": "0"}),
    "429 lock_timeout": Answer(429, {"error": {"code": "lock_timeout"}}, {"Stripe-Should-Retry": "true"}),
    "429 with a date": Answer(429, {"error": {}}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    "409 in use": Answer(409, {"error": {"code": "idempotency_key_in_use"}}),
    "reset after": Answer(cut="after"),
    "half an answer": Answer(200, {"id": "re_1", "much": "x" * 1000}, cut="halfway"),
    "no json": Answer(200, b"ok"),
    "a list": Answer(200, b"[]"),
    "a text": Answer(200, b'"yes"'),
}


@pytest.mark.parametrize("passing", sorted(PASSING))
async def test_what_passes_is_tried_again_under_the_same_key(
    stripe: ScriptedServer, gateway: StripeGateway, passing: str
) -> None:
    stripe.will(PASSING[passing], Answer(200, {"id": "re_1"}))
    assert (await gateway.send(WRITE)).body == {"id": "re_1"}
    assert same_each_time(stripe, 2)


@pytest.mark.parametrize("passing", sorted(PASSING))
async def test_what_does_not_pass_ends_as_unknown_or_not_sent(stripe: ScriptedServer, passing: str) -> None:
    gateway = make(stripe.url, tries=3)
    stripe.will(*[PASSING[passing]] * 3)
    with pytest.raises(StripeNotSent if passing.startswith("429") else StripeUnknownOutcome):
        await gateway.send(WRITE)
    assert same_each_time(stripe, 3)
    await gateway.close()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_stripe_can_say_not_to_try_again(stripe: ScriptedServer, gateway: StripeGateway, status: int) -> None:
    stripe.will(Answer(status, {"error": {}}, {"Stripe-Should-Retry": "false"}))
    with pytest.raises(StripeNotSent if status == 429 else StripeUnknownOutcome):
        await gateway.send(WRITE)
    assert same_each_time(stripe, 1)


async def test_a_status_tells_stripe_s_own_500_from_silence(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, tries=1)
    stripe.will(Answer(500, {"error": {}}), Answer(cut="after"))
    with pytest.raises(StripeUnknownOutcome) as answered:
        await gateway.send(WRITE)
    with pytest.raises(StripeUnknownOutcome) as silent:
        await gateway.send(WRITE)
    assert (answered.value.status, answered.value.request_id) == (500, "req_1")
    assert silent.value.status is None
    await gateway.close()


async def test_a_try_that_takes_too_long_is_unknown(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, timeout_s=0.1, tries=2)
    stripe.will(Answer(200, {"id": "late"}, delay_s=0.6), Answer(200, {"id": "re_1"}))
    assert (await gateway.send(WRITE)).body == {"id": "re_1"}
    assert same_each_time(stripe, 2)
    await gateway.close()


async def test_all_tries_together_end_with_the_deadline(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, timeout_s=0.2, deadline_s=0.3)
    stripe.will(*[Answer(delay_s=1)] * 4)
    started = time.monotonic()
    with pytest.raises(StripeUnknownOutcome):
        await gateway.send(WRITE)
    assert time.monotonic() - started < 1
    await gateway.close()


async def test_waiting_as_long_as_stripe_asks_or_not_at_all(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, deadline_s=5)
    stripe.will(Answer(429, {"error": {}}, {"Retry-After": "0.4"}), Answer(200, {}))
    started = time.monotonic()
    await gateway.send(WRITE)
    assert time.monotonic() - started >= 0.4
    stripe.will(Answer(429, {"error": {}}, {"Retry-After": "60"}))
    with pytest.raises(StripeNotSent) as refused:
        await gateway.send(WRITE)
    assert refused.value.retry_after_s == 60
    await gateway.close()


async def test_nobody_listening_means_that_nothing_was_sent() -> None:
    gateway = make(f"http://127.0.0.1:{free_port()}", tries=2)
    with pytest.raises(StripeNotSent):
        await gateway.send(WRITE)
    await gateway.close()


async def test_a_try_that_may_have_arrived_is_not_undone_by_one_that_did_not(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, tries=2)
    stripe.will(Answer(cut="after"), Answer(429, {"error": {}}, {"Retry-After": "0"}))
    with pytest.raises(StripeUnknownOutcome):
        await gateway.send(WRITE)
    await gateway.close()


async def test_a_decline_is_final_and_carries_its_codes_and_its_intent(
    stripe: ScriptedServer, gateway: StripeGateway
) -> None:
    intent = {"id": "pi_1", "status": "requires_payment_method"}
    error = {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "payment_intent": intent}
    stripe.will(Answer(402, {"error": error}))
    with pytest.raises(StripeCardError) as declined:
        await gateway.send(WRITE)
    assert (declined.value.status, declined.value.code, declined.value.decline_code) == (
        402, "card_declined", "do_not_honor",
    )  # fmt: skip
    assert declined.value.payment_intent == intent
    assert declined.value.request_id == "req_1"
    assert same_each_time(stripe, 1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"type": "invalid_request_error", "code": "parameter_unknown", "param": "x"}}),
        (403, {"error": {"message": "no"}}),
        (404, {"error": {"code": "resource_missing"}}),
        (409, {"error": {"code": "other"}}),
        (400, {"error": "invalid_grant", "error_description": "as OAuth says it"}),
        (400, {}),
    ],
)
async def test_a_refusal_is_final(
    stripe: ScriptedServer, gateway: StripeGateway, status: int, body: dict[str, Any]
) -> None:
    stripe.will(Answer(status, body))
    with pytest.raises(StripeInvalidRequest) as refused:
        await gateway.send(WRITE)
    assert refused.value.status == status
    assert same_each_time(stripe, 1)


async def test_a_key_that_stood_for_another_request_proves_nothing(
    stripe: ScriptedServer, gateway: StripeGateway
) -> None:
    stripe.will(Answer(400, {"error": {"type": "idempotency_error"}}))
    with pytest.raises(StripeUnknownOutcome) as unknown:
        await gateway.send(WRITE)
    assert unknown.value.status == 400
    assert same_each_time(stripe, 1)


async def test_a_rolled_secret_key_refuses_nothing_for_good(stripe: ScriptedServer, gateway: StripeGateway) -> None:
    stripe.will(Answer(401, {"error": {"type": "invalid_request_error"}}))
    with pytest.raises(StripeNotSent):
        await gateway.send(WRITE)
    assert same_each_time(stripe, 1)


async def test_failures_in_a_row_open_the_circuit_and_then_nothing_leaves(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, failures=3, tries=2)
    stripe.will(*[Answer(500, {"error": {}})] * 3)
    for _ in range(2):
        with pytest.raises(StripeUnknownOutcome):
            await gateway.send(WRITE)
    assert len(stripe.received) == 3
    assert gateway.breaker.state is BreakerState.OPEN
    started = time.monotonic()
    with pytest.raises(StripeNotSent):
        await gateway.send(WRITE)
    assert time.monotonic() - started < 0.2
    assert len(stripe.received) == 3
    await gateway.close()


async def test_refusals_and_declines_keep_the_circuit_closed(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, failures=2)
    for status in (400, 402, 404, 402):
        stripe.will(Answer(status, {"error": {}}))
        with pytest.raises((StripeCardError, StripeInvalidRequest)):
            await gateway.send(WRITE)
    assert gateway.breaker.state is BreakerState.CLOSED
    await gateway.close()


async def test_a_probe_after_a_while_closes_the_circuit(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, failures=1, open_s=0.05, tries=1)
    stripe.will(Answer(500, {"error": {}}))
    with pytest.raises(StripeUnknownOutcome):
        await gateway.send(WRITE)
    await until(lambda: gateway.breaker.state is BreakerState.HALF_OPEN)
    await gateway.send(WRITE)
    assert gateway.breaker.state is BreakerState.CLOSED
    await gateway.close()


async def test_a_caller_that_goes_away_while_probing_makes_room_for_the_next_probe(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, failures=1, open_s=0.05, tries=1)
    stripe.will(Answer(500, {"error": {}}), Answer(delay_s=5))
    with pytest.raises(StripeUnknownOutcome):
        await gateway.send(WRITE)
    await until(lambda: gateway.breaker.state is BreakerState.HALF_OPEN)
    probe = asyncio.create_task(gateway.send(WRITE))
    await until(lambda: len(stripe.received) == 2)
    with pytest.raises(StripeNotSent):
        await gateway.send(WRITE)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    await gateway.send(WRITE)
    assert gateway.breaker.state is BreakerState.CLOSED
    await gateway.close()


async def test_more_calls_than_the_rate_wait_once_and_are_then_told(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, rate=4, queue_s=0.2)
    started = time.monotonic()
    outcomes = await asyncio.gather(*(gateway.send(WRITE) for _ in range(5)), return_exceptions=True)
    assert time.monotonic() - started < 1
    refused = [outcome for outcome in outcomes if isinstance(outcome, StripeNotSent)]
    assert len(refused) >= 3
    assert len(stripe.received) == 5 - len(refused)
    await gateway.close()


async def test_each_try_is_told_with_its_resource_and_outcome(stripe: ScriptedServer) -> None:
    calls: list[tuple[str, str]] = []
    gateway = make(stripe.url, calls)
    stripe.will(Answer(500, {"error": {}}), Answer(402, {"error": {}}))
    with pytest.raises(StripeCardError):
        await gateway.send(WRITE)
    await gateway.send(READ)
    assert calls == [("refunds", "StripeUnknownOutcome"), ("refunds", "StripeCardError"), ("refunds", "ok")]
    await gateway.close()


async def test_a_list_is_read_to_its_end(stripe: ScriptedServer, gateway: StripeGateway) -> None:
    stripe.will(
        Answer(200, {"data": [{"id": "re_1"}, {"id": "re_2"}], "has_more": True}),
        Answer(200, {"data": [{"id": "re_3"}], "has_more": False}),
    )
    assert [item["id"] async for item in gateway.list_all(READ)] == ["re_1", "re_2", "re_3"]
    assert [item.path for item in stripe.received] == [
        "/v1/refunds?limit=100", "/v1/refunds?limit=100&starting_after=re_2",
    ]  # fmt: skip


async def test_a_list_that_breaks_off_proves_nothing(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, tries=1)
    stripe.will(Answer(200, {"data": [{"id": "re_1"}], "has_more": True}), Answer(500, {"error": {}}))
    with pytest.raises(StripeUnknownOutcome):
        assert [item async for item in gateway.list_all(READ)]
    await gateway.close()


async def test_many_calls_at_once_share_connections(stripe: ScriptedServer) -> None:
    gateway = make(stripe.url, connections=5)
    await asyncio.gather(*(gateway.send(WRITE, priority=Priority.BACKGROUND) for _ in range(60)))
    assert len(stripe.received) == 60
    assert stripe.connections <= 5
    await gateway.close()


BODY = b'{"id": "evt_1"}'


def signed(body: bytes, secret: str, at: float) -> str:
    digest = hmac.new(secret.encode(), f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={int(at)},v1={digest},v0=old"


async def test_a_webhook_is_believed_under_any_of_the_secrets(gateway: StripeGateway) -> None:
    header = signed(BODY, "whsec_new", time.time())
    gateway.verify_webhook(BODY, header, ["whsec_old", "whsec_new"], tolerance_s=300)


@pytest.mark.parametrize("header", ["", "nonsense", "t=,v1=", "t=abc,v1=00", "v1=00", "t=1,v1=00"])
async def test_a_webhook_that_was_not_signed_now_is_refused(gateway: StripeGateway, header: str) -> None:
    with pytest.raises(InvalidSignatureError):
        gateway.verify_webhook(BODY, header, ["whsec_new"], tolerance_s=300)


@pytest.mark.parametrize(
    ("body", "secret", "late_s"), [(BODY, "whsec_other", 0), (b"other", "whsec_new", 0), (BODY, "whsec_new", -400),
                                   (BODY, "whsec_new", 400)],
)  # fmt: skip
async def test_a_webhook_signed_otherwise_or_at_another_time_is_refused(
    gateway: StripeGateway, body: bytes, secret: str, late_s: int
) -> None:
    """Signed here, not when the tests are collected: those in between take time."""
    for header in (signed(body, secret, time.time() + late_s), f"t={int(time.time())},v1=\N{SNOWMAN}"):
        with pytest.raises(InvalidSignatureError):
            gateway.verify_webhook(BODY, header, ["whsec_new"], tolerance_s=300)


@pytest.mark.parametrize("secrets", [[], [""], [" "]])
async def test_without_a_secret_nothing_is_believed(gateway: StripeGateway, secrets: list[str]) -> None:
    for secret in ("", " "):
        with pytest.raises(InvalidSignatureError):
            gateway.verify_webhook(BODY, signed(BODY, secret, time.time()), secrets, tolerance_s=300)


async def test_a_body_that_is_no_text_is_refused(gateway: StripeGateway) -> None:
    body = b"\xff\xfe"
    with pytest.raises(InvalidSignatureError):
        gateway.verify_webhook(body, signed(body, "whsec_new", time.time()), ["whsec_new"], tolerance_s=300)
