from __future__ import annotations

from uuid import uuid4

import aiohttp
import pytest


async def outcomes(stripe_api, count):
    """How requests fare: the status, or that the connection broke."""
    found = []
    for _ in range(count):
        try:
            status, _, _ = await stripe_api.raw("GET", "/v1/balance")
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            status = 0
        found.append(status)
    return found


async def test_the_same_seed_gives_the_same_faults(stripe_api):
    faults = {"seed": 7, "rate_429": 0.2, "rate_500": 0.2, "reset_before": 0.1, "reset_after": 0.1}
    await stripe_api.control("POST", "faults", **faults)
    first = await outcomes(stripe_api, 60)
    await stripe_api.control("POST", "faults", **faults)
    assert await outcomes(stripe_api, 60) == first
    assert {0, 200, 429, 500} <= set(first)
    await stripe_api.control("DELETE", "faults")
    assert await stripe_api.control("GET", "faults") == {}
    assert set(await outcomes(stripe_api, 20)) == {200}


async def test_a_reset_after_the_effect_is_healed_by_the_same_key(stripe_api):
    key, name = str(uuid4()), f"name-{uuid4()}"
    await stripe_api.control("POST", "faults", reset_after=1)
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await stripe_api.raw("POST", "/v1/customers", f"name={name}", Idempotency_Key=key)
    await stripe_api.control("DELETE", "faults")

    status, body, headers = await stripe_api.raw("POST", "/v1/customers", f"name={name}", Idempotency_Key=key)

    assert (status, headers["Idempotent-Replayed"]) == (200, "true")
    named = [c.id for c in (await stripe_api.v1.customers.list_async({"limit": 100})).data if c.name == name]
    assert named == [body["id"]]


async def test_a_reset_before_the_effect_leaves_nothing(stripe_api):
    name = f"name-{uuid4()}"
    await stripe_api.control("POST", "faults", reset_before=1)
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await stripe_api.raw("POST", "/v1/customers", f"name={name}", Idempotency_Key=name)
    await stripe_api.control("DELETE", "faults")
    assert name not in [c.name for c in (await stripe_api.v1.customers.list_async({"limit": 100})).data]


async def test_a_500_is_replayed_under_its_key_whether_it_took_effect_or_not(stripe_api):
    await stripe_api.control("POST", "faults", seed=3, rate_500=1)
    keys = [str(uuid4()) for _ in range(12)]
    for key in keys:
        status, _, _ = await stripe_api.raw("POST", "/v1/customers", f"name={key}", Idempotency_Key=key)
        assert status == 500
    await stripe_api.control("DELETE", "faults")

    for key in keys:
        status, _, headers = await stripe_api.raw("POST", "/v1/customers", f"name={key}", Idempotency_Key=key)
        assert (status, headers["Idempotent-Replayed"]) == (500, "true")
    made = {c.name for c in (await stripe_api.v1.customers.list_async({"limit": 100})).data} & set(keys)
    assert 0 < len(made) < len(keys)


async def test_a_429_does_not_use_a_key_up(stripe_api):
    key = str(uuid4())
    await stripe_api.control("POST", "faults", rate_429=1)
    status, body, _ = await stripe_api.raw("POST", "/v1/customers", "", Idempotency_Key=key)
    assert (status, body["error"]["code"]) == (429, "rate_limit")
    await stripe_api.control("DELETE", "faults")
    status, _, _ = await stripe_api.raw("POST", "/v1/customers", "", Idempotency_Key=key)
    assert status == 200


@pytest.mark.parametrize(
    "faults",
    [{"rate_429": 2}, {"colour": 1}, {"latency_ms": 5}, {"webhooks": {"drop": -1}}, {"webhooks": {"delay_ms": 1}}],
)
async def test_faults_that_are_none_are_refused_and_change_nothing(stripe_api, faults):
    status, _ = await stripe_api.refused_control("POST", "faults", **faults)
    assert status == 400
    assert await stripe_api.control("GET", "faults") == {}


async def test_recent_writes_can_be_looked_at(stripe_api):
    key = str(uuid4())
    await stripe_api.raw("POST", "/v1/customers", "name=x", Idempotency_Key=key)
    seen = (await stripe_api.control("GET", "requests"))["requests"][-1]
    assert (seen["method"], seen["path"], seen["idempotency_key"], seen["status"], seen["body"]) == (
        "POST", "/v1/customers", key, 200, "name=x",
    )  # fmt: skip
