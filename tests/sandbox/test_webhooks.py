from __future__ import annotations

import stripe


async def endpoint(stripe_api, listener, *, connect=False, events=("*",)):
    return await stripe_api.v1.webhook_endpoints.create_async(
        {"url": listener.url, "enabled_events": list(events), "connect": connect}
    )


async def test_events_arrive_signed_and_are_found_in_the_list(stripe_api, listener):
    registered = await endpoint(stripe_api, listener)
    intent = await stripe_api.pay(key=f"key-{listener.url}")
    await listener.wait_for(2, about=intent.id)

    for body, signature, raw in listener.received:
        event = stripe.Webhook.construct_event(raw, signature, registered.secret)
        assert event.id == body["id"]
        assert (await stripe_api.v1.events.retrieve_async(body["id"])).type == body["type"]
    created = (await listener.wait_for(2, about=intent.id))[0]
    assert created["request"]["idempotency_key"] == f"key-{listener.url}"
    assert created["api_version"] == "2026-10-28.endive"
    assert created["pending_webhooks"] >= 1
    assert "secret" not in await stripe_api.v1.webhook_endpoints.retrieve_async(registered.id)


async def test_platform_and_connect_endpoints_get_their_own_events(stripe_api, listener):
    host = await stripe_api.host()
    await endpoint(stripe_api, listener, connect=True)
    intent = await stripe_api.pay(transfer_data={"destination": host})
    transfer = (await stripe_api.v1.transfers.list_async({"destination": host})).data[0]

    got = await listener.wait_for(1, about=transfer.destination_payment)

    assert (got[0]["type"], got[0]["account"]) == ("payment.created", host)
    await stripe_api.control("POST", "webhooks/flush")
    assert intent.id not in {event["data"]["object"].get("id") for event, _, _ in listener.received}


async def test_an_endpoint_that_fails_is_tried_again(stripe_api, listener):
    listener.statuses = [500, 503]
    await endpoint(stripe_api, listener, events=["customer.created"])
    customer = await stripe_api.customer()
    await stripe_api.control("POST", "webhooks/flush", timeout_s=0.3)
    for _ in range(2):
        await stripe_api.control("POST", "webhooks/flush", timeout_s=2)
    assert len(await listener.wait_for(1, about=customer)) == 1


async def test_delivery_can_be_held_back(stripe_api, listener):
    await endpoint(stripe_api, listener, events=["customer.created"])
    await stripe_api.control("POST", "webhooks/pause")
    customer = await stripe_api.customer()
    assert (await stripe_api.control("GET", "webhooks"))["pending"] >= 1
    assert listener.received == []
    await stripe_api.control("POST", "webhooks/resume")
    event = (await listener.wait_for(1, about=customer))[0]
    await stripe_api.control("POST", "webhooks/flush")
    assert (await stripe_api.v1.events.retrieve_async(event["id"])).pending_webhooks == 0


async def test_webhooks_are_doubled_dropped_and_sent_again_on_demand(stripe_api, listener):
    await endpoint(stripe_api, listener, events=["customer.created"])
    await stripe_api.control("POST", "faults", webhooks={"duplicate": 1, "shuffle": True, "delay_ms": [0, 50]})
    doubled = await stripe_api.customer()
    assert len(await listener.wait_for(2, about=doubled)) == 2

    await stripe_api.control("POST", "faults", webhooks={"drop": 1})
    dropped = await stripe_api.customer()
    await stripe_api.control("POST", "webhooks/flush")
    assert dropped not in {event["data"]["object"]["id"] for event, _, _ in listener.received}
    await stripe_api.control("DELETE", "faults")
    event = (await stripe_api.events_of(dropped))[0]
    await stripe_api.control("POST", "webhooks/resend", events=[event.id])
    assert (await listener.wait_for(1, about=dropped))[0]["id"] == event.id


async def test_events_are_listed_by_type_and_time(stripe_api):
    customer = await stripe_api.customer()
    await stripe_api.pay(customer=customer)
    listed = stripe_api.v1.events.list_async
    kinds = {event.type for event in (await listed({"types": ["customer.created", "charge.succeeded"]})).data}
    assert kinds == {"customer.created", "charge.succeeded"}
    assert {event.type.split(".")[0] for event in (await listed({"type": "payment_intent.*"})).data} == {
        "payment_intent"
    }
    assert (await listed({"created": {"gte": 10**10}})).data == []
    first = (await listed({"limit": 3})).data
    after = (await listed({"limit": 1, "starting_after": first[0].id})).data
    assert after[0].id == first[1].id
