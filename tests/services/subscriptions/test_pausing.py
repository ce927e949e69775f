"""A pause over a renewal: nobody pays for the period that begins meanwhile, and so nobody has it."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from models.money import Money
from models.payments import Payment, PaymentStatus
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.errors import CardDeclined, InvalidState, StripeUnavailable
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from tests.support.catalogue import Catalogue
    from tests.support.membership import Member

STATUS = BillingSubscriptionStatus
HOUR = 1 / 24


async def to_the_renewal(member: Member, subscription: BillingSubscription, *, days: float) -> None:
    """To so many days after the period's end."""
    ends_at = (await member.now(subscription)).current_period_end
    assert ends_at is not None
    await member.days((ends_at - member.subscriber.clock()) / timedelta(days=1) + days)


async def is_entitled(member: Member, subscription: BillingSubscription) -> bool:
    return (await member.now(subscription)).is_entitled(member.subscriber.clock())


@pytest.mark.parametrize("hours", [0.2, 2])
async def test_a_pause_that_ends_by_itself_after_the_renewal_grants_nothing_until_the_next_one_is_paid(
    member: Member, catalogue: Catalogue, hours: float
) -> None:
    subscription = await member.subscribe(await catalogue.plan())
    assert subscription.current_period_end is not None
    await member.pause(subscription, until=subscription.current_period_end + timedelta(hours=hours))
    await to_the_renewal(member, subscription, days=3 * HOUR)
    now = await member.now(subscription)
    assert (now.status, now.entitled_until) == (STATUS.ACTIVE, subscription.current_period_end)
    await member.days(10)
    assert not await is_entitled(member, subscription)
    await to_the_renewal(member, subscription, days=2 * HOUR)
    assert await is_entitled(member, subscription)
    assert await member.charged() == [1000, 1000]


async def test_a_pause_that_ends_before_the_renewal_changes_nothing(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan())
    await member.pause(subscription)
    await member.days(10)
    now = (await member.resume(subscription)).subscription
    assert now.is_entitled(member.subscriber.clock())
    await to_the_renewal(member, subscription, days=2 * HOUR)
    assert await is_entitled(member, subscription)
    assert await member.charged() == [1000, 1000]
    await member.check()


@pytest.mark.parametrize("hours", [0.2, 24])
async def test_a_free_plan_is_granted_again_as_soon_as_it_is_resumed(
    member: Member, catalogue: Catalogue, hours: float
) -> None:
    subscription = await member.subscribe(await catalogue.plan(price=Money(0, "USD")), None)
    await member.pause(subscription)
    await to_the_renewal(member, subscription, days=hours * HOUR)
    assert not await is_entitled(member, subscription)
    await member.resume(subscription)
    assert await is_entitled(member, subscription)
    await member.check()


async def test_a_renewal_that_the_platform_forgives_after_it_failed_is_granted(
    member: Member, catalogue: Catalogue
) -> None:
    subscription = await member.subscribe(await catalogue.plan())
    await member.subscriber.give("pm_card_chargeCustomerFail")
    await to_the_renewal(member, subscription, days=2 * HOUR)
    assert (await member.now(subscription)).status is STATUS.PAST_DUE
    await member.sandbox.post(f"/v1/invoices/{(await member.now(subscription)).latest_invoice}/void")
    await member.days(10)
    now = await member.now(subscription)
    assert (now.status, now.is_entitled(member.subscriber.clock())) == (STATUS.ACTIVE, True)


async def test_time_that_nobody_paid_for_is_not_given_back_for_a_dearer_plan(
    member: Member, catalogue: Catalogue
) -> None:
    subscription = await member.subscribe(await catalogue.plan(price=Money(10_000, "USD")))
    dearer = await catalogue.plan(price=Money(10_100, "USD"))
    assert subscription.current_period_end is not None
    await member.pause(subscription, until=subscription.current_period_end + timedelta(hours=2))
    await to_the_renewal(member, subscription, days=3 * HOUR)
    for asking in (member.change, member.preview):
        with pytest.raises(InvalidState) as error:
            await asking(subscription, dearer)
        assert (error.value.state, "resume" in str(error.value)) == ("ACTIVE", True)
    assert await member.charged() == [10_000]
    assert not await is_entitled(member, subscription)


# --- going on -------------------------------------------------------------------------------------------------------


async def paused_over_the_renewal(member: Member, catalogue: Catalogue) -> BillingSubscription:
    subscription = await member.subscribe(await catalogue.plan())
    await member.pause(subscription)
    await to_the_renewal(member, subscription, days=5)
    return subscription


async def test_what_is_resumed_in_a_period_that_nobody_paid_for_begins_a_new_one_which_is_paid(
    member: Member, catalogue: Catalogue
) -> None:
    subscription = await paused_over_the_renewal(member, catalogue)
    result = await member.resume(subscription)
    begun, now = member.subscriber.clock(), result.subscription
    assert (result.error, now.status, now.is_entitled(begun)) == (None, STATUS.ACTIVE, True)
    assert now.current_period_start is not None
    assert abs(now.current_period_start - begun) < timedelta(minutes=1)
    assert await member.charged() == [1000, 1000]
    with pytest.raises(InvalidState):
        await member.resume(subscription)
    await to_the_renewal(member, subscription, days=2 * HOUR)
    assert await is_entitled(member, subscription)
    assert await member.charged() == [1000, 1000, 1000]
    await member.check()


async def test_pausing_over_each_renewal_is_no_way_to_pay_once(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan())
    for times in range(3):
        await to_the_renewal(member, subscription, days=-HOUR)
        await member.pause(subscription)
        await to_the_renewal(member, subscription, days=0.2 * HOUR)
        assert not await is_entitled(member, subscription)
        assert (await member.resume(subscription)).error is None
        assert await is_entitled(member, subscription)
        assert len(await member.charged()) == times + 2


async def test_what_the_bank_declines_goes_on_without_the_features_until_it_is_paid(
    member: Member, catalogue: Catalogue
) -> None:
    subscription = await paused_over_the_renewal(member, catalogue)
    await member.subscriber.give("pm_card_chargeCustomerFail")
    await member.subscriber.deliver()
    result = await member.resume(subscription)
    assert isinstance(result.error, CardDeclined)
    assert (result.subscription.status, await is_entitled(member, subscription)) == (STATUS.ACTIVE, False)
    await member.subscriber.give("pm_card_visa")
    await member.subscriber.deliver()
    assert not await is_entitled(member, subscription)
    assert (await member.resume(subscription)).error is None
    assert await is_entitled(member, subscription)
    assert await member.charged() == [1000, 1000]
    await member.subscriber.deliver()
    await member.check()


async def test_what_was_confirmed_in_the_meantime_is_not_charged_again(member: Member, catalogue: Catalogue) -> None:
    subscription = await paused_over_the_renewal(member, catalogue)
    await member.subscriber.give("pm_card_authenticationRequired")
    await member.subscriber.deliver()
    now = (await member.resume(subscription)).subscription
    assert now.client_secret is not None
    assert not now.is_entitled(member.subscriber.clock())
    waiting = await Payment.get(payer_id=now.user_id, status=PaymentStatus.REQUIRES_ACTION)
    assert waiting.stripe_payment_intent_id is not None
    await member.sandbox.authenticate(waiting.stripe_payment_intent_id)
    # The webhook of that has not come yet.
    assert isinstance((await member.resume(subscription)).error, InvalidState)
    assert await member.charged() == [1000, 1000]
    assert await is_entitled(member, subscription)
    await member.subscriber.deliver()
    await member.check()


async def test_what_is_nearly_over_goes_on_with_the_next_period(member: Member, catalogue: Catalogue) -> None:
    subscription = await paused_over_the_renewal(member, catalogue)
    await to_the_renewal(member, subscription, days=-0.9)
    assert (await member.resume(subscription)).error is None
    assert not await is_entitled(member, subscription)
    assert await member.charged() == [1000]
    await to_the_renewal(member, subscription, days=2 * HOUR)
    assert await is_entitled(member, subscription)
    assert await member.charged() == [1000, 1000]
    await member.check()


async def test_a_planned_change_that_has_begun_while_it_was_paused_stays(member: Member, catalogue: Catalogue) -> None:
    cheaper = await catalogue.plan(price=Money(500, "USD"))
    subscription = await member.subscribe(await catalogue.plan())
    await member.change(subscription, cheaper)
    await member.pause(subscription)
    await to_the_renewal(member, subscription, days=5)
    now = (await member.resume(subscription)).subscription
    assert (now.plan_id, now.is_entitled(member.subscriber.clock())) == (cheaper.id, True)
    assert await member.charged() == [1000, 500]
    await to_the_renewal(member, subscription, days=2 * HOUR)
    assert await member.charged() == [1000, 500, 500]
    await member.check()


async def test_a_method_is_needed_to_begin_a_new_period(member: Member, catalogue: Catalogue) -> None:
    subscription = await paused_over_the_renewal(member, catalogue)
    [method] = await member.sandbox.every(f"/v1/customers/{member.subscriber.customer}/payment_methods")
    await member.sandbox.post(f"/v1/payment_methods/{method['id']}/detach")
    await member.subscriber.deliver()
    with pytest.raises(InvalidState, match="save a payment method"):
        await member.resume(subscription)
    assert (await member.now(subscription)).status is STATUS.PAUSED


@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "rate_500"])
@pytest.mark.parametrize("hours", [0, 30])
async def test_a_new_period_is_charged_once_whatever_stripe_answers(
    member: Member, catalogue: Catalogue, fault: str, hours: int
) -> None:
    subscription = await paused_over_the_renewal(member, catalogue)
    await member.sandbox.faults(**{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await member.resume(subscription, key="k")
    await member.sandbox.heal()
    await member.services.database.pool.execute(
        "UPDATE operation_steps SET created_at = created_at - $1::interval WHERE answered_at IS NULL",
        timedelta(hours=hours),
    )
    await member.recover()
    assert (await member.resume(subscription, key="k")).error is None
    assert await is_entitled(member, subscription)
    assert await member.charged() == [1000, 1000]


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("call", range(2))
async def test_a_new_period_is_charged_once_wherever_a_process_ends(
    member: Member, catalogue: Catalogue, boundary: Boundary, call: int
) -> None:
    subscription = await paused_over_the_renewal(member, catalogue)
    trap = Trap()
    async with trapped(member.services, trap, member.sandbox) as services:
        trap.arm(Trouble.crash(boundary, call))
        trap.begin()
        with suppress(Crash):
            await member.through(services).resume(subscription, key="k")
    await member.recover()
    assert (await member.resume(subscription, key="k")).error is None
    assert await is_entitled(member, subscription)
    assert await member.charged() == [1000, 1000]
