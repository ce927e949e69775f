"""A pause over a renewal: nobody pays for the period that begins meanwhile, and so nobody has it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from models.money import Money
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.errors import InvalidState

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
