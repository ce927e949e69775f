from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from models.audit import AuditEntry
from models.base import new_id
from models.invoices import Invoice
from models.operations import Operation, OperationStatus
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.changes import ChangeSet
from services.errors import InvalidState
from services.payments.settlement import OperationEnd
from services.subscriptions.facts import SubscriptionFacts
from services.subscriptions.rows import lock_subscription, write_subscription
from services.subscriptions.settlement import fetch_subscription, settle_as_it_is, settle_subscription
from tests.support.billing import DAY, MONTH, Subscriber
from tests.support.rows import add_operation

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

Status = BillingSubscriptionStatus


@pytest.fixture
async def subscriber(services: Services, sandbox: Sandbox, clock: Clock) -> Subscriber:
    """Pays with a Visa."""
    return await Subscriber.begin(services, sandbox, clock)


async def change(subscriber: Subscriber, row: BillingSubscription, **params: Any) -> BillingSubscription:
    """Something is changed at Stripe, and its webhooks come."""
    theirs = await subscriber.theirs(row)
    await subscriber.sandbox.post(f"/v1/subscriptions/{theirs['id']}", params)
    await subscriber.deliver()
    return await subscriber.now(row)


async def test_a_subscription_is_known_by_our_metadata_before_our_own_answer_tells_of_it(
    subscriber: Subscriber,
) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    [created] = [event for event in await subscriber.events() if event["type"] == "customer.subscription.created"]
    await subscriber.deliver([created])
    now = await subscriber.now(row)
    assert (now.status, now.stripe_subscription_id) == (Status.ACTIVE, created["data"]["object"]["id"])
    assert now.current_period_start is not None
    assert now.current_period_end is not None
    assert now.current_period_end - now.current_period_start == timedelta(days=31)
    assert now.entitled_until == now.current_period_end + timedelta(seconds=subscriber.services.settings.grace_s)


async def test_our_metadata_on_somebody_else_s_subscription_counts_for_nothing(
    subscriber: Subscriber, services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    other = await Subscriber.begin(services, sandbox, clock)
    price = await subscriber.plan()
    row = await subscriber.reserved(price)
    forged = await sandbox.post(
        "/v1/subscriptions",
        {
            "customer": other.customer, "items": [{"price": price.stripe_price_id}],
            "metadata": {"subscription_id": str(row.id), "user_id": str(subscriber.user.id)},
        },
    )  # fmt: skip
    assert await settle_as_it_is(services, forged["id"], actor="test") is None
    now = await subscriber.now(row)
    assert (now.status, now.version, now.stripe_subscription_id) == (Status.INCOMPLETE, 1, None)


async def test_what_the_guest_has_to_confirm_is_at_hand_until_it_is_confirmed(subscriber: Subscriber) -> None:
    await subscriber.give("pm_card_authenticationRequired")
    row = await subscriber.subscribe(await subscriber.plan(), payment_behavior="default_incomplete")
    await subscriber.deliver()
    now = await subscriber.now(row)
    [payment] = await subscriber.payments()
    assert now.status is Status.INCOMPLETE
    assert now.client_secret is not None
    assert now.client_secret.startswith(f"{payment.stripe_payment_intent_id}_secret_")
    assert now.entitled_until is None
    intent = str(payment.stripe_payment_intent_id)
    await subscriber.sandbox.post(
        f"/v1/payment_intents/{intent}/confirm",
        {"payment_method": "pm_card_authenticationRequired", "return_url": "https://front.example/"},
    )
    await subscriber.sandbox.authenticate(intent)
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert (now.status, now.client_secret, now.next_action) == (Status.ACTIVE, None, None)
    await subscriber.check()


async def test_one_that_is_never_confirmed_expires_and_is_over(subscriber: Subscriber) -> None:
    await subscriber.give("pm_card_authenticationRequired")
    row = await subscriber.subscribe(await subscriber.plan(), payment_behavior="default_incomplete")
    await subscriber.deliver()
    await subscriber.let_pass(DAY)
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert (now.status, now.client_secret, now.entitled_until) == (Status.INCOMPLETE_EXPIRED, None, None)
    assert await subscriber.balance("RECEIVABLES") == 0
    await subscriber.check()


async def test_a_trial_without_a_card_has_what_a_card_is_saved_with(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    subscriber = await Subscriber.begin(services, sandbox, clock, None)
    row = await subscriber.subscribe(await subscriber.plan(), trial_period_days=14)
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert now.status is Status.TRIALING
    assert now.client_secret is not None
    assert now.client_secret.startswith("seti_")
    assert now.trial_end == now.current_period_end


async def test_one_whose_collection_rests_is_paused_until_it_goes_on(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    resumes = subscriber.frozen + 20 * DAY
    paused = await change(subscriber, row, pause_collection={"behavior": "void", "resumes_at": resumes})
    assert (paused.status, paused.stripe_status) == (Status.PAUSED, "active")
    assert paused.paused_at is not None
    assert paused.resumes_at is not None
    assert paused.resumes_at.timestamp() == resumes
    assert paused.entitled_until == paused.current_period_end
    resumed = await change(subscriber, row, pause_collection="")
    assert (resumed.status, resumed.paused_at, resumed.resumes_at) == (Status.ACTIVE, None, None)


async def test_another_price_is_another_plan_and_one_we_do_not_know_changes_nothing(subscriber: Subscriber) -> None:
    small, large = await subscriber.plan(1000), await subscriber.plan(3000)
    row = await subscriber.subscribe(small)
    await subscriber.deliver()
    item = (await subscriber.theirs(row))["items"]["data"][0]["id"]
    now = await change(subscriber, row, items=[{"id": item, "price": large.stripe_price_id}])
    assert (now.plan_id, now.price_id) == (large.plan_id, large.id)

    theirs = await subscriber.sandbox.get(f"/v1/prices/{large.stripe_price_id}")
    strange = await subscriber.sandbox.post(
        "/v1/prices",
        {"product": theirs["product"], "currency": "usd", "unit_amount": 4200, "recurring": {"interval": "month"}},
    )
    with structlog.testing.capture_logs() as logs:
        now = await change(subscriber, row, items=[{"id": item, "price": strange["id"]}])
    assert (now.plan_id, now.price_id) == (large.plan_id, large.id)
    assert [log for log in logs if log["event"] == "subscriptions.price_unknown" and log["log_level"] == "error"]


async def test_what_a_schedule_has_next_is_known_until_it_is_what_is_billed(subscriber: Subscriber) -> None:
    small, large = await subscriber.plan(1000), await subscriber.plan(3000)
    row = await subscriber.subscribe(large)
    await subscriber.deliver()
    theirs = await subscriber.theirs(row)
    schedule = await subscriber.sandbox.post("/v1/subscription_schedules", {"from_subscription": theirs["id"]})
    [phase] = schedule["phases"]
    await subscriber.sandbox.post(
        f"/v1/subscription_schedules/{schedule['id']}",
        {
            "end_behavior": "release",
            "phases": [
                {
                    "items": [{"price": large.stripe_price_id}], "start_date": phase["start_date"],
                    "end_date": phase["end_date"],
                },
                {"items": [{"price": small.stripe_price_id}], "duration": {"interval": "month", "interval_count": 1}},
            ],
        },
    )  # fmt: skip
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert (now.price_id, now.next_price_id, now.stripe_schedule_id) == (large.id, small.id, schedule["id"])
    await subscriber.let_pass(MONTH + 7200)
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert (now.price_id, now.plan_id, now.next_price_id) == (small.id, small.plan_id, None)
    await subscriber.check()


async def failing(subscriber: Subscriber) -> BillingSubscription:
    """Its second month is not paid for; Stripe leaves it at that."""
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    await subscriber.give("pm_card_chargeCustomerFail")
    await subscriber.let_pass(MONTH + 7200)
    await subscriber.deliver()
    for invoice in await subscriber.sandbox.every(
        "/v1/invoices", {"customer": subscriber.customer, "status": "open"}
    ):
        await subscriber.sandbox.post(f"/v1/invoices/{invoice['id']}", {"auto_advance": False})
    return row


async def test_it_is_past_due_since_the_first_period_that_nobody_paid_for(subscriber: Subscriber) -> None:
    row = await failing(subscriber)
    now = await subscriber.now(row)
    first = now.current_period_start
    assert first is not None
    assert (now.status, now.past_due_since) == (Status.PAST_DUE, first)
    assert now.entitled_until == first + timedelta(seconds=subscriber.services.settings.grace_s)

    await subscriber.let_pass(MONTH)
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert now.current_period_start != first
    assert (now.status, now.past_due_since) == (Status.PAST_DUE, first)

    await subscriber.give("pm_card_visa")
    for invoice in await Invoice.filter(subscription_id=row.id, status="OPEN"):
        await subscriber.sandbox.post(f"/v1/invoices/{invoice.stripe_invoice_id}/pay")
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert (now.status, now.past_due_since) == (Status.ACTIVE, None)
    await subscriber.check()


async def test_where_our_own_tries_ended_it_is_unpaid_until_its_latest_invoice_is_paid(subscriber: Subscriber) -> None:
    row = await failing(subscriber)
    services = subscriber.services
    async with services.database.transaction() as connection:
        locked = await lock_subscription(connection, row.id)
        locked.row.unpaid_since = services.clock()
        changes = ChangeSet("system:dunning", locked.xid)
        await write_subscription(connection, services.settings, changes, locked)
        await changes.write(connection)
    now = await subscriber.now(row)
    assert (now.status, now.stripe_status, now.entitled_until) == (Status.UNPAID, "past_due", None)
    settled = await settle_as_it_is(services, str(now.stripe_subscription_id), actor="test")
    assert settled is not None
    assert settled.status is Status.UNPAID

    await subscriber.give("pm_card_visa")
    await subscriber.sandbox.post(f"/v1/invoices/{now.latest_invoice}/pay")
    await subscriber.deliver()
    now = await subscriber.now(row)
    assert (now.status, now.unpaid_since) == (Status.ACTIVE, None)
    assert now.entitled_until is not None
    await subscriber.check()


async def facts_of(subscriber: Subscriber, row: BillingSubscription) -> SubscriptionFacts:
    return await fetch_subscription(subscriber.services, str((await subscriber.now(row)).stripe_subscription_id))


async def test_old_facts_are_passed_over_for_what_stripe_has_now(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    old, seen = await facts_of(subscriber, row), (await subscriber.now(row)).version
    await change(subscriber, row, cancel_at_period_end=True)
    settled = await settle_subscription(subscriber.services, old, actor="test", seen_version=seen)
    assert settled is not None
    assert settled.cancel_at_period_end
    again = await settle_subscription(subscriber.services, old, actor="test")
    assert again is not None
    assert again.cancel_at_period_end


async def test_nothing_comes_back_from_the_end(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    alive = await facts_of(subscriber, row)
    await subscriber.sandbox.delete(f"/v1/subscriptions/{alive.id}")
    await subscriber.deliver()
    ended = await subscriber.now(row)
    assert (ended.status, ended.entitled_until) == (Status.CANCELED, None)
    settled = await settle_subscription(subscriber.services, alive, actor="test", seen_version=ended.version)
    assert settled is not None
    assert (settled.status, settled.version) == (Status.CANCELED, ended.version)


async def test_the_same_facts_again_change_nothing(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    before = await subscriber.now(row)
    facts = await facts_of(subscriber, row)
    for _ in range(2):
        await settle_subscription(subscriber.services, facts, actor="test", seen_version=before.version)
    after = await subscriber.now(row)
    assert (after.version, after.updated_at) == (before.version, before.updated_at)
    actions = await AuditEntry.filter(subject_id=row.id).values_list("action", flat=True)
    assert actions == ["subscription.active"]


async def test_an_operation_ends_with_the_facts_that_it_brought_about(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    facts = await facts_of(subscriber, row)
    async with subscriber.services.database.transaction() as connection:
        done = await add_operation(connection, subject_id=row.id)
        refused = await add_operation(connection, subject_id=row.id)
    await settle_subscription(subscriber.services, facts, actor="test", ends=OperationEnd(done.id, []))
    error = InvalidState("No.", state="ACTIVE")
    await settle_subscription(subscriber.services, facts, actor="test", ends=OperationEnd(refused.id, [], error))
    assert (await Operation.get(id=done.id)).status is OperationStatus.SUCCEEDED
    assert (await Operation.get(id=refused.id)).status is OperationStatus.FAILED


async def test_facts_of_another_subscription_are_refused(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    facts = replace(await facts_of(subscriber, row), id=f"sub_{new_id().hex}")
    version = (await subscriber.now(row)).version
    with pytest.raises(LookupError):
        await settle_subscription(
            subscriber.services, facts, actor="test", subscription_id=row.id, seen_version=version
        )
    assert (await subscriber.now(row)).version == version
