from __future__ import annotations

import pytest
import stripe

from tests.sandbox.paying_out import has
from tests.sandbox.shapes import missing


async def test_a_top_up_adds_to_the_platforms_balance(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["topup.succeeded"]})
    before = await has(stripe_api)
    topup = await stripe_api.v1.topups.create_async({"amount": 5_000, "currency": "usd", "transfer_group": "May"})
    assert missing(topup.to_dict()) == []
    assert (topup.status, topup.balance_transaction) == ("pending", None)
    assert await has(stripe_api) == before
    await listener.hear("topup.succeeded", id=topup.id)
    there = await stripe_api.v1.topups.retrieve_async(topup.id, {"expand": ["balance_transaction"]})
    assert (there.status, there.balance_transaction.type, there.balance_transaction.net) == (
        "succeeded",
        "topup",
        5_000,
    )
    assert (await has(stripe_api))[0] == before[0] + 5_000
    reversed_ = await stripe_api.control("POST", f"topups/{topup.id}/reverse")
    assert reversed_["status"] == "reversed"
    assert await has(stripe_api) == before


async def test_a_top_up_can_fail_and_be_called_off(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["topup.failed"]})
    before = await has(stripe_api)
    failing = await stripe_api.v1.topups.create_async(
        {"amount": 777, "currency": "usd", "source": "btok_us_verified_noAccount"}
    )
    await listener.hear("topup.failed", id=failing.id)
    assert (await stripe_api.v1.topups.retrieve_async(failing.id)).failure_code == "no_account"
    assert [one.id for one in (await stripe_api.v1.topups.list_async({"amount": 777})).data] == [failing.id]
    for params in ({"amount": 1, "currency": "usd", "source": "btok_none"}, {"amount": 0, "currency": "usd"}):
        with pytest.raises(stripe.InvalidRequestError):
            await stripe_api.v1.topups.create_async(params)
    host = await stripe_api.host()
    with pytest.raises(stripe.InvalidRequestError, match="platforms"):
        await stripe_api.v1.topups.create_async({"amount": 1, "currency": "usd"}, {"stripe_account": host})
    with pytest.raises(stripe.InvalidRequestError, match="not pending"):
        await stripe_api.v1.topups.cancel_async(failing.id)
    assert await has(stripe_api) == before
