"""Stripe answers badly or not at all: what was asked for happens once, or not, and nobody has to ask twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.operations import Operation, OperationStatus, OperationStep
from models.payments import Payment, PaymentStatus
from services.errors import StripeUnavailable
from services.payments.actions import capture_payment
from services.payments.holds import expire_holds
from tests.support.shop import SERVICE

if TYPE_CHECKING:
    from tests.support.shop import Shop

# Each alone, always: the call's four tries all meet it.
WEATHER: dict[str, dict[str, Any]] = {
    "the answer is lost": {"reset_after": 1.0},
    "the call is lost": {"reset_before": 1.0},
    "Stripe answers 500": {"rate_500": 1.0},
    "Stripe has too much to do": {"rate_429": 1.0},
}


@pytest.mark.parametrize("weather", sorted(WEATHER))
async def test_a_payment_ends_by_itself_once_stripe_is_back(shop: Shop, weather: str) -> None:
    await shop.paid()
    await shop.sandbox.faults(**WEATHER[weather])
    with pytest.raises(StripeUnavailable):
        await shop.pay()
    payment = await Payment.get(status=PaymentStatus.PENDING)
    assert await shop.seats_taken() == 2
    await shop.sandbox.heal()
    await shop.recover()
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    assert (await Operation.get(subject_id=payment.id)).status is OperationStatus.SUCCEEDED
    await shop.check()


@pytest.mark.parametrize("weather", sorted(WEATHER))
async def test_the_guest_s_own_second_try_with_the_same_key_finds_it(shop: Shop, weather: str) -> None:
    await shop.paid()
    key = str(uuid4())
    await shop.sandbox.faults(**WEATHER[weather])
    with pytest.raises(StripeUnavailable):
        await shop.pay(idempotency_key=key)
    await shop.sandbox.heal()
    shop.clock.forward(seconds=60)
    payment = await shop.paid(idempotency_key=key)
    assert payment.status is PaymentStatus.SUCCEEDED
    assert await Payment.all().count() == 2
    await shop.check()


async def test_a_first_payment_whose_customer_could_not_be_made_goes_on_by_itself(shop: Shop) -> None:
    await shop.sandbox.faults(reset_after=1.0)
    with pytest.raises(StripeUnavailable):
        await shop.pay()
    await shop.sandbox.heal()
    await shop.recover()
    [payment] = await Payment.all()
    assert payment.status is PaymentStatus.SUCCEEDED
    customers = await shop.sandbox.every("/v1/customers", {"email": shop.guest.email})
    assert len(customers) == 1
    await shop.check()


async def test_a_decline_whose_answer_was_lost_is_a_decline(shop: Shop) -> None:
    await shop.paid()
    await shop.sandbox.faults(reset_after=1.0)
    with pytest.raises(StripeUnavailable):
        await shop.pay("pm_card_chargeDeclined")
    await shop.sandbox.heal()
    await shop.recover()
    payment = await Payment.get(status=PaymentStatus.FAILED)
    assert payment.failure_decline_code == "generic_decline"
    assert (await Operation.get(subject_id=payment.id)).status is OperationStatus.FAILED
    await shop.check()


async def test_after_a_day_the_lists_are_asked_and_what_is_there_is_not_made_again(shop: Shop) -> None:
    await shop.paid()
    await shop.sandbox.faults(reset_after=1.0)
    with pytest.raises(StripeUnavailable):
        await shop.pay()
    await shop.sandbox.heal()
    shop.clock.forward(hours=30)
    await shop.recover()
    assert await Payment.filter(status=PaymentStatus.SUCCEEDED).count() == 2
    steps = await OperationStep.filter(step="create_payment_intent")
    assert {step.attempt for step in steps} == {1}
    await shop.check()


async def test_after_a_day_what_the_lists_do_not_have_is_made_in_a_new_attempt(shop: Shop) -> None:
    await shop.paid()
    await shop.sandbox.faults(reset_before=1.0)
    with pytest.raises(StripeUnavailable):
        await shop.pay()
    await shop.sandbox.heal()
    shop.clock.forward(hours=30)
    await shop.recover()
    assert await Payment.filter(status=PaymentStatus.SUCCEEDED).count() == 2
    steps = await OperationStep.filter(step="create_payment_intent").order_by("id")
    assert sorted(step.attempt for step in steps) == [1, 1, 2]
    await shop.check()


async def test_a_capture_whose_answer_was_lost_is_one_capture(shop: Shop) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    await shop.sandbox.faults(reset_after=1.0)
    with pytest.raises(StripeUnavailable):
        await capture_payment(
            shop.services, viewer=SERVICE, payment_id=payment.id, amount=payment.amount, idempotency_key="c"
        )
    await shop.sandbox.heal()
    await shop.recover()
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await shop.check()


@pytest.mark.parametrize("seed", range(4))
async def test_in_foul_weather_every_payment_ends_and_is_charged_once_at_most(shop: Shop, seed: int) -> None:
    await shop.paid()
    await shop.sandbox.faults(seed=seed, reset_before=0.2, reset_after=0.2, rate_500=0.25, rate_429=0.1)
    methods = ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_visa", "pm_card_authenticationRequired"] * 4
    await asyncio.gather(*(shop.pay(method) for method in methods), return_exceptions=True)
    for _ in range(3):
        shop.clock.forward(seconds=700)
        await shop.services.operations.recover(shop.services)
    await shop.sandbox.heal()
    await shop.recover()
    payments = await Payment.all()
    assert len(payments) == 17
    assert PaymentStatus.PENDING not in {payment.status for payment in payments}
    assert await Operation.filter(status=OperationStatus.PARKED).count() == 0
    await shop.check()
    shop.clock.forward(hours=1)
    await expire_holds(shop.services)
    await shop.recover()
    await shop.check()
    assert await shop.seats_taken() == await Payment.filter(status=PaymentStatus.SUCCEEDED).count()
