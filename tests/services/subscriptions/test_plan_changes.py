"""Another plan: a dearer one at once and once it is paid, a cheaper one when the period ends, and nothing half."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.base import new_id
from models.money import Money
from models.operations import Operation, OperationStatus
from models.plans import PlanInterval
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.errors import (
    CardDeclined,
    DomainError,
    InvalidInput,
    InvalidState,
    NotFound,
    OperationInProgress,
    StripeUnavailable,
)
from tests.support.catalogue import SERVICE
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from models.plans import Plan
    from tests.support.catalogue import Catalogue
    from tests.support.membership import Member

STATUS = BillingSubscriptionStatus


@pytest.fixture
async def basic(catalogue: Catalogue) -> Plan:
    return await catalogue.plan(name="Basic", features=("basic",))


@pytest.fixture
async def gold(catalogue: Catalogue) -> Plan:
    return await catalogue.plan(name="Gold", price=Money(3000, "USD"), features=("gold",))


async def next_plan(member: Member, subscription: BillingSubscription) -> Any:
    """What the subscription is to change to."""
    return await member.services.database.pool.fetchval(
        "SELECT p.plan_id FROM subscriptions s JOIN plan_prices p ON p.id = s.next_price_id WHERE s.id = $1",
        subscription.id,
    )


async def schedules(member: Member) -> list[dict[str, Any]]:
    """All that were ever made for the guest, the oldest first."""
    customer = member.subscriber.customer
    return (await member.sandbox.every("/v1/subscription_schedules", {"customer": customer}))[::-1]


async def refused(member: Member, subscription: BillingSubscription, plan: Plan, **values: Any) -> DomainError:
    """Why it cannot be changed, with nothing moved here or at Stripe."""
    before = await member.now(subscription)
    theirs, made = await member.at_stripe(), await schedules(member)
    with pytest.raises((InvalidState, InvalidInput, NotFound)) as error:
        await member.change(subscription, plan, **values)
    assert (await member.now(subscription)).version == before.version
    assert (await member.at_stripe(), await schedules(member)) == (theirs, made)
    preview = values.get("viewer") or member.viewer
    with pytest.raises(type(error.value)):
        await member.preview(subscription, plan, viewer=preview)
    return error.value


# --- up -------------------------------------------------------------------------------------------------------------


async def test_a_dearer_plan_begins_at_once_and_the_rest_of_the_period_is_set_off(
    member: Member, basic: Plan, gold: Plan
) -> None:
    subscription = await member.subscribe(basic)
    await member.days(10)
    preview = await member.preview(subscription, gold)
    assert (preview.immediately, preview.next_invoice) == (True, Money(3000, "USD"))
    assert preview.due_now.minor > preview.credit.minor > 0
    assert await member.charged() == [1000]
    result = await member.change(subscription, gold)
    assert result.error is None
    assert (result.subscription.plan_id, result.subscription.status) == (gold.id, STATUS.ACTIVE)
    assert await member.charged() == [1000, preview.due_now.minor]
    assert result.subscription.current_period_end == subscription.current_period_end
    await member.check()
    await member.subscriber.deliver()
    await member.check()
    await member.days(32)
    assert (await member.charged())[2:] == [3000]
    await member.check()


async def test_a_dearer_plan_that_needs_three_d_secure_is_there_once_it_is_confirmed(
    member: Member, basic: Plan, gold: Plan
) -> None:
    subscription = await member.subscribe(basic)
    await member.subscriber.give("pm_card_authenticationRequired")
    await member.days(10)
    result = await member.change(subscription, gold)
    assert result.error is None
    assert (result.subscription.plan_id, result.subscription.status) == (basic.id, STATUS.ACTIVE)
    assert await next_plan(member, subscription) == gold.id
    assert result.subscription.client_secret is not None
    assert await member.charged() == [1000]
    await member.sandbox.authenticate(result.subscription.client_secret.partition("_secret_")[0])
    await member.subscriber.deliver()
    now = await member.now(subscription)
    assert (now.plan_id, now.next_price_id, now.client_secret) == (gold.id, None, None)
    assert len(await member.charged()) == 2
    await member.check()


async def test_a_declined_upgrade_leaves_the_old_plan_and_can_be_taken_back(
    member: Member, basic: Plan, gold: Plan
) -> None:
    subscription = await member.subscribe(basic)
    await member.subscriber.give("pm_card_chargeCustomerFail")
    await member.days(10)
    result = await member.change(subscription, gold, key="k")
    assert isinstance(result.error, CardDeclined)
    assert (result.subscription.plan_id, result.subscription.status) == (basic.id, STATUS.ACTIVE)
    assert result.subscription.is_entitled(member.subscriber.clock())
    again = await member.change(subscription, gold, key="k")
    assert again.error is not None
    assert again.error.to_record() == result.error.to_record()
    assert isinstance(await refused(member, subscription, gold), InvalidInput)
    back = await member.change(subscription, basic)
    assert (back.error, back.subscription.next_price_id, back.subscription.client_secret) == (None, None, None)
    assert (await member.at_stripe())[0]["pending_update"] is None
    assert await member.charged() == [1000]
    await member.subscriber.deliver()
    await member.check()


async def test_an_upgrade_that_nobody_pays_lapses(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(basic)
    await member.subscriber.give("pm_card_authenticationRequired")
    await member.days(10)
    await member.change(subscription, gold)
    await member.days(1)
    now = await member.now(subscription)
    assert (now.plan_id, now.next_price_id, now.client_secret) == (basic.id, None, None)
    assert await member.charged() == [1000]
    await member.check()


async def test_a_longer_period_at_the_same_price_for_its_time_begins_at_once(
    member: Member, catalogue: Catalogue, basic: Plan
) -> None:
    yearly = await catalogue.plan(price=Money(12_000, "USD"), interval=PlanInterval.YEAR)
    subscription = await member.subscribe(basic)
    await member.days(1)
    preview = await member.preview(subscription, yearly)
    assert preview.immediately
    result = await member.change(subscription, yearly)
    assert (result.error, result.subscription.plan_id) == (None, yearly.id)
    assert (await member.charged())[1] == preview.due_now.minor
    end = result.subscription.current_period_end
    assert end is not None
    assert end - member.subscriber.clock() > timedelta(days=360)
    await member.check()


async def test_in_a_trial_every_plan_begins_at_once_and_costs_nothing_yet(
    member: Member, catalogue: Catalogue, basic: Plan
) -> None:
    tried = await catalogue.plan(price=Money(2000, "USD"), trial_days=14)
    subscription = await member.subscribe(tried)
    preview = await member.preview(subscription, basic)
    assert (preview.immediately, preview.due_now, preview.credit) == (True, Money(0, "USD"), Money(0, "USD"))
    assert preview.next_invoice == Money(1000, "USD")
    result = await member.change(subscription, basic)
    assert (result.error, result.subscription.plan_id, result.subscription.status) == (None, basic.id, STATUS.TRIALING)
    assert result.subscription.trial_end == subscription.trial_end
    assert await member.charged() == []
    await member.check()
    await member.days(14.1)
    assert await member.charged() == [1000]
    await member.check()


# --- down -----------------------------------------------------------------------------------------------------------


async def test_a_cheaper_plan_takes_its_place_when_the_period_ends(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(gold)
    await member.days(10)
    preview = await member.preview(subscription, basic)
    assert (preview.immediately, preview.due_now, preview.credit) == (False, Money(0, "USD"), Money(0, "USD"))
    assert (preview.next_invoice, preview.effective_at) == (Money(1000, "USD"), subscription.current_period_end)
    result = await member.change(subscription, basic)
    assert (result.error, result.subscription.plan_id) == (None, gold.id)
    assert await next_plan(member, subscription) == basic.id
    assert await member.charged() == [3000]
    await member.subscriber.deliver()
    await member.check()
    await member.days(22)
    now = await member.now(subscription)
    assert (now.plan_id, now.next_price_id, now.status) == (basic.id, None, STATUS.ACTIVE)
    assert await member.charged() == [3000, 1000]
    await member.check()
    await member.days(31)
    await member.days(31)
    now = await member.now(subscription)
    assert (now.plan_id, now.stripe_schedule_id) == (basic.id, None)
    assert await member.charged() == [3000, 1000, 1000, 1000]
    await member.check()


async def test_a_planned_change_keeps_the_discount_and_the_method_of_the_subscription(
    member: Member, basic: Plan, gold: Plan
) -> None:
    await member.subscriber.give("pm_card_mastercard")
    await member.subscriber.deliver()
    subscription = await member.subscribe(gold, "pm_card_visa")
    method = subscription.default_payment_method
    assert method is not None
    coupon = await member.sandbox.post("/v1/coupons", {"percent_off": 50, "duration": "forever"})
    await member.sandbox.post(
        f"/v1/subscriptions/{subscription.stripe_subscription_id}", {"discounts": [{"coupon": coupon["id"]}]}
    )
    await member.change(subscription, basic)
    await member.days(32)
    await member.days(31)
    assert await member.charged() == [3000, 500, 500]
    now = await member.now(subscription)
    assert (now.plan_id, now.default_payment_method) == (basic.id, method)
    await member.check()


async def test_from_a_free_plan_one_changes_once_there_is_something_to_pay_with(
    member: Member, catalogue: Catalogue, gold: Plan
) -> None:
    subscription = await member.subscribe(await catalogue.plan(price=Money(0, "USD")), None)
    with pytest.raises(InvalidState) as error:
        await member.change(subscription, gold)
    assert error.value.state == "ACTIVE"
    await member.subscriber.give("pm_card_visa")
    await member.subscriber.deliver()
    assert (await member.change(subscription, gold)).subscription.plan_id == gold.id
    assert await member.charged() == [3000]
    await member.check()


async def test_what_waits_for_its_payment_is_dropped_for_a_cheaper_plan(
    member: Member, catalogue: Catalogue, basic: Plan, gold: Plan
) -> None:
    cheap = await catalogue.plan(name="Cheap", price=Money(500, "USD"))
    subscription = await member.subscribe(basic)
    await member.subscriber.give("pm_card_authenticationRequired")
    await member.subscriber.deliver()
    await member.days(5)
    await member.change(subscription, gold)
    result = await member.change(subscription, cheap)
    assert (result.error, result.subscription.plan_id) == (None, basic.id)
    assert result.subscription.client_secret is None
    assert await next_plan(member, subscription) == cheap.id
    assert (await member.at_stripe())[0]["pending_update"] is None
    await member.subscriber.deliver()
    await member.check()


async def test_to_a_free_plan_one_changes_when_the_period_ends(
    member: Member, catalogue: Catalogue, gold: Plan
) -> None:
    free = await catalogue.plan(price=Money(0, "USD"))
    subscription = await member.subscribe(gold)
    assert (await member.change(subscription, free)).error is None
    await member.days(32)
    assert (await member.now(subscription)).plan_id == free.id
    assert await member.charged() == [3000]
    await member.check()


async def test_the_plan_that_it_has_takes_back_what_was_planned(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(gold)
    await member.change(subscription, basic)
    preview = await member.preview(subscription, gold)
    assert (preview.due_now, preview.next_invoice) == (Money(0, "USD"), Money(3000, "USD"))
    result = await member.change(subscription, gold)
    assert (result.error, result.subscription.next_price_id) == (None, None)
    assert [schedule["status"] for schedule in await schedules(member)] == ["released"]
    await member.days(32)
    assert await member.charged() == [3000, 3000]
    await member.check()


async def test_another_choice_replaces_what_was_planned(
    member: Member, catalogue: Catalogue, basic: Plan, gold: Plan
) -> None:
    silver = await catalogue.plan(name="Silver", price=Money(2000, "USD"))
    platinum = await catalogue.plan(name="Platinum", price=Money(6000, "USD"))
    subscription = await member.subscribe(gold)
    await member.change(subscription, basic)
    await member.change(subscription, silver)
    assert await next_plan(member, subscription) == silver.id
    assert [schedule["status"] for schedule in await schedules(member)] == ["released", "active"]
    result = await member.change(subscription, platinum)
    assert (result.error, result.subscription.plan_id) == (None, platinum.id)
    assert result.subscription.next_price_id is None
    assert [schedule["status"] for schedule in await schedules(member)] == ["released", "released"]
    await member.check()


async def test_resuming_takes_a_planned_change_back(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(gold)
    await member.change(subscription, basic)
    result = await member.resume(subscription)
    assert (result.error, result.subscription.next_price_id) == (None, None)
    assert [schedule["status"] for schedule in await schedules(member)] == ["released"]
    await member.check()


async def test_subscribers_keep_their_price_and_change_to_the_plan_s_new_one(
    member: Member, catalogue: Catalogue, basic: Plan, gold: Plan
) -> None:
    subscription = await member.subscribe(basic)
    price = subscription.price_id
    await catalogue.plan(external_id=basic.external_id, name="Basic", features=("basic",), price=Money(1500, "USD"))
    await catalogue.plan(external_id=gold.external_id, name="Gold", features=("gold",), price=Money(500, "USD"))
    await member.days(32)
    assert (await member.now(subscription)).price_id == price
    assert await member.charged() == [1000, 1000]
    assert not (await member.preview(subscription, gold)).immediately
    await member.check()


# --- refused --------------------------------------------------------------------------------------------------------


async def test_the_plan_that_it_has_and_the_one_that_is_planned_are_refused(
    member: Member, basic: Plan, gold: Plan
) -> None:
    subscription = await member.subscribe(gold)
    error = await refused(member, subscription, gold)
    assert isinstance(error, InvalidInput)
    assert error.path == ["input", "planId"]
    await member.change(subscription, basic)
    assert isinstance(await refused(member, subscription, basic), InvalidInput)


async def test_unknown_inactive_and_unaffordable_plans_are_refused(member: Member, catalogue: Catalogue) -> None:
    euros = await catalogue.plan(prices=(Money(900, "EUR"),))
    subscription = await member.subscribe(euros, currency="EUR")
    unknown: Any = type("Unknown", (), {"id": new_id()})
    dollars, inactive = await catalogue.plan(), await catalogue.plan(active=False)
    for plan, kind in ((unknown, NotFound), (dollars, InvalidInput), (inactive, InvalidInput)):
        error = await refused(member, subscription, plan)
        assert isinstance(error, kind)
        assert error.path == ["input", "planId"]


async def test_a_plan_that_another_of_the_guest_s_subscriptions_has_or_will_have_is_refused(
    member: Member, catalogue: Catalogue, basic: Plan, gold: Plan
) -> None:
    silver = await catalogue.plan(price=Money(2000, "USD"))
    first, second = await member.subscribe(gold), await member.subscribe(silver)
    assert isinstance(await refused(member, second, gold), InvalidState)
    await member.change(first, basic)
    assert isinstance(await refused(member, second, basic), InvalidState)
    with pytest.raises(InvalidState):
        await member.try_(basic)


async def test_what_is_not_running_is_told_what_to_do_first(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(basic)
    stranger = await member.another()
    waiting = (await stranger.try_(basic, "pm_card_authenticationRequired")).subscription
    error = await refused(stranger, waiting, gold)
    assert isinstance(error, InvalidState)
    assert error.state == "INCOMPLETE"
    for state, begin in (("PAUSED", member.pause), ("ACTIVE", member.cancel)):
        await begin(subscription)
        error = await refused(member, subscription, gold)
        assert isinstance(error, InvalidState)
        assert error.state == state
        assert "resume" in str(error)
        await member.resume(subscription)
    await member.cancel(subscription, now=True)
    error = await refused(member, subscription, gold)
    assert isinstance(error, InvalidState)
    assert error.state == "CANCELED"


async def test_who_owes_something_pays_first(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(basic)
    await member.subscriber.give("pm_card_chargeCustomerFail")
    await member.days(32)
    assert (await member.now(subscription)).status is STATUS.PAST_DUE
    error = await refused(member, subscription, gold)
    assert isinstance(error, InvalidState)
    assert error.state == "PAST_DUE"
    assert "pay" in str(error)


async def test_others_subscriptions_are_not_there(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(basic)
    stranger = await member.another()
    for viewer in (stranger.viewer,):
        error = await refused(member, subscription, gold, viewer=viewer)
        assert isinstance(error, NotFound)
        assert error.path == ["input", "subscriptionId"]
    result = await member.change(subscription, gold, viewer=SERVICE)
    assert result.subscription.plan_id == gold.id


# --- the same key, and at once --------------------------------------------------------------------------------------


async def test_the_same_change_many_times_at_once_is_charged_once(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(basic)
    await member.days(10)
    key = str(uuid4())
    results = await asyncio.gather(*(member.change(subscription, gold, key=key) for _ in range(20)))
    assert {result.subscription.plan_id for result in results} == {gold.id}
    assert len(await member.charged()) == 2
    await member.check()


async def test_of_different_changes_at_once_one_happens_at_a_time(
    member: Member, catalogue: Catalogue, basic: Plan, gold: Plan
) -> None:
    silver = await catalogue.plan(price=Money(2000, "USD"))
    subscription = await member.subscribe(gold)
    wishes = (member.change(subscription, basic), member.change(subscription, silver), member.cancel(subscription))
    results = await asyncio.gather(*wishes, return_exceptions=True)
    assert {type(result) for result in results if isinstance(result, BaseException)} <= {
        OperationInProgress, InvalidState,
    }  # fmt: skip
    assert any(not isinstance(result, BaseException) for result in results)
    await member.check()


async def test_while_one_is_under_way_another_has_to_wait(member: Member, basic: Plan, gold: Plan) -> None:
    subscription = await member.subscribe(basic)
    await member.sandbox.faults(rate_500=1.0)
    with pytest.raises(StripeUnavailable):
        await member.change(subscription, gold)
    await member.sandbox.heal()
    with pytest.raises(OperationInProgress):
        await member.cancel(subscription)
    with pytest.raises(OperationInProgress):
        await member.try_(gold)
    await member.recover()
    assert (await member.now(subscription)).plan_id == gold.id
    assert (await member.cancel(subscription)).error is None
    await member.check()


# --- lost on the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0, 30])
@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "rate_500", "rate_429"])
async def test_an_upgrade_that_stripe_did_not_answer_is_made_and_charged_once(
    member: Member, basic: Plan, gold: Plan, fault: str, hours: int
) -> None:
    subscription = await member.subscribe(basic)
    await member.days(10)
    await member.sandbox.faults(**{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await member.change(subscription, gold)
    await member.sandbox.heal()
    await _age(member, hours)
    await member.recover()
    assert (await member.now(subscription)).plan_id == gold.id
    assert len(await member.charged()) == 2
    await member.check()


@pytest.mark.parametrize("hours", [0, 30])
@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "rate_500"])
async def test_a_downgrade_that_stripe_did_not_answer_is_planned_once(
    member: Member, basic: Plan, gold: Plan, fault: str, hours: int
) -> None:
    subscription = await member.subscribe(gold)
    await member.sandbox.faults(**{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await member.change(subscription, basic)
    await member.sandbox.heal()
    await _age(member, hours)
    await member.recover()
    assert await next_plan(member, subscription) == basic.id
    assert [schedule["status"] for schedule in await schedules(member)] == ["active"]
    await member.check()


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("writes", range(3))
async def test_a_downgrade_survives_a_process_that_ends_anywhere(
    member: Member, catalogue: Catalogue, basic: Plan, gold: Plan, boundary: Boundary, writes: int
) -> None:
    silver = await catalogue.plan(price=Money(2000, "USD"))
    subscription = await member.subscribe(gold)
    await member.change(subscription, silver)
    key = await _crashing(member, subscription, basic, boundary, writes)
    await member.recover()
    result = await member.change(subscription, basic, key=key)
    assert (result.error, result.subscription.plan_id) == (None, gold.id)
    assert await next_plan(member, subscription) == basic.id
    assert [schedule["status"] for schedule in await schedules(member)] == ["released", "active"]
    assert await member.charged() == [3000]
    await member.check()
    await member.days(32)
    assert (await member.now(subscription)).plan_id == basic.id
    assert await member.charged() == [3000, 1000]
    await member.check()


@pytest.mark.parametrize("boundary", list(Boundary))
async def test_an_upgrade_survives_a_process_that_ends_anywhere(
    member: Member, basic: Plan, gold: Plan, boundary: Boundary
) -> None:
    subscription = await member.subscribe(basic)
    await member.days(10)
    key = await _crashing(member, subscription, gold, boundary, 0)
    await member.recover()
    result = await member.change(subscription, gold, key=key)
    assert (result.error, result.subscription.plan_id) == (None, gold.id)
    assert len(await member.charged()) == 2
    assert await Operation.filter(status=OperationStatus.RUNNING).count() == 0
    await member.check()


async def _crashing(
    member: Member, subscription: BillingSubscription, plan: Plan, boundary: Boundary, writes: int
) -> str:
    trap, key = Trap(), str(uuid4())
    async with trapped(member.services, trap, member.sandbox) as services:
        trap.arm(Trouble.crash(boundary, writes))
        trap.begin()
        with pytest.raises(Crash):
            await member.through(services).change(subscription, plan, key=key)
    return key


async def _age(member: Member, hours: int) -> None:
    await member.services.database.pool.execute(
        "UPDATE operation_steps SET created_at = created_at - $1::interval WHERE answered_at IS NULL",
        timedelta(hours=hours),
    )
