"""Test clocks: the time of who is on one, what happens while it moves, and what Stripe does not let one do."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import stripe

from sandbox import clocks
from sandbox.app import SandboxApp
from sandbox.engine import ACTIONS, Options
from sandbox.errors import ApiError
from tests.sandbox.conftest import running
from tests.sandbox.driver import Driver
from tests.sandbox.test_any_request import InProcess

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.work import Work

START = 1_800_000_000  # 2027-01-15 08:00:00 UTC
DAY = 86_400


async def clock_at(driver: Driver, second: int = START) -> Any:
    return await driver.v1.test_helpers.test_clocks.create_async({"frozen_time": second, "name": "A year"})


async def advanced(driver: Driver, clock: str, second: int) -> Any:
    """The clock, once it is there and its webhooks are delivered."""
    started = await driver.v1.test_helpers.test_clocks.advance_async(clock, {"frozen_time": second})
    assert started.status == "advancing"
    assert started.status_details.advancing.target_frozen_time == second
    return await driver.control("POST", f"test_clocks/{clock}/settled")


async def discounted(driver: Driver, clock: str, months: int = 3) -> str:
    """A customer on the clock whose discount ends by itself."""
    coupon = await driver.v1.coupons.create_async(
        {"percent_off": 10, "duration": "repeating", "duration_in_months": months}
    )
    customer = await driver.v1.customers.create_async({"test_clock": clock})
    status, body, _ = await driver.raw("POST", f"/v1/customers/{customer.id}", f"coupon={coupon.id}")
    assert status == 200
    assert body["discount"]["source"] == {"coupon": coupon.id, "type": "coupon"}
    return str(customer.id)


async def test_a_clock_is_made_listed_and_deleted_with_its_customers(stripe_api):
    clock = await clock_at(stripe_api)
    assert (clock.status, clock.frozen_time, clock.name, clock.livemode) == ("ready", START, "A year", False)
    assert clock.deletes_after == clock.created + 30 * DAY
    assert clock.created < START
    customer = await stripe_api.v1.customers.create_async({"test_clock": clock.id})
    listed = await stripe_api.v1.test_helpers.test_clocks.list_async({"limit": 1})
    assert [one.id for one in listed.data] == [clock.id]

    gone = await stripe_api.v1.test_helpers.test_clocks.delete_async(clock.id)
    assert gone.deleted is True
    assert (await stripe_api.v1.customers.retrieve_async(customer.id)).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match=f"No such test clock: '{clock.id}'"):
        await stripe_api.v1.test_helpers.test_clocks.retrieve_async(clock.id)
    types = [event.type for event in await stripe_api.events_of(clock.id)]
    assert types == ["test_helpers.test_clock.created", "test_helpers.test_clock.deleted"]


async def test_who_is_on_a_clock_lives_in_its_time_and_is_listed_with_it_alone(stripe_api):
    clock = await clock_at(stripe_api)
    customer = await stripe_api.v1.customers.create_async({"test_clock": clock.id, "expand": ["test_clock"]})
    assert (customer.created, customer.test_clock.id) == (START, clock.id)
    other = await stripe_api.customer()
    assert [c.id for c in (await stripe_api.v1.customers.list_async({"test_clock": clock.id})).data] == [customer.id]
    everyone = [c.id async for c in (await stripe_api.v1.customers.list_async({"limit": 100})).auto_paging_iter()]
    assert other in everyone
    assert customer.id not in everyone
    await stripe_api.v1.customers.update_async(customer.id, {"name": "Ada"})
    events = await stripe_api.events_of(customer.id)
    assert [(event.type, event.created) for event in events] == [
        ("customer.created", START), ("customer.updated", START)
    ]  # fmt: skip


async def test_an_unknown_clock_makes_no_customer(stripe_api):
    with pytest.raises(stripe.InvalidRequestError, match="No such test clock: 'clock_x'") as refused:
        await stripe_api.v1.customers.create_async({"test_clock": "clock_x", "email": "clockless@example.com"})
    assert (refused.value.param, refused.value.code) == ("test_clock", "resource_missing")
    assert (await stripe_api.v1.customers.list_async({"email": "clockless@example.com"})).data == []


async def test_a_customer_who_is_there_can_be_put_on_a_new_clock_once(stripe_api):
    customer = await stripe_api.customer()
    clock = await stripe_api.v1.test_helpers.test_clocks.create_async({"frozen_time": START, "customer": customer})
    assert (await stripe_api.v1.customers.retrieve_async(customer)).test_clock == clock.id
    with pytest.raises(stripe.InvalidRequestError, match="already attached to a test clock"):
        await stripe_api.v1.test_helpers.test_clocks.create_async({"frozen_time": START, "customer": customer})


async def test_a_clock_holds_three_customers_unless_it_is_told_otherwise(stripe_api):
    clock = await clock_at(stripe_api)
    for _ in range(3):
        await stripe_api.v1.customers.create_async({"test_clock": clock.id})
    with pytest.raises(stripe.InvalidRequestError, match="up to 3 customers per test clock"):
        await stripe_api.v1.customers.create_async({"test_clock": clock.id})
    assert len((await stripe_api.v1.customers.list_async({"test_clock": clock.id})).data) == 3
    await stripe_api.control("POST", f"test_clocks/{clock.id}/limits", customers=4)
    await stripe_api.v1.customers.create_async({"test_clock": clock.id})
    assert (await stripe_api.refused_control("POST", f"test_clocks/{clock.id}/limits", friends=4))[0] == 400


@pytest.mark.parametrize("second", [START, START - 1, 0, START + 2 * 365 * DAY + 2 * DAY, 10**14, -1])
async def test_a_clock_goes_forward_only_and_two_years_at_most(stripe_api, second):
    clock = await clock_at(stripe_api)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await stripe_api.v1.test_helpers.test_clocks.advance_async(clock.id, {"frozen_time": second})
    assert refused.value.param == "frozen_time"
    after = await stripe_api.v1.test_helpers.test_clocks.retrieve_async(clock.id)
    assert (after.status, after.frozen_time) == ("ready", START)


async def test_what_is_due_happens_in_the_clocks_time_and_the_rest_does_not(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["*"]})
    clock = await clock_at(stripe_api)
    soon, late = await discounted(stripe_api, clock.id, 3), await discounted(stripe_api, clock.id, 12)
    three_months_on = 1_807_776_000  # 2027-04-15 08:00:00 UTC

    settled = await advanced(stripe_api, clock.id, three_months_on - 1)
    assert (settled["status"], settled["frozen_time"]) == ("ready", three_months_on - 1)
    assert settled["status_details"] == {}
    assert (await stripe_api.v1.customers.retrieve_async(soon)).discount.end == three_months_on

    await advanced(stripe_api, clock.id, three_months_on + DAY)
    assert (await stripe_api.v1.customers.retrieve_async(soon)).discount is None
    assert (await stripe_api.v1.customers.retrieve_async(late)).discount is not None
    got = [event for event, _, _ in listener.received if event["type"] == "customer.discount.deleted"]
    assert [(event["created"], event["data"]["object"]["customer"]) for event in got] == [(three_months_on, soon)]
    types = [event["type"] for event, _, _ in listener.received if event["data"]["object"].get("id") == clock.id]
    assert types.count("test_helpers.test_clock.advancing") == types.count("test_helpers.test_clock.ready") == 2


async def subscribed(driver: Driver, clock: str, **fields: Any) -> Any:
    """A monthly subscription of a customer on the clock, paid for with a card."""
    customer = await driver.v1.customers.create_async(
        {
            "test_clock": clock, "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )  # fmt: skip
    data = {"currency": "usd", "unit_amount": 1_000, "product_data": {"name": "Club"}}
    price = await driver.v1.prices.create_async({**data, "recurring": {"interval": "month"}})  # type: ignore[typeddict-item]
    wanted = {"customer": customer.id, "items": [{"price": price.id}], **fields}
    return await driver.v1.subscriptions.create_async(wanted)  # type: ignore[arg-type]


async def test_a_clock_goes_two_intervals_of_its_shortest_subscription_at_a_time(stripe_api):
    clock = await clock_at(stripe_api)
    sub = await subscribed(stripe_api, clock.id)
    assert (sub.status, sub.created, sub.test_clock) == ("active", START, clock.id)
    two_months_on = 1_805_097_600  # 2027-03-15 08:00:00 UTC
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await stripe_api.v1.test_helpers.test_clocks.advance_async(clock.id, {"frozen_time": two_months_on + 1})
    assert str(refused.value.user_message).startswith(
        f"The frozen time of this clock is {START} (2027-01-15 08:00:00 UTC). You can only advance it up to "
        f"{two_months_on} (2027-03-15 08:00:00 UTC). You can only advance a test clock up to two intervals"
    )
    await advanced(stripe_api, clock.id, two_months_on)
    assert len((await stripe_api.v1.invoices.list_async({"subscription": sub.id})).data) == 3


async def test_a_clock_that_is_deleted_takes_its_subscriptions_along(stripe_api):
    clock = await clock_at(stripe_api)
    sub = await subscribed(stripe_api, clock.id)
    await stripe_api.v1.test_helpers.test_clocks.delete_async(clock.id)
    assert (await stripe_api.v1.subscriptions.retrieve_async(sub.id)).status == "canceled"
    [ended] = [e for e in await stripe_api.events_of(sub.id) if e.type == "customer.subscription.deleted"]
    assert ended.created == START


async def test_a_customer_on_a_clock_has_three_subscriptions_at_most(stripe_api):
    clock = await clock_at(stripe_api)
    sub = await subscribed(stripe_api, clock.id)
    again: Any = {"customer": sub.customer, "items": [{"price": sub["items"].data[0].price.id}]}
    for _ in range(2):
        await stripe_api.v1.subscriptions.create_async(again)
    with pytest.raises(stripe.InvalidRequestError, match="up to 3 subscriptions per customer on a test clock"):
        await stripe_api.v1.subscriptions.create_async(again)
    assert len((await stripe_api.v1.subscriptions.list_async({"customer": sub.customer})).data) == 3
    shown = await stripe_api.v1.customers.retrieve_async(sub.customer, {"expand": ["subscriptions"]})
    assert len(shown.subscriptions.data) == 3
    await stripe_api.control("POST", f"test_clocks/{clock.id}/limits", subscriptions=4)
    await stripe_api.v1.subscriptions.create_async(again)


async def test_events_of_a_made_up_time_are_listed_however_old_they_look(stripe_api):
    for second in (1_000_000_000, 4_000_000_000):
        clock = await clock_at(stripe_api, second)
        customer = await stripe_api.v1.customers.create_async({"test_clock": clock.id})
        page = await stripe_api.v1.events.list_async({"created": second, "type": "customer.created"})
        assert customer.id in [event.to_dict()["data"]["object"]["id"] for event in page.data]


async def test_payments_keep_real_time_whatever_the_clock_of_their_customer(stripe_api):
    clock = await clock_at(stripe_api)
    customer = await stripe_api.v1.customers.create_async({"test_clock": clock.id})
    intent = await stripe_api.pay(customer=customer.id)
    assert intent.status == "succeeded"
    assert intent.created < START


async def test_one_that_waits_for_a_clock_that_is_not_there_is_told(stripe_api):
    assert await stripe_api.refused_control("POST", "test_clocks/clock_x/settled") == (
        404, "No such test clock: 'clock_x'"
    )  # fmt: skip


class World:
    """A sandbox in this process, with an action that notes when it was done."""

    def __init__(self, app: SandboxApp) -> None:
        self.app = app
        self.api = InProcess(app)
        self.done: list[tuple[str, int]] = []

    def note(self, work: Work, subject: str) -> None:
        self.done.append((subject, work.now))

    async def clocked(self) -> tuple[str, str]:
        """A clock, and a customer on it."""
        clock = (await self.api.made("/v1/test_helpers/test_clocks", frozen_time=START))["id"]
        return clock, (await self.api.made("/v1/customers", test_clock=clock))["id"]

    async def plan(self, customer: str, *due: tuple[int, str, str]) -> None:
        work = self.app.engine.work_on(customer)
        assert work is not None
        for second, action, subject in due:
            clocks.schedule(work, customer, second, action, subject)
        await self.app.engine.finish(work)

    async def advance(self, clock: str, second: int) -> dict[str, Any]:
        await self.api.made(f"/v1/test_helpers/test_clocks/{clock}/advance", frozen_time=second)
        return await self.there(clock)

    async def there(self, clock: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                _, body = await self.api.ask("GET", f"/v1/test_helpers/test_clocks/{clock}")
                if body["status"] != "advancing" and not self.app.engine.is_moving(clock):
                    return body
                await asyncio.sleep(0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(SandboxApp(Options(tmp_path)))
    monkeypatch.setitem(ACTIONS, "note", world.note)
    return world


async def test_thousands_of_things_happen_in_the_order_of_their_time(world):
    async with world.app.engine.running():
        clock, customer = await world.clocked()
        due = [(START + 1 + (7 * n) % 3_000, "note", str(n)) for n in range(3_000)]
        await world.plan(customer, *due)
        assert (await world.advance(clock, START + DAY))["frozen_time"] == START + DAY
        assert world.done == [(subject, second) for second, _, subject in sorted(due)]


async def test_what_an_action_schedules_in_turn_still_happens_on_the_way(world, monkeypatch):
    def again(work: Work, subject: str) -> None:
        world.note(work, subject)
        clocks.schedule(work, subject, work.now + DAY, "again", subject)

    monkeypatch.setitem(ACTIONS, "again", again)
    async with world.app.engine.running():
        clock, customer = await world.clocked()
        await world.plan(customer, (START + DAY, "again", customer))
        await world.advance(clock, START + 5 * DAY)
        assert world.done == [(customer, START + n * DAY) for n in range(1, 6)]
        await world.advance(clock, START + 6 * DAY)
        assert world.done[-1] == (customer, START + 6 * DAY)


async def test_what_is_due_already_happens_at_once_in_the_clocks_time(world):
    async with world.app.engine.running():
        clock, customer = await world.clocked()
        due = {"now": START, "before": START - DAY, "later": START + 1}
        await world.plan(customer, *((second, "note", subject) for subject, second in due.items()))
        await world.there(clock)
        assert world.done == [("before", START), ("now", START)]


async def test_what_was_called_off_does_not_happen(world):
    async with world.app.engine.running():
        clock, customer = await world.clocked()
        await world.plan(customer, (START + 1, "note", "a"), (START + 2, "note", "b"), (START + 3, "note", "a"))
        work = world.app.engine.work_on(customer)
        clocks.unschedule(work, "note", "a")
        clocks.schedule(work, customer, START + 4, "note", "a")
        clocks.schedule(work, customer, START + 5, "note", "c")
        clocks.unschedule(work, "note", "c")
        await world.app.engine.finish(work)
        await world.advance(clock, START + DAY)
        assert world.done == [("b", START + 2), ("a", START + 4)]


async def test_without_a_clock_things_happen_in_real_time_unless_called_off(world):
    async with world.app.engine.running():
        customer = (await world.api.made("/v1/customers"))["id"]
        work = world.app.engine.work_on(customer)
        now = work.now
        clocks.schedule(work, customer, now + DAY, "note", "tomorrow")
        clocks.schedule(work, customer, now, "note", "today")
        clocks.schedule(work, customer, now + 1, "note", "not today")
        await world.app.engine.finish(work)
        work = world.app.engine.work_on(customer)
        clocks.unschedule(work, "note", "not today")
        await world.app.engine.finish(work)
        async with asyncio.timeout(5):
            while work.now < now + 2:
                work = world.app.engine.work_on(customer)
                await asyncio.sleep(0.05)
        assert [subject for subject, _ in world.done] == ["today"]


async def test_a_refusal_leaves_nothing_behind_and_a_decline_stays(world, monkeypatch):
    def refused(work: Work, subject: str) -> None:
        work.edit("customer", subject)["name"] = "refused"
        raise ApiError("No.")

    def declined(work: Work, subject: str) -> None:
        work.edit("customer", subject)["phone"] = "declined"
        raise ApiError("No.", keeps_changes=True)

    monkeypatch.setitem(ACTIONS, "refused", refused)
    monkeypatch.setitem(ACTIONS, "declined", declined)
    async with world.app.engine.running():
        clock, customer = await world.clocked()
        await world.plan(customer, (START + 1, "refused", customer), (START + 2, "declined", customer))
        assert (await world.advance(clock, START + DAY))["status"] == "ready"
        _, body = await world.api.ask("GET", f"/v1/customers/{customer}")
        assert (body["name"], body["phone"]) == (None, "declined")


async def test_a_mistake_of_the_sandboxs_own_is_an_internal_failure(world, monkeypatch, caplog):
    def broken(_work: Work, _subject: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(ACTIONS, "broken", broken)
    async with world.app.engine.running():
        clock, customer = await world.clocked()
        await world.plan(customer, (START + 1, "broken", customer), (START + 2, "note", "never"))
        failed = await world.advance(clock, START + DAY)
        assert (failed["status"], failed["frozen_time"], world.done) == ("internal_failure", START, [])
        assert "broken of cus_" in caplog.text
        path = f"/v1/test_helpers/test_clocks/{clock}"
        status, body = await world.api.ask("POST", f"{path}/advance", {"frozen_time": START + DAY})
        assert (status, body["error"]["message"]) == (
            400, "This test clock has failed to advance and can only be deleted."
        )  # fmt: skip
        assert (await world.api.ask("DELETE", path))[0] == 200


async def test_nothing_is_changed_by_others_while_a_clock_advances(world, monkeypatch):
    refusals: list[tuple[int, str]] = []
    going = asyncio.Event()

    async with world.app.engine.running():
        clock, customer = await world.clocked()
        path = f"/v1/test_helpers/test_clocks/{clock}"

        def pause(_work: Work, _subject: str) -> None:
            going.set()

        monkeypatch.setitem(ACTIONS, "pause", pause)
        await world.plan(customer, *((START + n, "pause", customer) for n in range(1, 200)))
        await world.api.made(f"{path}/advance", frozen_time=START + DAY)
        await going.wait()
        for method, what, params in (
            ("POST", f"{path}/advance", {"frozen_time": START + 2 * DAY}), ("DELETE", path, {}),
            ("DELETE", f"/v1/customers/{customer}", {}),
            ("POST", f"/v1/customers/{customer}/balance_transactions", {"amount": 1, "currency": "usd"}),
        ):  # fmt: skip
            status, body = await world.api.ask(method, what, params)
            refusals.append((status, body["error"]["message"]))
        assert set(refusals) == {(429, f"Test clock advancement underway - cannot perform modifications: {clock}")}
        after = await world.there(clock)
        assert (after["status"], after["frozen_time"]) == ("ready", START + DAY)
        assert (await world.api.ask("GET", f"/v1/customers/{customer}"))[1]["balance"] == 0


async def test_a_clock_that_is_stopped_in_the_middle_goes_on_where_it_was(world, monkeypatch, tmp_path):
    reached = asyncio.Event()

    def note(work: Work, subject: str) -> None:
        world.note(work, subject)
        if subject == "20":
            reached.set()

    monkeypatch.setitem(ACTIONS, "note", note)
    async with world.app.engine.running():
        clock, customer = await world.clocked()
        await world.plan(customer, *((START + 10 * n, "note", str(n)) for n in range(1, 101)))
        await world.api.made(f"/v1/test_helpers/test_clocks/{clock}/advance", frozen_time=START + DAY)
        await reached.wait()
    assert len(world.done) < 100

    world.app = SandboxApp(dataclasses.replace(world.app.engine.options, data_dir=tmp_path))
    world.api = InProcess(world.app)
    async with world.app.engine.running():
        assert (await world.there(clock))["frozen_time"] == START + DAY
        assert world.done == [(str(n), START + 10 * n) for n in range(1, 101)]


async def test_a_killed_sandbox_advances_to_the_end_and_does_everything_once(tmp_path, listener):
    hooks = ("--webhook", listener.url, "--webhook-secret", "whsec_x")
    async with running(tmp_path, *hooks) as process, Driver.open(process.url) as driver:
        clock = await clock_at(driver)
        await driver.control("POST", f"test_clocks/{clock.id}/limits", customers=60)
        customers = [await discounted(driver, clock.id, 1 + n % 11) for n in range(60)]
        await driver.control("POST", "webhooks/pause")
        target = START + 360 * DAY
        await driver.v1.test_helpers.test_clocks.advance_async(clock.id, {"frozen_time": target})
        await process.kill()

    async with running(tmp_path, *hooks) as process, Driver.open(process.url) as driver:
        settled = await driver.control("POST", f"test_clocks/{clock.id}/settled")
        assert (settled["status"], settled["frozen_time"]) == ("ready", target)
        got = [event for event, _, _ in listener.received if event["type"] == "customer.discount.deleted"]
        assert sorted(event["data"]["object"]["customer"] for event in got) == sorted(customers)
        assert [event["created"] for event in got] == [event["data"]["object"]["end"] for event in got]
