"""What becomes of a subscription that nobody pays, in each way that the setting knows, and the way back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from models.dunning import Dunning, DunningStatus
from models.invoices import InvoiceStatus
from models.subscriptions import BillingSubscriptionStatus
from services.dunning.collection import collect
from services.errors import InvalidState
from services.subscriptions.ending import resume_subscription
from settings import DunningEnd
from tests.services.dunning.conftest import Debtor, in_debt, with_settings
from tests.support.billing import DAY
from tests.support.shop import as_user

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

Status = BillingSubscriptionStatus


async def exhausted(services: Services, sandbox: Sandbox, clock: Clock, end: DunningEnd) -> Debtor:
    """A guest whose last try has failed, by a short schedule."""
    debtor = await in_debt(with_settings(services, dunning_end=end, dunning_days=(1, 4)), sandbox, clock)
    await debtor.renewal_fails()
    assert await debtor.features() == ["priority"]
    assert await debtor.days(5, step=1) == [1, 5]
    await debtor.work()
    assert (await debtor.dunning()).status is DunningStatus.EXHAUSTED
    return debtor


async def test_cancel_ends_the_subscription_and_writes_off_what_is_owed(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await exhausted(services, sandbox, clock, DunningEnd.CANCEL)
    subscription = await debtor.subscription()
    assert (subscription.status, subscription.entitled_until) == (Status.CANCELED, None)
    assert (await debtor.invoice()).status is InvoiceStatus.UNCOLLECTIBLE
    assert (await debtor.dunning()).ended_as == "cancel"
    assert await debtor.features() == []
    assert await debtor.guest.balance("UNCOLLECTIBLE") == 1000
    assert await debtor.guest.balance("RECEIVABLES") == 0
    await debtor.rests()


async def test_unpaid_keeps_the_invoice_open_and_charges_nothing_more(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await exhausted(services, sandbox, clock, DunningEnd.UNPAID)
    subscription = await debtor.subscription()
    assert (subscription.status, subscription.entitled_until) == (Status.UNPAID, None)
    assert subscription.unpaid_since is not None
    assert (await debtor.invoice()).status is InvoiceStatus.OPEN
    assert await debtor.features() == []
    before = len(await debtor.charges())
    await debtor.renew()
    await debtor.work()
    assert (await debtor.invoice()).status is InvoiceStatus.DRAFT
    assert len(await debtor.charges()) == before
    assert (await debtor.subscription()).status is Status.UNPAID
    assert await Dunning.all().count() == 1
    await debtor.rests()


async def test_paying_what_was_left_unpaid_brings_the_subscription_back_at_once(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await exhausted(services, sandbox, clock, DunningEnd.UNPAID)
    result = await debtor.retry()
    assert result.error is None
    subscription = await debtor.subscription()
    assert (subscription.status, subscription.unpaid_since, subscription.paused_at) == (Status.ACTIVE, None, None)
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    assert (await debtor.guest.theirs(debtor.row))["pause_collection"] is None
    assert await debtor.features() == ["priority"]
    await debtor.guest.deliver()
    await debtor.behaves_as("pm_card_visa")
    await debtor.renew()
    assert (await debtor.invoice()).status is InvoiceStatus.PAID
    await debtor.rests()


async def test_what_was_left_unpaid_and_is_paid_at_stripe_comes_back_with_the_next_job(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await exhausted(services, sandbox, clock, DunningEnd.UNPAID)
    await debtor.behaves_as("pm_card_visa")
    await sandbox.post(f"/v1/invoices/{(await debtor.invoice()).stripe_invoice_id}/pay")
    await debtor.guest.deliver()
    assert await debtor.features() == ["priority"]
    await debtor.work()
    assert (await debtor.subscription()).status is Status.ACTIVE
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    assert await collect(debtor.services) == 0
    await debtor.rests()


async def test_after_months_unpaid_only_the_period_under_way_is_charged(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await exhausted(services, sandbox, clock, DunningEnd.UNPAID)
    await debtor.renew()
    await debtor.renew()
    await debtor.guest.let_pass(DAY)
    await debtor.behaves_as("pm_card_visa")
    owed = next(invoice for invoice in await debtor.guest.invoices() if invoice.status is InvoiceStatus.OPEN)
    await sandbox.post(f"/v1/invoices/{owed.stripe_invoice_id}/pay")
    await debtor.guest.deliver()
    await debtor.work()
    await debtor.guest.let_pass(2 * 3600)
    await debtor.guest.deliver()
    statuses = [invoice.status for invoice in await debtor.guest.invoices()]
    paid = InvoiceStatus.PAID
    assert statuses == [paid, paid, InvoiceStatus.DRAFT, paid]
    assert (await debtor.subscription()).status is Status.ACTIVE
    assert await debtor.features() == ["priority"]
    await debtor.rests()


async def test_pause_gives_up_what_is_owed_and_grants_nothing_until_it_is_paid_for_again(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await exhausted(services, sandbox, clock, DunningEnd.PAUSE)
    assert (await debtor.subscription()).status is Status.PAUSED
    assert (await debtor.invoice()).status is InvoiceStatus.UNCOLLECTIBLE
    assert await debtor.features() == []
    await debtor.renew()
    assert (await debtor.invoice()).status is InvoiceStatus.VOID
    await debtor.guest.let_pass(DAY)
    await resume_subscription(
        debtor.services, viewer=as_user(debtor.guest.user), subscription_id=debtor.row.id, idempotency_key=str(uuid4())
    )
    await debtor.guest.deliver()
    assert (await debtor.subscription()).status is Status.ACTIVE
    # Nobody has paid for this month: the features are back with the next one.
    assert await debtor.features() == []
    await debtor.behaves_as("pm_card_visa")
    await debtor.renew()
    assert (await debtor.invoice()).status is InvoiceStatus.PAID
    assert await debtor.features() == ["priority"]
    await debtor.rests()


async def test_a_payment_in_the_last_moment_ends_nothing(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    debtor = await in_debt(with_settings(services, dunning_days=(1,)), sandbox, clock)
    await debtor.renewal_fails("pm_card_chargeDeclinedLostCard")
    await debtor.work()
    await debtor.guest.let_pass(DAY)
    await debtor.behaves_as("pm_card_visa")
    await sandbox.post(f"/v1/invoices/{(await debtor.invoice()).stripe_invoice_id}/pay")
    await collect(debtor.services)
    assert (await debtor.subscription()).status is Status.ACTIVE
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    await debtor.guest.deliver()
    await debtor.rests()


async def test_all_that_is_owed_ends_with_a_subscription_that_renews_faster_than_it_is_dunned(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await in_debt(with_settings(services, dunning_days=(5, 30)), sandbox, clock)
    first = await debtor.renewal_fails()
    await debtor.days(5, step=1)
    await debtor.renew()
    second = await debtor.dunning()
    assert second.id != first.id
    assert (await debtor.subscription()).past_due_since == first.first_failed_at - timedelta(hours=1)
    while (await debtor.subscription()).status is not Status.CANCELED:
        await debtor.days(1, step=1)
    assert {dunning.status for dunning in await Dunning.all()} == {DunningStatus.EXHAUSTED, DunningStatus.CLOSED}
    assert [invoice.status for invoice in await debtor.guest.invoices()][1:] == [InvoiceStatus.UNCOLLECTIBLE] * 2
    assert await debtor.guest.balance("UNCOLLECTIBLE") == 2000
    await debtor.rests()


async def test_a_guest_s_own_change_that_is_under_way_comes_first(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await in_debt(with_settings(services, dunning_days=()), sandbox, clock)
    await debtor.renewal_fails()
    operation = await services.database.pool.fetchval(
        """
        INSERT INTO operations (id, caller, idempotency_key, kind, arguments_hash, arguments, subject_id, status,
            attempts, leased_until)
        VALUES (gen_random_uuid(), 'user:guest', 'key', 'cancel_subscription', '', '{}', $1, 'RUNNING', 0, $2)
        RETURNING id
        """,
        debtor.row.id, clock() + timedelta(hours=1),
    )  # fmt: skip
    await collect(debtor.services)
    assert (await debtor.dunning()).status is DunningStatus.TRYING
    await services.database.pool.execute("DELETE FROM operations WHERE id = $1", operation)
    await collect(debtor.services)
    assert (await debtor.subscription()).status is Status.CANCELED
    await debtor.guest.deliver()
    await debtor.rests()


async def test_a_payment_that_was_given_up_cannot_be_tried_by_hand(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await exhausted(services, sandbox, clock, DunningEnd.CANCEL)
    before = len(await debtor.charges())
    with pytest.raises(InvalidState, match="cannot be tried again"):
        await debtor.retry()
    assert len(await debtor.charges()) == before
