"""Ending a subscription, letting it rest and letting it go on: what is granted meanwhile, and what cannot be."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.money import Money
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.errors import CardDeclined, InvalidInput, InvalidState, NotFound, StripeUnavailable
from services.payment_methods.attaching import attach_payment_method
from tests.support.catalogue import SERVICE
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from models.plans import Plan
    from tests.support.catalogue import Catalogue
    from tests.support.membership import Member

STATUS = BillingSubscriptionStatus


@pytest.fixture
async def plan(catalogue: Catalogue) -> Plan:
    return await catalogue.plan()


async def refused(member: Member, subscription: BillingSubscription, asking: Any) -> InvalidState:
    """Why it cannot be, with nothing moved here or at Stripe."""
    before, theirs = await member.now(subscription), await member.at_stripe()
    with pytest.raises(InvalidState) as error:
        await asking
    assert (await member.now(subscription)).version == before.version
    assert await member.at_stripe() == theirs
    return error.value


# --- canceling ------------------------------------------------------------------------------------------------------


async def test_what_is_canceled_with_its_period_is_used_up(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    end = subscription.current_period_end
    assert end is not None
    now = (await member.cancel(subscription)).subscription
    assert (now.status, now.cancel_at_period_end, now.cancel_at) == (STATUS.ACTIVE, True, end)
    assert now.entitled_until == end
    await member.check()
    await member.days(32)
    now = await member.now(subscription)
    assert (now.status, now.entitled_until) == (STATUS.CANCELED, None)
    assert await member.charged() == [1000]
    await member.check()


async def test_what_is_canceled_at_once_grants_nothing_more_and_gives_nothing_back(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    now = (await member.cancel(subscription, now=True)).subscription
    assert (now.status, now.entitled_until) == (STATUS.CANCELED, None)
    assert now.ended_at is not None
    assert len(await member.invoices_at_stripe()) == 1
    await member.check()
    assert (await member.subscribe(plan)).status is STATUS.ACTIVE


async def test_what_is_to_end_can_still_be_ended_at_once(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    await member.cancel(subscription)
    assert (await member.cancel(subscription, now=True)).subscription.status is STATUS.CANCELED
    await member.check()


@pytest.mark.parametrize("now", [True, False])
async def test_what_was_never_paid_for_ends_at_once(member: Member, plan: Plan, now: bool) -> None:
    subscription = await member.subscribe(plan, "pm_card_authenticationRequired")
    ended = (await member.cancel(subscription, now=now)).subscription
    assert ended.status.is_final
    assert ended.client_secret is None
    await member.subscriber.deliver()
    await member.check()
    assert (await member.subscribe(plan)).status is STATUS.ACTIVE


async def test_a_trial_that_is_canceled_is_never_paid_for(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan(trial_days=7))
    assert (await member.cancel(subscription)).subscription.status is STATUS.TRIALING
    await member.days(8)
    assert (await member.now(subscription)).status is STATUS.CANCELED
    assert await member.charged() == []
    await member.check()


async def test_canceling_drops_a_change_that_was_planned(member: Member, catalogue: Catalogue, plan: Plan) -> None:
    gold = await catalogue.plan(price=Money(3000, "USD"))
    subscription = await member.subscribe(gold)
    await member.change(subscription, plan)
    now = (await member.cancel(subscription)).subscription
    assert (now.cancel_at_period_end, now.next_price_id, now.stripe_schedule_id) == (True, None, None)
    await member.check()


async def test_canceling_what_is_canceled_is_refused_with_its_state(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    await member.cancel(subscription)
    assert (await refused(member, subscription, member.cancel(subscription))).state == "ACTIVE"
    await member.cancel(subscription, now=True)
    for now in (True, False):
        assert (await refused(member, subscription, member.cancel(subscription, now=now))).state == "CANCELED"


async def test_a_subscription_that_stripe_never_made_has_ended(member: Member, plan: Plan) -> None:
    subscription = (await member.try_(plan, "pm_card_chargeDeclined")).subscription
    for asking in (member.cancel, member.resume, member.pause):
        assert (await refused(member, subscription, asking(subscription))).state == "CANCELED"


async def test_one_that_was_canceled_at_stripe_meanwhile_is_told_as_it_is(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    await member.sandbox.delete(f"/v1/subscriptions/{subscription.stripe_subscription_id}")
    result = await member.cancel(subscription, now=True)
    assert isinstance(result.error, InvalidState)
    assert result.subscription.status is STATUS.CANCELED
    await member.check()


# --- resuming -------------------------------------------------------------------------------------------------------


async def test_what_is_to_end_goes_on_when_it_is_resumed(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    await member.cancel(subscription)
    now = (await member.resume(subscription)).subscription
    assert (now.cancel_at_period_end, now.cancel_at, now.canceled_at) == (False, None, None)
    await member.check()
    await member.days(32)
    assert await member.charged() == [1000, 1000]
    await member.check()


async def test_an_end_that_was_set_in_the_dashboard_is_taken_back(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    at = int(member.subscriber.clock().timestamp()) + 10 * 86_400
    await member.sandbox.post(
        f"/v1/subscriptions/{subscription.stripe_subscription_id}", {"cancel_at": at, "proration_behavior": "none"}
    )
    await member.subscriber.deliver()
    assert (await member.now(subscription)).cancel_at is not None
    assert (await member.resume(subscription)).subscription.cancel_at is None
    await member.check()


async def test_resuming_what_has_ended_goes_on_or_was_never_paid_is_refused_with_its_state(
    member: Member, catalogue: Catalogue, plan: Plan
) -> None:
    subscription = await member.subscribe(plan)
    assert (await refused(member, subscription, member.resume(subscription))).state == "ACTIVE"
    await member.cancel(subscription, now=True)
    assert (await refused(member, subscription, member.resume(subscription))).state == "CANCELED"
    waiting = await member.subscribe(await catalogue.plan(), "pm_card_authenticationRequired")
    assert (await refused(member, waiting, member.resume(waiting))).state == "INCOMPLETE"


async def test_resuming_what_is_overdue_asks_for_the_payment(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    await member.subscriber.give("pm_card_chargeCustomerFail")
    await member.days(32)
    error = await refused(member, subscription, member.resume(subscription))
    assert (error.state, "pay" in str(error)) == ("PAST_DUE", True)


async def test_a_trial_that_ran_out_without_a_method_begins_when_there_is_one(
    member: Member, catalogue: Catalogue
) -> None:
    subscription = await member.subscribe(await catalogue.plan(trial_days=7), None)
    await member.days(7.1)
    assert (await refused(member, subscription, member.resume(subscription))).state == "PAUSED"
    await attach_payment_method(
        member.services, viewer=member.viewer, stripe_payment_method_id="pm_card_visa", make_it_default=True
    )
    result = await member.resume(subscription)
    assert (result.error, result.subscription.status) == (None, STATUS.ACTIVE)
    assert result.subscription.is_entitled(member.subscriber.clock())
    assert await member.charged() == [1000]
    await member.check()


async def test_a_resumption_that_is_declined_stays_paused_with_the_error(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan(trial_days=7), None)
    await member.days(7.1)
    await attach_payment_method(
        member.services, viewer=member.viewer, stripe_payment_method_id="pm_card_chargeCustomerFail",
        make_it_default=True,
    )  # fmt: skip
    result = await member.resume(subscription)
    assert isinstance(result.error, CardDeclined)
    assert result.subscription.status is STATUS.PAUSED
    assert await member.charged() == []
    await member.check()


async def test_a_paused_trial_is_canceled_at_once(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan(trial_days=7), None)
    await member.days(7.1)
    assert (await member.cancel(subscription)).subscription.status is STATUS.CANCELED
    await member.check()


# --- pausing --------------------------------------------------------------------------------------------------------


async def test_what_is_paused_is_used_up_then_costs_and_grants_nothing_until_it_is_resumed(
    member: Member, plan: Plan
) -> None:
    subscription = await member.subscribe(plan)
    await member.days(10)
    now = (await member.pause(subscription)).subscription
    assert now.status is STATUS.PAUSED
    assert now.paused_at is not None
    assert now.is_entitled(member.subscriber.clock())
    assert now.entitled_until == subscription.current_period_end
    await member.check()
    await member.days(40)
    now = await member.now(subscription)
    assert now.status is STATUS.PAUSED
    assert not now.is_entitled(member.subscriber.clock())
    assert await member.charged() == [1000]
    now = (await member.resume(subscription)).subscription
    assert (now.status, now.paused_at) == (STATUS.ACTIVE, None)
    assert await member.charged() == [1000, 1000]
    await member.days(32)
    assert await member.charged() == [1000, 1000, 1000]
    await member.check()


async def test_a_pause_ends_by_itself_when_it_was_said_to(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    until = (member.subscriber.clock() + timedelta(days=45)).replace(microsecond=0)
    now = (await member.pause(subscription, until=until, key="pause")).subscription
    assert (now.status, now.resumes_at) == (STATUS.PAUSED, until)
    await member.days(40)
    assert (await member.now(subscription)).status is STATUS.PAUSED
    await member.days(6)
    now = await member.now(subscription)
    assert (now.status, now.resumes_at, now.paused_at) == (STATUS.ACTIVE, None, None)
    again = await member.pause(subscription, until=until, key="pause")  # whose answer was lost for long
    assert (again.error, again.subscription.paused_at) == (None, None)
    assert await member.charged() == [1000]
    await member.check()


async def test_what_is_paused_and_to_end_does_neither_when_it_is_resumed(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    await member.pause(subscription)
    await member.cancel(subscription)
    now = (await member.resume(subscription)).subscription
    assert (now.status, now.cancel_at_period_end, now.paused_at) == (STATUS.ACTIVE, False, None)
    await member.check()


async def test_what_is_not_running_cannot_be_paused(member: Member, catalogue: Catalogue, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    await member.pause(subscription)
    assert (await refused(member, subscription, member.pause(subscription))).state == "PAUSED"
    await member.resume(subscription)
    await member.cancel(subscription)
    assert (await refused(member, subscription, member.pause(subscription))).state == "ACTIVE"
    trial = await member.subscribe(await catalogue.plan(trial_days=7))
    assert (await refused(member, trial, member.pause(trial))).state == "TRIALING"
    waiting = await member.subscribe(await catalogue.plan(), "pm_card_authenticationRequired")
    assert (await refused(member, waiting, member.pause(waiting))).state == "INCOMPLETE"


async def test_a_pause_ends_in_the_future_and_not_too_far_in_it(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    now = member.subscriber.clock()
    for until in (now, now - timedelta(days=1), now + timedelta(days=731), (now + timedelta(1)).replace(tzinfo=None)):
        with pytest.raises(InvalidInput) as error:
            await member.pause(subscription, until=until)
        assert error.value.path == ["input", "resumesAt"]
    assert (await member.now(subscription)).status is STATUS.ACTIVE


# --- whose ----------------------------------------------------------------------------------------------------------


async def test_others_subscriptions_are_not_there_and_the_platform_may_do_all(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    stranger = await member.another()
    for asking in (member.cancel, member.resume, member.pause):
        with pytest.raises(NotFound) as error:
            await asking(subscription, viewer=stranger.viewer)
        assert error.value.path == ["input", "subscriptionId"]
    assert (await member.now(subscription)).version == subscription.version
    for asking in (member.pause, member.resume, member.cancel):
        assert (await asking(subscription, viewer=SERVICE)).error is None
    await member.check()


# --- the same key, at once, and lost on the way ---------------------------------------------------------------------


async def test_the_same_key_answers_the_same_whatever_has_become_of_it(member: Member, plan: Plan) -> None:
    subscription = await member.subscribe(plan)
    results = await asyncio.gather(*(member.cancel(subscription, key="k") for _ in range(10)))
    assert {result.error for result in results} == {None}
    await member.resume(subscription)
    again = await member.cancel(subscription, key="k")
    assert (again.error, again.subscription.cancel_at_period_end) == (None, False)


ACTS = ("cancel", "end", "pause", "resume")


async def _act(member: Member, subscription: BillingSubscription, act: str, key: str) -> Any:
    if act == "pause":
        return await member.pause(subscription, key=key)
    if act == "resume":
        return await member.resume(subscription, key=key)
    return await member.cancel(subscription, now=act == "end", key=key)


async def _is_done(member: Member, subscription: BillingSubscription, act: str) -> None:
    now = await member.now(subscription)
    assert (now.cancel_at_period_end, now.status) == {
        "cancel": (True, STATUS.ACTIVE), "end": (False, STATUS.CANCELED), "pause": (False, STATUS.PAUSED),
        "resume": (False, STATUS.ACTIVE),
    }[act]  # fmt: skip
    await member.check()


@pytest.mark.parametrize("hours", [0, 30])
@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "rate_500"])
@pytest.mark.parametrize("act", ACTS)
async def test_what_stripe_did_not_answer_is_brought_to_its_end(
    member: Member, plan: Plan, act: str, fault: str, hours: int
) -> None:
    subscription = await member.subscribe(plan)
    if act == "resume":
        await member.cancel(subscription)
    await member.sandbox.faults(**{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await _act(member, subscription, act, "k")
    await member.sandbox.heal()
    await member.services.database.pool.execute(
        "UPDATE operation_steps SET created_at = created_at - $1::interval WHERE answered_at IS NULL",
        timedelta(hours=hours),
    )
    await member.recover()
    await _is_done(member, subscription, act)


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("act", ACTS)
async def test_a_process_that_ends_anywhere_leaves_nothing_half(
    member: Member, plan: Plan, act: str, boundary: Boundary
) -> None:
    subscription = await member.subscribe(plan)
    if act == "resume":
        await member.cancel(subscription)
    trap, key = Trap(), str(uuid4())
    async with trapped(member.services, trap, member.sandbox) as services:
        trap.arm(Trouble.crash(boundary, 0))
        trap.begin()
        with pytest.raises(Crash):
            await _act(member.through(services), subscription, act, key)
    await member.recover()
    assert (await _act(member, subscription, act, key)).error is None
    await _is_done(member, subscription, act)
