"""The review of billing: rows that were broken are put right, and it goes on where it was broken off."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from models.audit import AuditEntry
from models.billing_reviews import BillingReview
from models.invoices import Invoice, InvoiceStatus
from models.payment_methods import SavedPaymentMethod
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services import billing_review
from services.billing_review import ReviewUnderWayError, review, review_if_due
from services.exclusive import exclusively
from services.stripe_gateway import StripeUnknownOutcome
from tests.support.billing import DAY, MONTH, Subscriber
from tests.support.rows import add_plan, add_subscription, add_user

if TYPE_CHECKING:
    from models.sets import AnyConnection
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def guest(services: Services, sandbox: Sandbox, clock: Clock) -> Subscriber:
    """A guest with a saved card."""
    guest = await Subscriber.begin(services, sandbox, clock)
    await guest.deliver()
    return guest


@pytest.fixture
async def today(services: Services, sandbox: Sandbox, clock: Clock) -> Subscriber:
    """A guest without a test clock: Stripe's list of all subscriptions leaves out those that have one."""
    customer = (await sandbox.post("/v1/customers", {"email": "guest@example.com"}))["id"]
    async with services.database.transaction() as connection:
        user = await add_user(connection, stripe_customer_id=customer)
    guest = Subscriber(services, sandbox, clock, user, customer, test_clock="", frozen=0)
    await guest.give("pm_card_visa")
    await guest.deliver()
    return guest


async def subscribed(guest: Subscriber) -> BillingSubscription:
    row = await guest.subscribe(await guest.plan())
    await guest.deliver()
    return row


def counts(found: BillingReview) -> tuple[int, int, int]:
    return found.checked, found.repaired, found.failed


async def agrees(services: Services) -> None:
    """A second look finds nothing."""
    found = await review(services)
    assert (found.repaired, found.failed) == (0, 0)


async def test_what_is_as_stripe_has_it_is_left_alone(services: Services, guest: Subscriber) -> None:
    row = await subscribed(guest)
    version = (await guest.now(row)).version
    found = await review(services)
    assert counts(found) == (1, 0, 0)
    assert (found.total, found.finished_at is not None) == (1, True)
    assert (await guest.now(row)).version == version
    assert await AuditEntry.filter(actor=billing_review.ACTOR).count() == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "PAST_DUE"},
        {"stripe_status": "past_due", "status": "PAST_DUE"},
        {"current_period_end": None},
        {"cancel_at_period_end": True},
        {"default_payment_method": "pm_of_another_time"},
        {"entitled_until": None},
        {"latest_invoice": None},
    ],
    ids="+".join,
)
async def test_a_row_that_was_broken_is_put_right(
    services: Services, guest: Subscriber, broken: dict[str, Any]
) -> None:
    row = await subscribed(guest)
    good = await guest.now(row)
    await BillingSubscription.filter(id=row.id).update(**broken)
    assert counts(await review(services)) == (1, 1, 0)
    now = await guest.now(row)
    assert {name: getattr(now, name) for name in broken} == {name: getattr(good, name) for name in broken}
    entries = await AuditEntry.filter(actor=billing_review.ACTOR, subject_id=row.id)
    assert len(entries) == 1
    await agrees(services)


async def test_another_price_is_found(services: Services, guest: Subscriber) -> None:
    row = await subscribed(guest)
    other = await guest.plan(2000)
    good = await guest.now(row)
    await BillingSubscription.filter(id=row.id).update(price_id=other.id, plan_id=other.plan_id)
    assert counts(await review(services)) == (1, 1, 0)
    assert (await guest.now(row)).price_id == good.price_id
    await agrees(services)


async def test_months_without_webhooks_are_caught_up_with(services: Services, guest: Subscriber) -> None:
    row = await subscribed(guest)
    before = await guest.now(row)
    await guest.let_pass(MONTH + 2 * 3600)
    await guest.let_pass(MONTH)
    assert counts(await review(services)) == (1, 1, 0)
    assert before.current_period_end is not None
    after = await guest.now(row)
    assert after.current_period_start == before.current_period_end + timedelta(days=31)
    assert [invoice.status for invoice in await guest.invoices()] == [InvoiceStatus.PAID] * 3
    await guest.check()
    await agrees(services)


async def test_an_end_that_nobody_told_of_is_found(services: Services, guest: Subscriber) -> None:
    row = await subscribed(guest)
    await guest.sandbox.delete(f"/v1/subscriptions/{(await guest.now(row)).stripe_subscription_id}")
    assert counts(await review(services)) == (1, 1, 0)
    assert (await guest.now(row)).status is BillingSubscriptionStatus.CANCELED
    assert counts(await review(services)) == (0, 0, 0)


async def test_an_invoice_that_was_broken_or_lost_is_put_right(services: Services, guest: Subscriber) -> None:
    await subscribed(guest)
    [invoice] = await guest.invoices()
    await services.database.pool.execute(
        "UPDATE invoices SET status = 'OPEN', amount_paid_minor = 0, paid_at = NULL WHERE id = $1", invoice.id
    )
    assert counts(await review(services)) == (1, 1, 0)
    assert (await Invoice.get(id=invoice.id)).status is InvoiceStatus.PAID
    await agrees(services)


async def test_another_default_method_is_found(services: Services, guest: Subscriber) -> None:
    await subscribed(guest)
    mastercard = await guest.give("pm_card_mastercard")
    assert counts(await review(services)) == (1, 1, 0)
    default = await SavedPaymentMethod.get(user_id=guest.user.id, is_default=True)
    assert default.stripe_payment_method_id == mastercard
    await agrees(services)


async def test_a_subscription_that_stripe_made_and_nobody_heard_of_is_adopted(
    services: Services, today: Subscriber
) -> None:
    row = await today.subscribe(await today.plan())
    today.clock.forward(seconds=DAY)
    assert counts(await review(services)) == (0, 1, 0)
    now = await today.now(row)
    assert now.status is BillingSubscriptionStatus.ACTIVE
    assert [invoice.status for invoice in await today.invoices()] == [InvoiceStatus.PAID]
    await agrees(services)


async def test_a_subscription_that_was_not_asked_for_here_is_told_of(services: Services, today: Subscriber) -> None:
    price = await today.plan()
    made = await today.sandbox.post(
        "/v1/subscriptions", {"customer": today.customer, "items": [{"price": price.stripe_price_id}]}
    )
    today.clock.forward(seconds=DAY)
    found = await review(services)
    assert counts(found) == (0, 0, 1)
    [entry] = await AuditEntry.filter(action="billing_review.not_repaired")
    assert entry.subject_id == found.id
    assert entry.after == {
        "subject": made["id"], "reason": "Stripe has a subscription of a guest that was not asked for here."
    }  # fmt: skip
    assert await BillingSubscription.all().count() == 0


async def test_what_is_held_to_have_ended_and_has_not_is_found(services: Services, today: Subscriber) -> None:
    row = await subscribed(today)
    await BillingSubscription.filter(id=row.id).update(status="CANCELED")
    today.clock.forward(seconds=DAY)
    assert counts(await review(services)) == (0, 1, 0)
    assert (await today.now(row)).status is BillingSubscriptionStatus.ACTIVE
    await agrees(services)


async def test_what_stripe_itself_said_had_ended_is_left_to_a_person(services: Services, today: Subscriber) -> None:
    row = await subscribed(today)
    await BillingSubscription.filter(id=row.id).update(status="CANCELED", stripe_status="canceled")
    today.clock.forward(seconds=DAY)
    assert counts(await review(services)) == (0, 0, 1)


async def test_what_is_being_made_just_now_is_left_to_who_makes_it(services: Services, today: Subscriber) -> None:
    row = await today.subscribe(await today.plan())
    assert counts(await review(services)) == (0, 0, 0)
    assert (await today.now(row)).stripe_subscription_id is None


async def test_what_stripe_does_not_have_is_told_of_and_keeps_nobody_waiting(
    services: Services, guest: Subscriber, connection: AnyConnection
) -> None:
    lost = await add_subscription(connection, await add_user(connection), await add_plan(connection))
    row = await subscribed(guest)
    await BillingSubscription.filter(id=row.id).update(cancel_at_period_end=True)
    assert counts(await review(services)) == (2, 1, 1)
    assert (await BillingSubscription.get(id=lost.id)).status is lost.status
    assert not (await guest.now(row)).cancel_at_period_end


async def test_a_review_that_was_broken_off_goes_on_where_it_was(
    services: Services, today: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [await subscribed(today) for _ in range(5)]
    await BillingSubscription.all().update(cancel_at_period_end=True)
    compared: list[Any] = []
    compare = billing_review._compare

    async def break_off(services: Services, row: BillingSubscription, tally: Any) -> bool:
        if len(compared) == 4 and row.id == rows[4].id and not any(seen == row.id for seen in compared):
            compared.append(row.id)
            raise KilledError
        compared.append(row.id)
        return await compare(services, row, tally)

    monkeypatch.setattr(billing_review, "_compare", break_off)
    with pytest.raises(KilledError):
        await review(services, page=2)
    [broken] = await BillingReview.all()
    assert (broken.finished_at, broken.after, counts(broken)) == (None, rows[3].id, (4, 4, 0))
    shown: list[tuple[int, int]] = []
    found = await review(services, page=2, progress=lambda now: shown.append((now.checked, now.total)))
    assert (found.id, counts(found)) == (broken.id, (5, 5, 0))
    assert shown == [(4, 5), (5, 5), (5, 5)]
    assert compared == [*(row.id for row in rows), rows[4].id]
    await agrees(services)


class KilledError(BaseException):
    """The process is no more."""


async def test_where_stripe_is_away_the_review_waits(services: Services, guest: Subscriber) -> None:
    row = await subscribed(guest)
    await BillingSubscription.filter(id=row.id).update(cancel_at_period_end=True)
    await guest.sandbox.faults(reset_before=1.0)
    with pytest.raises(StripeUnknownOutcome):
        await review(services)
    await guest.sandbox.heal()
    [waiting] = await BillingReview.all()
    assert counts(waiting) == (0, 0, 0)
    assert counts(await review(services)) == (1, 1, 0)
    assert await BillingReview.all().count() == 1


async def test_one_process_reviews_at_a_time(services: Services) -> None:
    async with exclusively(services.database, "paydesk:billing_review"):
        with pytest.raises(ReviewUnderWayError):
            await review(services)
        assert await review_if_due(services) is None
    assert await BillingReview.all().count() == 0


async def test_the_next_review_begins_when_it_is_due(services: Services, clock: Clock) -> None:
    assert await review_if_due(services) is not None
    assert await review_if_due(services) is None
    clock.forward(seconds=services.settings.billing_review_every_s - 60)
    assert await review_if_due(services) is None
    clock.forward(seconds=61)
    assert await review_if_due(services) is not None
    assert await BillingReview.all().count() == 2


async def test_how_far_a_review_has_come_is_measured(services: Services, guest: Subscriber) -> None:
    row = await subscribed(guest)
    await BillingSubscription.filter(id=row.id).update(cancel_at_period_end=True)
    await review(services)
    registry = services.metrics.registry
    assert registry.get_sample_value("paydesk_billing_review_total") == 1
    assert registry.get_sample_value("paydesk_billing_review_checked") == 1
    assert registry.get_sample_value("paydesk_billing_review_repaired_total") == 1


async def test_operators_run_it_by_hand(services: Services, guest: Subscriber) -> None:
    row = await subscribed(guest)
    await BillingSubscription.filter(id=row.id).update(cancel_at_period_end=True)
    assert await command(services) == (1, "1 subscriptions compared, 1 put right, 0 not.\n")
    assert await command(services) == (0, "1 subscriptions compared, 0 put right, 0 not.\n")
    async with exclusively(services.database, "paydesk:billing_review"):
        assert await command(services) == (2, "")


async def command(services: Services) -> tuple[int | None, str]:
    """The exit code of `manage.py reconcile-billing`, and what it says."""
    settings = services.settings
    secrets = {
        "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url,
        "STRIPE_SECRET_KEY": settings.stripe_secret_key,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", "reconcile-billing", cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            **os.environ, **{name: secret.get_secret_value() for name, secret in secrets.items()},
            "STRIPE_API_BASE": settings.stripe_api_base, "PAYDESK_LOG_LEVEL": "ERROR",
        },
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()
