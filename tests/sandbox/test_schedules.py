"""Subscription schedules: a subscription that changes by itself, phase by phase."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.invoicing import DAY, HOUR, START, advance, payer
from tests.sandbox.subscribing import (
    FEBRUARY,
    HALF,
    MONTH,
    at,
    change,
    fetch,
    first,
    go_to,
    invoices,
    lines,
    pending,
    period,
    price,
    subscribe,
    told_of,
)


async def scheduled(driver: Any, customer: str, *phases: Any, start: Any = "now", **params: Any) -> Any:
    return await driver.v1.subscription_schedules.create_async(
        {"customer": customer, "start_date": start, "phases": list(phases), **params}
    )


async def schedule_of(driver: Any, schedule: Any) -> Any:
    return await driver.v1.subscription_schedules.retrieve_async(schedule.id)


async def told(driver: Any, schedule: Any) -> list[str]:
    events = await driver.events_of(schedule.id)
    return [event.type.removeprefix("subscription_schedule.") for event in events]


async def test_a_downgrade_at_the_periods_end_is_a_second_phase(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    sub = await subscribe(stripe_api, customer, platinum, metadata={"a": "b"})
    await go_to(stripe_api, customer, HALF)

    schedule = await stripe_api.v1.subscription_schedules.create_async({"from_subscription": sub.id})
    assert (schedule.status, schedule.subscription, schedule.end_behavior) == ("active", sub.id, "release")
    (phase,) = schedule.phases
    assert (phase.start_date, phase.end_date, phase["items"][0].price, phase["items"][0].quantity) == (
        START, START + MONTH, platinum, 1,
    )  # fmt: skip
    assert (await fetch(stripe_api, sub)).schedule == schedule.id
    with pytest.raises(stripe.InvalidRequestError, match="already attached to a schedule"):
        await stripe_api.v1.subscription_schedules.create_async({"from_subscription": sub.id})

    await stripe_api.v1.subscription_schedules.update_async(
        schedule.id,
        {"phases": [
            {"items": [{"price": platinum}], "start_date": START, "end_date": START + MONTH},
            {"items": [{"price": gold}], "duration": {"interval": "month"}, "metadata": {"down": "yes"}},
        ]},
    )  # fmt: skip
    now = await fetch(stripe_api, sub)
    assert (first(now).price.id, await pending(stripe_api, customer)) == (platinum, [])

    await go_to(stripe_api, customer, START + MONTH + HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.status, first(now).price.id, period(now)) == ("active", gold, (START + MONTH, START + MONTH + FEBRUARY))
    assert lines(now.latest_invoice) == [("1 × Gold (at $10.00 / month)", 1_000)]
    assert (now.latest_invoice.status, now.metadata.to_dict()) == ("paid", {"a": "b", "down": "yes"})
    assert (await schedule_of(stripe_api, schedule)).current_phase.start_date == START + MONTH

    await go_to(stripe_api, customer, START + MONTH + FEBRUARY + HOUR)
    done, now = await schedule_of(stripe_api, schedule), await fetch(stripe_api, sub)
    assert (done.status, done.released_subscription, done.subscription) == ("released", sub.id, None)
    assert (now.schedule, now.status, now.latest_invoice.total) == (None, "active", 1_000)
    assert await told(stripe_api, schedule) == ["created", "updated", "updated", "expiring", "released"]


async def test_a_schedule_starts_a_subscription_of_its_own_and_ends_it(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    schedule = await scheduled(
        stripe_api, customer, {"items": [{"price": gold}], "duration": {"interval": "month"}},
        {"items": [{"price": platinum, "quantity": 2}], "duration": {"interval": "month", "interval_count": 2}},
        end_behavior="cancel",
    )  # fmt: skip
    sub = await fetch(stripe_api, schedule.subscription)
    end = at("2027-04-15T08:00:00")
    assert (sub.status, sub.schedule, sub.cancel_at) == ("active", schedule.id, end)
    assert (sub.latest_invoice.status, sub.latest_invoice.billing_reason) == ("draft", "subscription_create")
    assert [phase.end_date for phase in schedule.phases] == [START + MONTH, end]
    await advance(stripe_api, customer, HOUR)
    assert (await fetch(stripe_api, sub)).latest_invoice.status == "paid"
    await go_to(stripe_api, customer, end)
    gone = await fetch(stripe_api, sub)
    assert (gone.status, gone.ended_at) == ("canceled", end)
    assert [one.total for one in await invoices(stripe_api, sub)] == [1_000, 4_000, 4_000]
    done = await schedule_of(stripe_api, schedule)
    assert (done.status, done.completed_at) == ("completed", end)
    assert (await told(stripe_api, schedule))[-1] == "completed"


async def test_a_schedule_may_begin_later(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    phase = {"items": [{"price": await price(stripe_api)}], "trial": True, "end_date": START + 20 * DAY}
    schedule = await scheduled(stripe_api, customer, phase, start=START + 10 * DAY)
    assert (schedule.status, schedule.subscription, schedule.current_phase) == ("not_started", None, None)
    listed = await stripe_api.v1.subscription_schedules.list_async({"customer": customer, "scheduled": True})
    assert [one.id for one in listed.data] == [schedule.id]
    await advance(stripe_api, customer, 10 * DAY)
    begun = await schedule_of(stripe_api, schedule)
    sub = await fetch(stripe_api, begun.subscription)
    assert (begun.status, sub.status, sub.created, sub.trial_end) == (
        "active", "trialing", START + 10 * DAY, START + 20 * DAY,
    )  # fmt: skip
    await go_to(stripe_api, customer, START + 20 * DAY + HOUR)
    sub = await fetch(stripe_api, sub)
    assert (sub.status, sub.latest_invoice.total, sub.schedule) == ("active", 1_000, None)


async def test_a_phase_may_begin_within_a_period_and_prorates(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    schedule = await scheduled(
        stripe_api, customer, {"items": [{"price": gold}], "end_date": HALF},
        {"items": [{"price": platinum}], "end_date": START + MONTH},
    )  # fmt: skip
    await go_to(stripe_api, customer, HALF)
    sub = await fetch(stripe_api, schedule.subscription)
    assert (first(sub).price.id, period(sub)) == (platinum, (START, START + MONTH))
    assert sorted(amount for _, amount in await pending(stripe_api, customer)) == [-500, 1_000]


async def test_changing_the_current_phase_changes_the_subscription_at_once(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    schedule = await scheduled(stripe_api, customer, {"items": [{"price": gold}], "duration": {"interval": "year"}})
    await go_to(stripe_api, customer, HALF)
    phases: Any = [{"items": [{"price": platinum}], "start_date": START, "duration": {"interval": "year"}}]
    await stripe_api.v1.subscription_schedules.update_async(schedule.id, {"phases": phases})
    assert first(await fetch(stripe_api, schedule.subscription)).price.id == platinum
    assert sorted(amount for _, amount in await pending(stripe_api, customer)) == [-500, 1_000]
    phases[0]["start_date"] = START + 1
    with pytest.raises(stripe.InvalidRequestError, match="start date of the current phase"):
        await stripe_api.v1.subscription_schedules.update_async(schedule.id, {"phases": phases})


async def test_a_subscription_with_a_schedule_is_canceled_through_it(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    schedule = await stripe_api.v1.subscription_schedules.create_async({"from_subscription": sub.id})
    for params in ({"cancel_at_period_end": True}, {"cancel_at": START + DAY}):
        with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
            await change(stripe_api, sub, **params)
    with pytest.raises(stripe.InvalidRequestError, match="attached subscription schedule"):
        await stripe_api.v1.subscriptions.pause_async(sub.id)
    assert (await fetch(stripe_api, sub)).cancel_at is None

    await go_to(stripe_api, customer, HALF)
    gone = await stripe_api.v1.subscription_schedules.cancel_async(schedule.id)
    assert (gone.status, gone.canceled_at) == ("canceled", HALF)
    now = await fetch(stripe_api, sub)
    assert (now.status, now.latest_invoice.total) == ("canceled", -500)
    for wish in ("cancel_async", "release_async"):
        with pytest.raises(stripe.InvalidRequestError, match="currently in the `canceled` status"):
            await getattr(stripe_api.v1.subscription_schedules, wish)(schedule.id)


async def test_released_a_subscription_goes_on_by_itself(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    schedule = await scheduled(
        stripe_api, customer, {"items": [{"price": gold}], "duration": {"interval": "month"}},
        {"items": [{"price": platinum}], "duration": {"interval": "month"}}, end_behavior="cancel",
    )  # fmt: skip
    await advance(stripe_api, customer, DAY)
    let_go = await stripe_api.v1.subscription_schedules.release_async(schedule.id)
    assert (let_go.status, let_go.released_at, let_go.released_subscription) == (
        "released", START + DAY, schedule.subscription,
    )  # fmt: skip
    sub = await fetch(stripe_api, schedule.subscription)
    assert (sub.schedule, sub.cancel_at) == (None, None)
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    now = await fetch(stripe_api, sub)
    assert (first(now).price.id, now.status, now.latest_invoice.total) == (gold, "active", 1_000)


async def test_canceling_the_subscription_cancels_its_schedule(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    schedule = await stripe_api.v1.subscription_schedules.create_async({"from_subscription": sub.id})
    await stripe_api.v1.subscriptions.cancel_async(sub.id)
    assert (await schedule_of(stripe_api, schedule)).status == "canceled"
    assert await told(stripe_api, schedule) == ["created", "canceled"]
    assert (await told_of(stripe_api, sub))[-1] == "deleted"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"start_date": "now", "phases": []}, "Missing required param: phases"),
        ({"phases": [{"items": [{"price": "price_none"}]}], "start_date": "now"}, "No such price"),
        ({"phases": [{"items": []}], "start_date": "now"}, "Missing required param"),
        ({"from_subscription": "sub_none"}, "No such subscription"),
    ],
)  # fmt: skip
async def test_what_cannot_be_scheduled_is_refused(stripe_api, params, message):
    customer = await payer(stripe_api)
    with pytest.raises(stripe.InvalidRequestError, match=message):
        await stripe_api.v1.subscription_schedules.create_async(
            params if "from_subscription" in params else {"customer": customer, **params}
        )
    assert (await stripe_api.v1.subscription_schedules.list_async({"customer": customer})).data == []
