"""Subscribing to a plan: the first payment, the terms, and what is refused before Stripe hears of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.base import new_id
from models.events import Event
from models.money import Money
from models.operations import Operation, OperationStatus
from models.payments import PaymentStatus
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from models.users import User
from services.errors import (
    CardDeclined,
    Forbidden,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
    NotFound,
    StripeUnavailable,
)
from services.payment_methods.attaching import attach_payment_method
from services.viewer import Role, Viewer
from tests.support.catalogue import SERVICE, contents
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from models.payment_methods import SavedPaymentMethod
    from tests.support.catalogue import Catalogue
    from tests.support.membership import Member

STATUS = BillingSubscriptionStatus


async def nothing_moved(member: Member, *, subscriptions: int = 0) -> None:
    """Nothing is kept here and nothing was asked of Stripe."""
    assert await BillingSubscription.all().count() == subscriptions
    assert await Operation.filter(kind="create_subscription").count() == subscriptions
    assert len(await member.at_stripe()) == subscriptions


async def save(member: Member, method: str = "pm_card_visa", *, default: bool = False) -> SavedPaymentMethod:
    """The guest saves a method."""
    return await attach_payment_method(
        member.services, viewer=member.viewer, stripe_payment_method_id=method, make_it_default=default
    )


# --- the first payment ----------------------------------------------------------------------------------------------


async def test_a_guest_subscribes_pays_and_has_the_plan(member: Member, catalogue: Catalogue) -> None:
    plan = await catalogue.plan()
    subscription = await member.subscribe(plan)
    assert subscription.status is STATUS.ACTIVE
    assert (subscription.plan_id, subscription.currency) == (plan.id, "USD")
    assert subscription.current_period_end is not None
    assert subscription.is_entitled(subscription.current_period_end - timedelta(seconds=1))
    assert subscription.client_secret is None
    [payment] = await member.subscriber.payments()
    assert (payment.status, payment.captured) == (PaymentStatus.SUCCEEDED, Money(1000, "USD"))
    assert payment.subscription_id == subscription.id
    assert await member.charged() == [1000]
    await member.check()
    await member.subscriber.deliver()
    await member.check()
    statuses = [event.status for event in await Event.filter(subject_id=subscription.id).order_by("version")]
    assert (statuses[0], statuses[-1]) == ("INCOMPLETE", "ACTIVE")


async def test_a_guest_who_is_no_customer_yet_becomes_one(member: Member, catalogue: Catalogue) -> None:
    await member.services.database.pool.execute("UPDATE users SET stripe_customer_id = NULL")
    subscription = await member.subscribe(await catalogue.plan())
    assert subscription.status is STATUS.ACTIVE
    member.subscriber.customer = (await User.get(id=member.subscriber.user.id)).stripe_customer_id or ""
    assert len(await member.at_stripe()) == 1
    await member.check()


async def test_a_saved_method_that_is_not_the_default_pays_for_this_subscription_and_is_not_attached_again(
    member: Member, catalogue: Catalogue
) -> None:
    plan = await catalogue.plan()
    await save(member, "pm_card_mastercard", default=True)
    saved = await save(member, "pm_card_visa")
    subscription = await member.subscribe(plan, saved.id)
    assert subscription.default_payment_method == saved.stripe_payment_method_id
    methods = await member.sandbox.every(f"/v1/customers/{member.subscriber.customer}/payment_methods")
    assert len(methods) == 2
    await member.check()


@pytest.mark.parametrize("says", ["nothing", "the default", "a new card"])
async def test_what_is_the_default_pays_and_another_default_pays_from_then_on(
    member: Member, catalogue: Catalogue, says: str
) -> None:
    plan = await catalogue.plan()
    method: Any = "pm_card_visa"
    if says != "a new card":
        method = (await save(member, "pm_card_visa", default=True)).id
    subscription = await member.subscribe(plan, None if says == "nothing" else method)
    assert subscription.status is STATUS.ACTIVE
    assert subscription.default_payment_method is None
    await member.subscriber.deliver()
    other = await save(member, "pm_card_mastercard", default=True)
    await member.days(32)
    assert await member.charged() == [1000, 1000]
    charges = await member.sandbox.every("/v1/charges", {"customer": member.subscriber.customer})
    assert charges[0]["payment_method"] == other.stripe_payment_method_id
    await member.check()


async def test_three_d_secure_is_confirmed_with_the_client_secret(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan(), "pm_card_authenticationRequired")
    assert subscription.status is STATUS.INCOMPLETE
    assert subscription.client_secret is not None
    assert subscription.entitled_until is None
    intent = subscription.client_secret.partition("_secret_")[0]
    [payment] = await member.subscriber.payments()
    assert (payment.status, payment.stripe_payment_intent_id) == (PaymentStatus.REQUIRES_ACTION, intent)
    await member.sandbox.authenticate(intent)
    await member.subscriber.deliver()
    now = await member.now(subscription)
    assert (now.status, now.client_secret) == (STATUS.ACTIVE, None)
    assert await member.charged() == [1000]
    await member.check()


async def test_a_declined_first_payment_is_told_and_the_subscription_waits(
    member: Member, catalogue: Catalogue
) -> None:
    plan = await catalogue.plan()
    result = await member.try_(plan, "pm_card_chargeCustomerFail", idempotency_key="k")
    assert isinstance(result.error, CardDeclined)
    assert result.error.decline_code is not None
    assert result.subscription.status is STATUS.INCOMPLETE
    assert result.subscription.client_secret is not None
    assert await member.charged() == []
    again = await member.try_(plan, "pm_card_chargeCustomerFail", idempotency_key="k")
    assert isinstance(again.error, CardDeclined)
    assert again.error.to_record() == result.error.to_record()
    assert again.subscription.id == result.subscription.id
    with pytest.raises(InvalidState) as refused:
        await member.try_(plan)
    assert refused.value.state == "INCOMPLETE"
    await member.check()


async def test_a_card_that_cannot_even_be_saved_ends_the_subscription_and_another_can_follow(
    member: Member, catalogue: Catalogue
) -> None:
    plan = await catalogue.plan()
    result = await member.try_(plan, "pm_card_chargeDeclined")
    assert isinstance(result.error, CardDeclined)
    assert result.subscription.status is STATUS.CANCELED
    assert result.subscription.ended_at is not None
    assert await member.at_stripe() == []
    assert (await member.subscribe(plan)).status is STATUS.ACTIVE
    await member.check()


async def test_a_payment_method_that_is_not_there_is_refused_by_stripe(member: Member, catalogue: Catalogue) -> None:
    result = await member.try_(await catalogue.plan(), "pm_thatisnotthere")
    assert isinstance(result.error, InvalidInput)
    assert result.error.path == ["input", "paymentMethod"]
    assert result.subscription.status is STATUS.CANCELED
    assert await member.at_stripe() == []


async def test_a_customer_that_is_gone_at_stripe_is_forgotten_and_the_next_try_makes_another(
    member: Member, catalogue: Catalogue
) -> None:
    plan = await catalogue.plan()
    await member.services.database.pool.execute("UPDATE users SET stripe_customer_id = 'cus_gone'")
    result = await member.try_(plan)
    assert isinstance(result.error, InvalidState)
    assert result.error.state == "CUSTOMER_GONE"
    assert (await User.get(id=member.subscriber.user.id)).stripe_customer_id is None
    assert (await member.subscribe(plan)).status is STATUS.ACTIVE


# --- trials ---------------------------------------------------------------------------------------------------------


async def test_a_trial_with_a_method_is_free_and_then_paid(member: Member, catalogue: Catalogue) -> None:
    plan = await catalogue.plan(trial_days=14)
    subscription = await member.subscribe(plan)
    assert subscription.status is STATUS.TRIALING
    assert subscription.trial_end is not None
    assert subscription.is_entitled(subscription.trial_end - timedelta(seconds=1))
    assert await member.charged() == []
    await member.check()
    await member.days(14.1)
    assert (await member.now(subscription)).status is STATUS.ACTIVE
    assert await member.charged() == [1000]
    await member.check()


async def test_a_trial_without_a_method_asks_for_one_and_pauses_when_none_comes(
    member: Member, catalogue: Catalogue
) -> None:
    plan = await catalogue.plan(trial_days=7)
    subscription = await member.subscribe(plan, None)
    assert subscription.status is STATUS.TRIALING
    await member.days(7.1)
    now = await member.now(subscription)
    assert now.status is STATUS.PAUSED
    assert not now.is_entitled(member.subscriber.clock())
    assert await member.charged() == []
    await member.check()


async def test_a_trial_without_a_method_has_a_secret_to_save_one_with_which_then_pays(
    member: Member, catalogue: Catalogue
) -> None:
    subscription = await member.subscribe(await catalogue.plan(trial_days=7), None)
    assert subscription.client_secret is not None
    intent = subscription.client_secret.partition("_secret_")[0]
    assert intent.startswith("seti_")
    await member.sandbox.post(f"/v1/setup_intents/{intent}/confirm", {"payment_method": "pm_card_visa"})
    await member.subscriber.deliver()
    assert (await member.now(subscription)).client_secret is None
    await member.days(7.1)
    assert (await member.now(subscription)).status is STATUS.ACTIVE
    assert await member.charged() == [1000]
    await member.check()


async def test_each_guest_tries_a_plan_once(member: Member, catalogue: Catalogue) -> None:
    plan = await catalogue.plan(trial_days=7)
    first = await member.subscribe(plan)
    await member.cancel(first, now=True)
    with pytest.raises(InvalidInput) as refused:
        await member.try_(plan, trial=True)
    assert refused.value.path == ["input", "trial"]
    second = await member.subscribe(plan)
    assert (second.status, second.trial_end) == (STATUS.ACTIVE, None)
    stranger = await member.another()
    assert (await stranger.subscribe(plan)).status is STATUS.TRIALING


async def test_a_plan_that_was_left_in_its_trial_was_tried(member: Member, catalogue: Catalogue) -> None:
    plan, dearer = await catalogue.plan(trial_days=7), await catalogue.plan(price=Money(2000, "USD"), trial_days=7)
    subscription = await member.subscribe(plan)
    assert (await member.change(subscription, dearer)).subscription.plan_id == dearer.id
    for tried in (plan, dearer):
        if tried is dearer:
            await member.cancel(subscription, now=True)
        with pytest.raises(InvalidInput):
            await member.try_(tried, trial=True)


async def test_a_trial_can_be_waived_and_cannot_be_had_where_there_is_none(
    member: Member, catalogue: Catalogue
) -> None:
    tried, plain = await catalogue.plan(trial_days=7), await catalogue.plan()
    with pytest.raises(InvalidInput) as refused:
        await member.try_(plain, trial=True)
    assert refused.value.path == ["input", "trial"]
    await nothing_moved(member)
    assert (await member.subscribe(tried, trial=False)).status is STATUS.ACTIVE


async def test_a_declined_try_without_a_trial_does_not_use_it_up(member: Member, catalogue: Catalogue) -> None:
    plan = await catalogue.plan(trial_days=7)
    await member.try_(plan, "pm_card_chargeDeclined")
    assert (await member.subscribe(plan, trial=True)).status is STATUS.TRIALING


async def test_a_free_plan_needs_no_method(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan(price=Money(0, "USD")), None)
    assert subscription.status is STATUS.ACTIVE
    assert await member.charged() == []
    await member.check()


# --- currencies -----------------------------------------------------------------------------------------------------


async def test_a_plan_is_paid_in_the_currency_that_is_asked_for(member: Member, catalogue: Catalogue) -> None:
    plan = await catalogue.plan(prices=(Money(900, "EUR"), Money(1500, "JPY")))
    subscription = await member.subscribe(plan, currency="JPY")
    assert subscription.currency == "JPY"
    [payment] = await member.subscriber.payments()
    assert payment.amount == Money(1500, "JPY")
    await member.check()


async def test_all_of_a_guest_s_subscriptions_are_in_one_currency(member: Member, catalogue: Catalogue) -> None:
    both, dollars = await catalogue.plan(prices=(Money(900, "EUR"),)), await catalogue.plan()
    first = await member.subscribe(both, currency="EUR")
    another = await catalogue.plan(prices=(Money(500, "EUR"),))
    cases = ((another, "USD", "currency"), (dollars, None, "planId"), (dollars, "USD", "currency"))
    for plan, currency, field in cases:
        with pytest.raises(InvalidInput) as refused:
            await member.try_(plan, currency=currency)
        assert refused.value.path == ["input", field]
        assert "our other subscriptions are paid in EUR" in str(refused.value)
    await nothing_moved(member, subscriptions=1)
    assert (await member.subscribe(another)).currency == "EUR"
    await member.cancel(first, now=True)


async def test_a_currency_that_the_plan_has_not_is_refused(member: Member, catalogue: Catalogue) -> None:
    with pytest.raises(InvalidInput) as refused:
        await member.try_(await catalogue.plan(), currency="CHF")
    assert refused.value.path == ["input", "currency"]
    await nothing_moved(member)


# --- refused --------------------------------------------------------------------------------------------------------


async def test_an_unknown_plan_is_not_found(member: Member) -> None:
    unknown: Any = type("Unknown", (), {"id": new_id()})
    with pytest.raises(NotFound) as refused:
        await member.try_(unknown)
    assert refused.value.path == ["input", "planId"]
    await nothing_moved(member)


async def test_an_inactive_plan_and_one_that_is_being_made_take_nobody(member: Member, catalogue: Catalogue) -> None:
    wanted = contents(active=False)
    inactive = await catalogue.tell(wanted)
    unmade = await catalogue.plan()
    await member.services.database.pool.execute(
        "UPDATE plan_prices SET current = false WHERE plan_id = $1", unmade.id
    )
    for plan in (inactive, unmade):
        with pytest.raises(InvalidInput) as refused:
            await member.try_(plan)
        assert refused.value.path == ["input", "planId"]
    await nothing_moved(member)


async def test_a_second_subscription_to_one_plan_is_refused_with_the_state_of_the_first(
    member: Member, catalogue: Catalogue
) -> None:
    plan = await catalogue.plan()
    first = await member.subscribe(plan)
    with pytest.raises(InvalidState) as refused:
        await member.try_(plan)
    assert refused.value.state == "ACTIVE"
    await nothing_moved(member, subscriptions=1)
    await member.cancel(first, now=True)
    assert (await member.subscribe(plan)).status is STATUS.ACTIVE


async def test_without_a_method_what_costs_something_is_refused(member: Member, catalogue: Catalogue) -> None:
    with pytest.raises(InvalidInput) as refused:
        await member.try_(await catalogue.plan(), None)
    assert refused.value.path == ["input", "paymentMethod"]
    await nothing_moved(member)


async def test_a_card_number_and_another_s_method_are_refused(member: Member, catalogue: Catalogue) -> None:
    plan, stranger = await catalogue.plan(), await member.another()
    theirs = await save(stranger)
    for method, error in (("4242424242424242", InvalidInput), ("", InvalidInput), (theirs.id, NotFound)):
        with pytest.raises(error) as refused:
            await member.try_(plan, method)
        assert refused.value.path == ["input", "paymentMethod"]
    await nothing_moved(member)


async def test_only_guests_subscribe(member: Member, catalogue: Catalogue) -> None:
    plan = await catalogue.plan()
    for viewer, error in ((SERVICE, Forbidden), (Viewer(Role.USER, "nobody"), InvalidState)):
        with pytest.raises(error):
            await member.try_(plan, viewer=viewer)
    await nothing_moved(member)


# --- the same key, and at once --------------------------------------------------------------------------------------


async def test_fifty_of_the_same_at_once_are_one_subscription(member: Member, catalogue: Catalogue) -> None:
    plan, key = await catalogue.plan(), str(uuid4())
    results = await asyncio.gather(*(member.try_(plan, idempotency_key=key) for _ in range(50)))
    assert {result.subscription.id for result in results} == {results[0].subscription.id}
    assert {result.error for result in results} == {None}
    assert len(await member.at_stripe()) == 1
    assert await member.charged() == [1000]
    await member.check()


async def test_of_many_different_at_once_one_is_made(member: Member, catalogue: Catalogue) -> None:
    plan = await catalogue.plan()
    results = await asyncio.gather(*(member.try_(plan) for _ in range(10)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, InvalidState)]
    assert len(refused) == 9
    assert len(await member.at_stripe()) == 1
    assert await member.charged() == [1000]


async def test_the_key_of_something_else_is_refused(member: Member, catalogue: Catalogue) -> None:
    plan, other = await catalogue.plan(), await catalogue.plan()
    await member.subscribe(plan, idempotency_key="k")
    with pytest.raises(IdempotencyKeyReused):
        await member.try_(other, idempotency_key="k")
    await nothing_moved(member, subscriptions=1)


async def test_the_same_key_answers_the_same_after_its_method_was_removed(
    member: Member, catalogue: Catalogue
) -> None:
    plan = await catalogue.plan()
    saved = await save(member)
    first = await member.subscribe(plan, saved.id, idempotency_key="k")
    await member.services.database.pool.execute("UPDATE payment_methods SET detached_at = now(), is_default = false")
    again = await member.subscribe(plan, saved.id, idempotency_key="k")
    assert again.id == first.id


# --- lost on the way ------------------------------------------------------------------------------------------------

WEATHER: dict[str, dict[str, Any]] = {
    "the answer is lost": {"reset_after": 1.0},
    "the call is lost": {"reset_before": 1.0},
    "Stripe answers 500": {"rate_500": 1.0},
    "Stripe has too much to do": {"rate_429": 1.0},
}


@pytest.mark.parametrize("weather", sorted(WEATHER))
async def test_a_subscription_ends_up_made_once_when_stripe_is_back(
    member: Member, catalogue: Catalogue, weather: str
) -> None:
    plan = await catalogue.plan()
    await member.sandbox.faults(**WEATHER[weather])
    with pytest.raises(StripeUnavailable):
        await member.try_(plan)
    await member.sandbox.heal()
    await member.recover()
    [subscription] = await BillingSubscription.all()
    assert subscription.status is STATUS.ACTIVE
    assert await member.charged() == [1000]
    await member.check()


@pytest.mark.parametrize("fault", ["reset_after", "reset_before"])
async def test_after_a_day_the_list_is_asked(member: Member, catalogue: Catalogue, fault: str) -> None:
    plan = await catalogue.plan()
    saved = await save(member)
    await member.sandbox.faults(**{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await member.try_(plan, saved.id)
    await member.sandbox.heal()
    await member.services.database.pool.execute(
        "UPDATE operation_steps SET created_at = created_at - interval '30 hours'"
    )
    await member.recover()
    assert (await BillingSubscription.get()).status is STATUS.ACTIVE
    assert len(await member.at_stripe()) == 1
    assert await member.charged() == [1000]
    await member.check()


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_authenticationRequired", "pm_card_chargeCustomerFail"])
@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("writes", range(3))
async def test_a_process_that_ends_anywhere_leaves_one_subscription(
    member: Member, catalogue: Catalogue, boundary: Boundary, writes: int, method: str
) -> None:
    plan, key, trap = await catalogue.plan(), str(uuid4()), Trap()
    async with trapped(member.services, trap, member.sandbox) as services:
        trap.arm(Trouble.crash(boundary, writes))
        trap.begin()
        with pytest.raises(Crash):
            await member.through(services).try_(plan, method, idempotency_key=key)
    await member.recover()
    result = await member.try_(plan, method, idempotency_key=key)
    assert len(await member.at_stripe()) == 1
    assert await Operation.filter(status=OperationStatus.RUNNING).count() == 0
    if method == "pm_card_visa":
        assert (result.error, result.subscription.status) == (None, STATUS.ACTIVE)
        assert await member.charged() == [1000]
    elif method == "pm_card_chargeCustomerFail":
        assert isinstance(result.error, CardDeclined)
        assert result.subscription.status is STATUS.INCOMPLETE
    else:
        assert (result.error, result.subscription.status) == (None, STATUS.INCOMPLETE)
        assert result.subscription.client_secret is not None
    await member.check()
    await member.subscriber.deliver()
    await member.check()


async def test_webhooks_that_come_before_the_answer_find_the_subscription(
    member: Member, catalogue: Catalogue
) -> None:
    plan, trap = await catalogue.plan(), Trap()
    async with trapped(member.services, trap, member.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.CALLED, 2))
        trap.begin()
        with pytest.raises(Crash):
            await member.through(services).try_(plan)
    await member.subscriber.deliver()
    [subscription] = await BillingSubscription.all()
    assert subscription.status is STATUS.ACTIVE
    await member.recover()
    await member.check()


async def test_the_secret_is_in_no_event_and_no_audit_entry(member: Member, catalogue: Catalogue) -> None:
    subscription = await member.subscribe(await catalogue.plan(), "pm_card_authenticationRequired")
    secret = subscription.client_secret
    assert secret
    rows = await member.services.database.pool.fetch(
        "SELECT e::text FROM events e UNION ALL SELECT a::text FROM audit_entries a"
    )
    assert not any(secret in row[0] for row in rows)
