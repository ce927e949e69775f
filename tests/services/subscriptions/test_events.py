from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from models.audit import AuditEntry
from models.events import EventSubject
from models.subscriptions import BillingSubscriptionStatus
from models.webhook_events import WebhookEvent
from services.history import histories
from services.live import EventFilter
from services.webhooks.handlers import handler_of
from services.webhooks.processing import by_object
from tests.support.billing import DAY, MONTH, Subscriber

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def subscriber(services: Services, sandbox: Sandbox, clock: Clock) -> Subscriber:
    """Pays with a Visa."""
    return await Subscriber.begin(services, sandbox, clock)


async def test_the_end_of_a_trial_is_told_once_three_days_before(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan(), trial_period_days=14)
    await subscriber.deliver()
    await subscriber.let_pass(11 * DAY + 3600)
    events = [e for e in await subscriber.events() if e["type"] == "customer.subscription.trial_will_end"]
    assert len(events) == 1
    await subscriber.deliver(events)
    handler = handler_of("customer.subscription.trial_will_end", "")
    assert handler is not None
    [stored] = await WebhookEvent.filter(type="customer.subscription.trial_will_end")
    await handler.handle(subscriber.services, stored)  # a worker that died right after it had written
    entries = await AuditEntry.filter(subject_id=row.id, action="subscription.trial_will_end")
    assert [entry.actor for entry in entries] == [f"stripe:{events[0]['id']}"]

    pages = await histories(subscriber.services, EventSubject.SUBSCRIPTION, [row.id], first=10, after=None)
    last = pages[row.id].items[-1].event
    assert (last.previous_status, last.status, last.detail["notice"]) == ("TRIALING", "TRIALING", "trial_will_end")
    assert last.version == (await subscriber.now(row)).version


async def test_a_renewal_that_comes_is_recorded_with_its_amount(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    version = (await subscriber.now(row)).version
    await subscriber.let_pass(25 * DAY)
    [upcoming] = [event for event in await subscriber.events() if event["type"] == "invoice.upcoming"]
    assert upcoming["data"]["object"].get("id") is None
    await subscriber.deliver([upcoming])
    [entry] = await AuditEntry.filter(subject_id=row.id, action="invoice.upcoming")
    assert entry.after is not None
    assert (entry.after["amount_due_minor"], entry.after["currency"]) == (1000, "USD")
    assert (await subscriber.now(row)).version == version


async def test_who_follows_it_sees_each_change_in_order_and_can_go_on_from_any(subscriber: Subscriber) -> None:
    services = subscriber.services
    row = await subscriber.subscribe(await subscriber.plan())
    moment = await services.live.moment()
    await subscriber.deliver()
    await subscriber.give("pm_card_chargeCustomerFail")
    await subscriber.let_pass(MONTH + 7200)
    await subscriber.deliver()
    theirs = await subscriber.theirs(row)
    await subscriber.sandbox.delete(f"/v1/subscriptions/{theirs['id']}")
    await subscriber.deliver()
    version = (await subscriber.now(row)).version

    wanted = EventFilter(EventSubject.SUBSCRIPTION, subject_id=row.id)
    seen = []
    async with aclosing(services.live.follow(wanted, moment=moment)) as changes:
        async for change in changes:
            seen.append(change)
            if change.event.version == version:
                break
    assert [change.event.version for change in seen] == list(range(2, version + 1))
    statuses = [change.event.status for change in seen]
    assert statuses[0] == "ACTIVE"
    assert "PAST_DUE" in statuses
    assert statuses[-1] == "CANCELED"
    async with aclosing(services.live.follow(wanted, seen[0].cursor)) as changes:
        assert (await anext(changes)).event.version == 3


async def test_the_guest_s_stream_of_payments_has_those_of_invoices_too(subscriber: Subscriber) -> None:
    services = subscriber.services
    moment = await services.live.moment()
    await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    wanted = EventFilter(EventSubject.PAYMENT, party_id=subscriber.user.id)
    async with aclosing(services.live.follow(wanted, moment=moment)) as changes:
        assert [(await anext(changes)).event.status for _ in range(2)] == ["PENDING", "SUCCEEDED"]


async def test_what_hangs_together_is_handled_in_turn(subscriber: Subscriber) -> None:
    await subscriber.subscribe(await subscriber.plan())
    events = [
        WebhookEvent(type=event["type"], account="", payload=event)
        for event in await subscriber.events()
        if event["type"] != "invoice_payment.paid"  # names nobody
    ]
    assert len(events) > 5
    assert len(by_object(events)) == 1


async def test_an_event_of_a_schedule_settles_the_subscription_that_it_released(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    theirs = await subscriber.theirs(row)
    schedule = await subscriber.sandbox.post("/v1/subscription_schedules", {"from_subscription": theirs["id"]})
    await subscriber.deliver()
    assert (await subscriber.now(row)).stripe_schedule_id == schedule["id"]
    await subscriber.sandbox.post(f"/v1/subscription_schedules/{schedule['id']}/release")
    released = [e for e in await subscriber.events() if e["type"] == "subscription_schedule.released"]
    assert len(released) == 1
    await subscriber.deliver(released)
    now = await subscriber.now(row)
    assert (now.stripe_schedule_id, now.status) == (None, BillingSubscriptionStatus.ACTIVE)
