"""A year in the life of a subscriber, on a test clock: what Stripe's documentation says of each step, to the cent."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import stripe

from tests.sandbox.conftest import running
from tests.sandbox.driver import Driver
from tests.sandbox.invoicing import DAY, HOUR, START, give_method, intent_of, payer
from tests.sandbox.subscribing import (
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
)


@dataclass
class Subscriber:
    """Who the year is about, and what there is to subscribe to."""

    driver: Any
    customer: str
    gold: str
    platinum: str
    sub: Any = None

    async def until(self, text: str) -> Any:
        """Let time go by; the subscription then."""
        await go_to(self.driver, self.customer, at(text))
        return await fetch(self.driver, self.sub)

    async def bill(self) -> tuple[str, int, int]:
        """The latest invoice: status, total, and what was paid of it."""
        invoice = (await fetch(self.driver, self.sub)).latest_invoice
        return invoice.status, invoice.total, invoice.amount_paid


async def test_a_year_from_the_trial_to_the_end(stripe_api):
    someone = Subscriber(
        stripe_api, await payer(stripe_api, "pm_card_authenticationRequired", on_clock=True), await price(stripe_api),
        await price(stripe_api, 3_000, name="Platinum"),
    )  # fmt: skip
    for step in (begin, go_up, recover, go_down, rest, leave):
        await step(someone)
    billed = [(one.billing_reason, one.total, one.status) for one in await invoices(stripe_api, someone.sub)]
    assert billed == [
        ("subscription_create", 0, "paid"), ("subscription_cycle", 1_000, "paid"),
        ("subscription_update", 1_000, "paid"), ("subscription_cycle", 3_000, "paid"),
        ("subscription_cycle", 1_000, "paid"), ("subscription_update", 226, "paid"),
        *[("subscription_cycle", 1_000, "paid")] * 7,
    ]  # fmt: skip
    await check_events(stripe_api, someone.sub, someone.customer)


async def begin(someone: Subscriber) -> None:
    """January: two weeks on trial, then a first payment that the bank wants the guest for."""
    driver = someone.driver
    sub = someone.sub = await subscribe(driver, someone.customer, someone.gold, trial_period_days=14)
    assert (sub.status, period(sub)) == ("trialing", (START, at("2027-01-29T08:00:00")))
    now = await someone.until("2027-01-29T09:00:00")
    # The 29th is the 28th in a short month.
    assert (now.status, period(now)) == ("past_due", (at("2027-01-29T08:00:00"), at("2027-02-28T08:00:00")))
    assert await someone.bill() == ("open", 1_000, 0)
    intent = await intent_of(driver, now.latest_invoice.id)
    assert intent.status == "requires_action"
    await driver.control("POST", f"payment_intents/{intent.id}/authenticate", outcome="success")
    assert (await fetch(driver, sub)).status == "active"
    assert await someone.bill() == ("paid", 1_000, 1_000)


async def go_up(someone: Subscriber) -> None:
    """February: half of the month is left when the guest wants more."""
    await give_method(someone.driver, someone.customer, "pm_card_visa")
    now = await someone.until("2027-02-13T08:00:00")
    up = await change(
        someone.driver, now, items=[{"id": first(now).id, "price": someone.platinum}],
        proration_behavior="always_invoice",
    )  # fmt: skip
    assert lines(up.latest_invoice) == [
        ("Unused time on Gold after 13 Feb 2027", -500), ("Remaining time on Platinum after 13 Feb 2027", 1_500),
    ]  # fmt: skip
    assert await someone.bill() == ("paid", 1_000, 1_000)


async def recover(someone: Subscriber) -> None:
    """March: the renewal is declined twice, then another card pays it."""
    await give_method(someone.driver, someone.customer, "pm_card_chargeCustomerFail")
    now = await someone.until("2027-02-28T09:00:00")
    assert (now.status, period(now)) == ("past_due", (at("2027-02-28T08:00:00"), at("2027-03-29T08:00:00")))
    assert now.latest_invoice.next_payment_attempt == at("2027-03-03T09:00:00")
    now = await someone.until("2027-03-03T09:00:00")
    assert (now.status, now.latest_invoice.attempt_count) == ("past_due", 2)
    assert now.latest_invoice.next_payment_attempt == at("2027-03-08T09:00:00")
    await give_method(someone.driver, someone.customer, "pm_card_mastercard")
    assert (await someone.until("2027-03-08T09:00:00")).status == "active"
    assert await someone.bill() == ("paid", 3_000, 3_000)


async def go_down(someone: Subscriber) -> None:
    """April: less again, from the next period on."""
    schedules = someone.driver.v1.subscription_schedules
    schedule = await schedules.create_async({"from_subscription": someone.sub.id})
    start, end = period(await fetch(someone.driver, someone.sub))
    phases = [
        {"items": [{"price": someone.platinum}], "start_date": start, "end_date": end},
        {"items": [{"price": someone.gold}], "duration": {"interval": "month"}},
    ]
    await schedules.update_async(schedule.id, {"phases": phases})
    now = await someone.until("2027-03-29T09:00:00")
    assert (first(now).price.id, period(now)) == (someone.gold, (end, at("2027-04-29T08:00:00")))
    assert await someone.bill() == ("paid", 1_000, 1_000)
    await schedules.release_async(schedule.id)


async def rest(someone: Subscriber) -> None:
    """A pause from 5 April to 10 May: 24 of 31 days are given back on the invoice that it ends with."""
    subscriptions = someone.driver.v1.subscriptions
    now = await someone.until("2027-04-05T08:00:00")
    await subscriptions.pause_async(now.id)
    assert await pending(someone.driver, someone.customer) == [("Unused time on Gold after 05 Apr 2027", -774)]
    assert (await someone.until("2027-05-10T08:00:00")).status == "paused"
    resumed = await subscriptions.resume_async(now.id, {"payment_behavior": "resume_on_payment_success"})
    assert (resumed.status, period(resumed)) == ("active", (at("2027-05-10T08:00:00"), at("2027-06-10T08:00:00")))
    assert await someone.bill() == ("paid", 226, 226)


async def leave(someone: Subscriber) -> None:
    """The rest of the year, canceled in December for the period's end."""
    now = await someone.until("2027-12-20T08:00:00")
    leaving = await change(someone.driver, now, cancel_at_period_end=True)
    assert (leaving.status, leaving.cancel_at) == ("active", at("2028-01-10T08:00:00"))
    gone = await someone.until("2028-01-15T08:00:00")
    assert (gone.status, gone.ended_at) == ("canceled", at("2028-01-10T08:00:00"))


async def check_events(driver: Any, sub: Any, customer: str) -> None:
    """What was told of the year: in order, in the clock's time, and of each change once."""
    events = [event.to_dict() async for event in (await driver.v1.events.list_async({"limit": 100})).auto_paging_iter()]
    ours = [e for e in reversed(events) if e["data"]["object"].get("id") == sub.id]
    assert [e["created"] for e in ours] == sorted(e["created"] for e in ours)
    kinds = Counter(e["type"].removeprefix("customer.subscription.") for e in ours)
    assert kinds.pop("updated") == 20
    assert kinds == {"created": 1, "trial_will_end": 1, "paused": 1, "resumed": 1, "deleted": 1}
    of_customer = [e for e in events if e["data"]["object"].get("customer") == customer]
    told = Counter(e["type"] for e in of_customer if e["type"].startswith("invoice."))
    assert (told["invoice.created"], told["invoice.paid"], told["invoice.finalized"]) == (13, 13, 13)
    assert (told["invoice.payment_failed"], told["invoice.upcoming"]) == (3, 10)


async def test_a_year_of_many_subscribers_on_one_clock_skips_nobody(stripe_api):
    clock = await stripe_api.v1.test_helpers.test_clocks.create_async({"frozen_time": START})
    found: dict[str, list[int]] = {}
    subs = {}
    for interval, amount in (("week", 700), ("month", 3_000), ("year", 36_500)):
        customer = (await stripe_api.v1.customers.create_async({"test_clock": clock.id})).id
        await give_method(stripe_api, customer, "pm_card_visa")
        subs[interval] = await subscribe(stripe_api, customer, await price(stripe_api, amount, interval))
    target, now = START + 365 * DAY + HOUR, START
    while now < target:
        now = min(now + 14 * DAY, target)
        await stripe_api.v1.test_helpers.test_clocks.advance_async(clock.id, {"frozen_time": now})
        await stripe_api.control("POST", f"test_clocks/{clock.id}/settled")
    for interval, sub in subs.items():
        found[interval] = [one.total for one in await invoices(stripe_api, sub) if one.status == "paid"]
        kept = await fetch(stripe_api, sub)
        assert (kept.status, kept.latest_invoice.status) == ("active", "paid")
        assert period(kept)[0] <= target < period(kept)[1]
    assert found == {"week": [700] * 53, "month": [3_000] * 13, "year": [36_500] * 2}


async def test_nothing_is_changed_while_the_clock_moves(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api, 100, "day"))
    clock = (await stripe_api.v1.customers.retrieve_async(customer)).test_clock
    await stripe_api.v1.test_helpers.test_clocks.advance_async(clock, {"frozen_time": START + 2 * DAY})
    answers = await asyncio.gather(
        *(change(stripe_api, sub, metadata={f"n{n}": "b"}) for n in range(5)), return_exceptions=True
    )
    await stripe_api.control("POST", f"test_clocks/{clock}/settled")
    refused = [answer for answer in answers if isinstance(answer, stripe.RateLimitError)]
    assert all("Test clock advancement underway" in str(refusal) for refusal in refused)
    assert len((await fetch(stripe_api, sub)).metadata.to_dict()) == 5 - len(refused)
    assert len(await invoices(stripe_api, sub)) == 3


async def test_a_sandbox_that_is_killed_while_time_goes_by_bills_each_period_once(tmp_path):
    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        customer = await payer(driver, on_clock=True)
        sub = await subscribe(driver, customer, await price(driver, 100, "day", count=30))
        clock = (await driver.v1.customers.retrieve_async(customer)).test_clock
        others = [await subscribe(driver, customer, await price(driver, 700, "week", count=n)) for n in (4, 9)]
        for _ in range(3):
            now = (await driver.v1.test_helpers.test_clocks.retrieve_async(clock)).frozen_time
            await driver.v1.test_helpers.test_clocks.advance_async(clock, {"frozen_time": now + 56 * DAY})
            await driver.control("POST", f"test_clocks/{clock}/settled")
        await driver.v1.test_helpers.test_clocks.advance_async(clock, {"frozen_time": START + 4 * 56 * DAY})
        await process.kill()

    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        settled = await driver.control("POST", f"test_clocks/{clock}/settled")
        assert (settled["status"], settled["frozen_time"]) == ("ready", START + 224 * DAY)
        for one, every in ((sub, 30), (others[0], 28), (others[1], 63)):
            starts = [START + n * every * DAY for n in range(224 // every + 1)]
            found = await invoices(driver, one)
            assert [invoice.lines.data[0].period.start for invoice in found] == starts
            assert [invoice.status for invoice in found[:-1]] == ["paid"] * (len(starts) - 1)
            assert (await fetch(driver, one)).status == "active"
