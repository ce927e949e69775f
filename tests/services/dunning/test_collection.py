"""Failed renewals from the first failure to the end, with Stripe's own retries switched on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from models.dunning import Dunning, DunningStatus
from models.invoices import InvoiceStatus
from models.payments import PaymentStatus
from models.subscriptions import BillingSubscriptionStatus
from services.dunning.collection import collect
from tests.services.dunning.conftest import Debtor, in_debt, with_settings
from tests.support.billing import DAY
from tests.support.rows import add_dunning, add_invoice, add_operation, add_plan, add_subscription, add_user

if TYPE_CHECKING:
    from datetime import datetime

    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

Status = BillingSubscriptionStatus


async def test_a_renewal_is_tried_on_the_days_of_the_schedule_and_no_other(debtor: Debtor) -> None:
    dunning = await debtor.renewal_fails()
    assert (await debtor.subscription()).status is Status.PAST_DUE
    assert dunning.retries == 0
    assert dunning.message.startswith("Your bank declined the payment")
    assert debtor.day(dunning.next_attempt_at, dunning.first_failed_at) == 2
    assert debtor.day(dunning.ends_at, dunning.first_failed_at) == 21
    assert (await debtor.subscription()).next_payment_attempt == dunning.next_attempt_at
    assert await debtor.days(22, step=0.5) == [2, 7, 14, 21]
    dunning = await debtor.dunning()
    assert (dunning.status, dunning.retries) == (DunningStatus.EXHAUSTED, 4)
    subscription = await debtor.subscription()
    assert (subscription.status, subscription.next_payment_attempt) == (Status.CANCELED, None)
    assert (await debtor.invoice()).status is InvoiceStatus.UNCOLLECTIBLE
    assert await debtor.guest.balance("UNCOLLECTIBLE") == 1000
    assert await debtor.told() == ["failed"] * 5 + ["exhausted"]
    assert await debtor.days(10, step=2) == []
    await debtor.rests()


async def test_a_retry_that_is_paid_ends_it(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    assert await debtor.days(3, step=1) == [2]
    await debtor.behaves_as("pm_card_visa")
    assert await debtor.days(8, step=1) == [4]
    dunning, subscription = await debtor.dunning(), await debtor.subscription()
    assert (dunning.status, dunning.next_attempt_at) == (DunningStatus.RECOVERED, None)
    assert (subscription.status, subscription.next_payment_attempt) == (Status.ACTIVE, None)
    assert (await debtor.invoice()).status is InvoiceStatus.PAID
    assert await debtor.told() == ["failed", "failed", "recovered"]
    await debtor.rests()


async def an_older_one_of_nobody(debtor: Debtor) -> Dunning:
    """Another guest's, which Stripe does not know; it is due far later."""
    async with debtor.services.database.transaction() as connection:
        subscription = await add_subscription(connection, await add_user(connection), await add_plan(connection))
        invoice = await add_invoice(connection, subscription, auto_advance=False, attempt_count=1)
        return await add_dunning(connection, invoice, next_attempt_at=debtor.guest.clock() + timedelta(days=90))


async def test_one_that_always_fails_does_not_keep_the_next_page_waiting(debtor: Debtor) -> None:
    lost = await an_older_one_of_nobody(debtor)
    await debtor.renewal_fails()
    await collect(debtor.services)
    await debtor.behaves_as("pm_card_visa")
    await debtor.guest.let_pass(2 * DAY)
    await Dunning.filter(id=lost.id).update(next_attempt_at=debtor.guest.clock() - timedelta(days=1))
    await collect(debtor.services, limit=1)
    assert (await debtor.invoice()).status is InvoiceStatus.PAID
    assert (await Dunning.get(id=lost.id)).retries == 0


async def test_a_bug_with_one_is_counted_and_keeps_no_other_waiting(debtor: Debtor) -> None:
    lost = await an_older_one_of_nobody(debtor)
    await debtor.renewal_fails()
    await collect(debtor.services)
    await debtor.behaves_as("pm_card_visa")
    await debtor.guest.let_pass(2 * DAY)
    await Dunning.filter(id=lost.id).update(next_attempt_at=debtor.guest.clock() - timedelta(days=1))
    asked = count()

    def clock() -> datetime:
        if next(asked) == 1:  # the job itself asks first
            raise RuntimeError("a bug")
        return debtor.guest.clock()

    await collect(replace(debtor.services, clock=clock), limit=1)
    assert (await debtor.invoice()).status is InvoiceStatus.PAID
    assert (await Dunning.get(id=lost.id)).retries == 0
    assert debtor.services.metrics.job_failures.labels("dunning")._value.get() == 1


async def test_a_job_that_was_away_makes_one_try_and_goes_on_from_there(debtor: Debtor) -> None:
    first = (await debtor.renewal_fails()).first_failed_at
    await debtor.work()
    await debtor.guest.let_pass(4 * DAY)
    await debtor.guest.deliver()
    await debtor.work()
    await debtor.work()
    dunning = await debtor.dunning()
    assert len(await debtor.charges()) == 3
    assert dunning.retries == 1
    assert (debtor.day(dunning.next_attempt_at, first), debtor.day(dunning.ends_at, first)) == (9, 23)
    assert await debtor.days(6, step=1) == [5]
    await debtor.rests()


async def test_stripe_s_own_retries_are_off_before_ours_begin(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    assert (await debtor.invoice()).next_payment_attempt is not None
    await collect(debtor.services)
    invoice = await debtor.invoice()
    assert (invoice.auto_advance, invoice.next_payment_attempt) == (False, None)
    theirs = await debtor.guest.sandbox.get(f"/v1/invoices/{invoice.stripe_invoice_id}")
    assert (theirs["auto_advance"], theirs["next_payment_attempt"]) == (False, None)
    await debtor.rests()


async def test_nothing_is_tried_while_stripe_still_might(debtor: Debtor) -> None:
    """Somebody turns Stripe's retries on again: a try of ours waits until they are off."""
    await debtor.renewal_fails()
    await debtor.work()
    await debtor.guest.let_pass(2 * DAY)
    invoice = await debtor.invoice()
    await debtor.guest.sandbox.post(f"/v1/invoices/{invoice.stripe_invoice_id}", {"auto_advance": True})
    before = len(await debtor.charges())
    await collect(debtor.services)  # no webhook has told of it
    assert len(await debtor.charges()) == before
    assert (await debtor.invoice()).auto_advance
    await collect(debtor.services)
    assert not (await debtor.invoice()).auto_advance
    assert len(await debtor.charges()) == before
    debtor.guest.clock.forward(seconds=120)
    await debtor.work()
    assert len(await debtor.charges()) == before + 1
    assert (await debtor.dunning()).retries == 1
    await debtor.guest.deliver()
    await debtor.rests()


async def test_where_stripe_retries_paydesk_only_follows(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    debtor = await in_debt(with_settings(services, dunning_by="stripe"), sandbox, clock)
    dunning = await debtor.renewal_fails()
    first = dunning.first_failed_at
    assert (dunning.by_stripe, dunning.ends_at) == (True, None)
    assert debtor.day(dunning.next_attempt_at, first) == 3
    # The sandbox's account retries after 3, 5 and 7 days, and then cancels.
    assert await debtor.days(17, step=1) == [3, 8, 15]
    assert (await debtor.subscription()).status is Status.CANCELED
    assert (await debtor.dunning()).status is DunningStatus.CLOSED
    assert [request["path"] for request in await sandbox.requests_to("/v1/invoices/") if request["method"] == "POST"
            and (await debtor.invoice()).stripe_invoice_id in request["path"]] == []  # fmt: skip
    await debtor.rests()


async def test_what_stripe_recovers_is_recovered(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    debtor = await in_debt(with_settings(services, dunning_by="stripe"), sandbox, clock)
    await debtor.renewal_fails()
    assert await debtor.days(4, step=1) == [3]
    dunning = await debtor.dunning()
    assert (dunning.retries, debtor.day(dunning.next_attempt_at, dunning.first_failed_at)) == (1, 8)
    await debtor.behaves_as("pm_card_visa")
    assert await debtor.days(5, step=1) == [4]
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    assert (await debtor.subscription()).status is Status.ACTIVE
    await debtor.rests()


@pytest.mark.parametrize("test", ["pm_card_chargeDeclinedLostCard", "pm_card_chargeDeclinedStolenCard"])
async def test_a_card_that_will_never_do_is_not_tried_again_and_the_end_comes_all_the_same(
    debtor: Debtor, test: str
) -> None:
    first = (await debtor.renewal_fails(test)).first_failed_at
    dunning = await debtor.dunning()
    assert (dunning.retryable, dunning.next_attempt_at) == (False, None)
    assert debtor.day(dunning.ends_at, first) == 21
    assert await debtor.days(20, step=2) == []
    assert (await debtor.subscription()).status is Status.PAST_DUE
    assert await debtor.days(2, step=1) == []
    assert (await debtor.subscription()).status is Status.CANCELED
    await debtor.rests()


async def test_another_default_method_is_tried_at_once(debtor: Debtor) -> None:
    await debtor.renewal_fails("pm_card_chargeDeclinedLostCard")
    await debtor.work()
    await debtor.guest.let_pass(10 * DAY)
    await debtor.guest.give("pm_card_mastercard")
    before = len(await debtor.charges())
    await debtor.guest.deliver()
    await debtor.work()
    assert len(await debtor.charges()) == before + 1
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    assert (await debtor.subscription()).status is Status.ACTIVE
    assert await debtor.told() == ["failed", "new_method", "recovered"]
    await debtor.rests()


async def test_a_try_with_another_method_ahead_of_time_does_not_count(debtor: Debtor) -> None:
    first = (await debtor.renewal_fails()).first_failed_at
    await debtor.work()
    await debtor.guest.let_pass(DAY)
    method = await debtor.guest.give("pm_card_visa")
    await debtor.guest.sandbox.act(f"payment_methods/{method}/behave_as", test="pm_card_chargeCustomerFail")
    before = len(await debtor.charges())
    await debtor.guest.deliver()
    await debtor.work()
    await debtor.work()
    dunning = await debtor.dunning()
    assert len(await debtor.charges()) == before + 1
    assert (dunning.retries, dunning.payment_method) == (0, method)
    assert (debtor.day(dunning.next_attempt_at, first), debtor.day(dunning.ends_at, first)) == (2, 21)
    assert await debtor.days(21, step=1) == [1, 6, 13, 20]
    assert (await debtor.subscription()).status is Status.CANCELED
    await debtor.rests()


async def test_what_the_bank_wants_confirmed_waits_for_the_guest(debtor: Debtor) -> None:
    dunning = await debtor.renewal_fails("pm_card_authenticationRequired")
    assert (dunning.failure_code, dunning.retryable) == ("authentication_required", False)
    assert dunning.next_attempt_at is None
    assert (await debtor.subscription()).status is Status.PAST_DUE
    assert await debtor.days(5, step=1) == []
    payment = (await debtor.guest.payments())[-1]
    await debtor.guest.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    await debtor.guest.deliver()
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    assert (await debtor.subscription()).status is Status.ACTIVE
    await debtor.rests()


async def test_what_a_guest_tries_by_hand_does_not_count(debtor: Debtor) -> None:
    first = (await debtor.renewal_fails()).first_failed_at
    await debtor.work()
    await debtor.guest.let_pass(DAY)
    result = await debtor.retry("pm_card_chargeCustomerFail")
    assert result.error is not None
    await debtor.guest.deliver()
    dunning = await debtor.dunning()
    assert dunning.retries == 0
    assert (debtor.day(dunning.next_attempt_at, first), debtor.day(dunning.ends_at, first)) == (2, 21)
    assert await debtor.days(7, step=1) == [1, 6]
    result = await debtor.retry("pm_card_visa")
    assert (result.error, result.payment.status) == (None, PaymentStatus.SUCCEEDED)
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    assert (await debtor.subscription()).status is Status.ACTIVE
    await debtor.guest.deliver()
    await debtor.rests()


async def test_an_invoice_that_was_paid_unnoticed_is_not_paid_again(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    await debtor.work()
    await debtor.guest.let_pass(2 * DAY)
    await debtor.behaves_as("pm_card_visa")
    invoice = await debtor.invoice()
    await debtor.guest.sandbox.post(f"/v1/invoices/{invoice.stripe_invoice_id}/pay")
    before = len(await debtor.charges())
    await collect(debtor.services)
    assert len(await debtor.charges()) == before
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    await debtor.guest.deliver()
    await debtor.rests()


async def test_a_debit_that_is_under_way_is_left_to_the_bank(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    await debtor.work()
    attached = await debtor.guest.give("pm_usBankAccount_processing")
    await debtor.guest.deliver()
    await debtor.work()
    assert (await debtor.guest.payments())[-1].status is PaymentStatus.PROCESSING
    assert (await debtor.dunning()).payment_method == attached
    count = len(await debtor.charges())
    assert await debtor.days(23, step=1) == []
    assert len(await debtor.charges()) == count
    assert (await debtor.dunning()).status is DunningStatus.TRYING
    await debtor.rests()


@pytest.mark.parametrize("status", ["RUNNING", "PARKED"])
async def test_nothing_is_tried_while_nobody_knows_what_became_of_the_last_try(debtor: Debtor, status: str) -> None:
    await debtor.renewal_fails()
    await debtor.work()
    await debtor.guest.let_pass(2 * DAY)
    values = {"subject_id": (await debtor.invoice()).id, "kind": "pay_invoice", "status": status}
    last = await add_operation(debtor.services.database.pool, **values)
    count = len(await debtor.charges())
    assert await collect(debtor.services) == 0
    assert len(await debtor.charges()) == count
    await debtor.services.database.pool.execute("DELETE FROM operations WHERE id = $1", last.id)
    assert await collect(debtor.services) == 1
    assert len(await debtor.charges()) == count + 1


async def test_the_first_invoice_is_stripe_s_alone(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    debtor = await in_debt(services, sandbox, clock)
    await debtor.behaves_as("pm_card_chargeCustomerFail")
    row = await debtor.guest.subscribe(await debtor.guest.plan())
    await debtor.guest.deliver()
    assert (await debtor.guest.now(row)).status is Status.INCOMPLETE
    assert await Dunning.all().count() == 0
    assert await collect(services) == 0


async def test_a_subscription_that_was_canceled_is_dunned_no_more(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    await debtor.work()
    await debtor.guest.sandbox.delete(f"/v1/subscriptions/{(await debtor.subscription()).stripe_subscription_id}")
    await debtor.guest.deliver()
    await debtor.work()
    assert (await debtor.dunning()).status is DunningStatus.CLOSED
    assert (await debtor.subscription()).next_payment_attempt is None
    assert await debtor.days(3, step=1) == []
    await debtor.rests()


async def test_without_a_schedule_the_first_failure_is_the_end(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await in_debt(with_settings(services, dunning_days=()), sandbox, clock)
    dunning = await debtor.renewal_fails()
    assert dunning.ends_at == dunning.first_failed_at
    before = len(await debtor.charges())
    await debtor.work()
    assert len(await debtor.charges()) == before
    assert (await debtor.subscription()).status is Status.CANCELED
    await debtor.rests()


async def test_one_invoice_that_goes_wrong_does_not_keep_the_others_waiting(debtor: Debtor) -> None:
    other = Debtor(debtor.guest, await debtor.guest.subscribe(await debtor.guest.plan()), debtor.method)
    await debtor.guest.deliver()
    await debtor.renewal_fails()
    await debtor.work()
    # One's invoice is gone at Stripe, which nobody has thought of.
    await debtor.services.database.pool.execute(
        "UPDATE invoices SET stripe_invoice_id = 'in_gone' WHERE id = $1", (await debtor.dunning()).invoice_id
    )
    before = len(await debtor.charges())
    debtor.guest.clock.forward(seconds=2 * DAY)
    await collect(debtor.services)
    assert len(await debtor.charges()) == before + 1
    assert ((await debtor.dunning()).retries, (await other.dunning()).retries) == (0, 1)
