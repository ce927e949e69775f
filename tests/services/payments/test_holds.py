"""Seats whose hold runs out: the intent is canceled first; what succeeded after all is fulfilled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.payments import PaymentStatus
from models.rsvps import RsvpStatus
from services.payments.holds import expire_holds

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def test_an_unpaid_seat_is_given_back_when_its_hold_runs_out(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    assert await expire_holds(shop.services) == 0
    shop.clock.forward(seconds=901)
    assert await expire_holds(shop.services) == 1
    assert (await shop.now(payment)).status is PaymentStatus.CANCELED
    assert (await shop.rsvp(payment)).status is RsvpStatus.EXPIRED
    assert await shop.seats_taken() == 0
    intent = await shop.intent(payment)
    assert (intent["status"], intent["cancellation_reason"]) == ("canceled", "abandoned")
    assert await expire_holds(shop.services) == 0
    await shop.check()


async def test_a_challenge_passed_in_the_last_moment_is_fulfilled(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_authenticationRequired")).payment
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    shop.clock.forward(seconds=901)
    assert await expire_holds(shop.services) == 1
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    assert await shop.seats_taken() == 1
    await shop.check()


async def test_paid_and_processing_seats_do_not_expire(shop: Shop) -> None:
    await shop.paid()
    await shop.pay("pm_usBankAccount_processing")
    shop.clock.forward(hours=1000)
    assert await expire_holds(shop.services) == 0
    assert await shop.seats_taken() == 2
    await shop.check()


async def test_an_authorization_holds_its_seat_until_it_runs_out(shop: Shop) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    shop.clock.forward(hours=24)
    assert await expire_holds(shop.services) == 0
    shop.clock.forward(hours=24 * 30)
    assert await expire_holds(shop.services) == 1
    assert (await shop.now(payment)).status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == 0
    await shop.check()


async def test_a_hold_waits_for_stripe_where_it_is_away(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    shop.clock.forward(seconds=901)
    await shop.sandbox.faults(rate_500=1.0)
    await expire_holds(shop.services)
    assert (await shop.now(payment)).status is PaymentStatus.FAILED
    assert await shop.seats_taken() == 1
    await shop.sandbox.heal()
    await shop.recover()
    assert (await shop.rsvp(payment)).status is RsvpStatus.EXPIRED
    assert await shop.seats_taken() == 0
    await shop.check()


async def test_the_seat_of_a_payment_that_never_reached_stripe_is_given_back(shop: Shop) -> None:
    await shop.paid()  # the guest is a customer
    await shop.sandbox.faults(reset_before=1.0)
    refused = await _unavailable(shop)
    assert refused == "STRIPE_UNAVAILABLE"
    assert await shop.seats_taken() == 2
    await shop.sandbox.heal()
    shop.clock.forward(seconds=901)
    await expire_holds(shop.services)
    await shop.recover()
    await expire_holds(shop.services)
    await shop.check()


async def _unavailable(shop: Shop) -> str:
    try:
        await shop.pay()
    except Exception as error:  # noqa: BLE001
        return str(getattr(error, "code", error))
    return "paid"


async def test_many_holds_run_out_together(shop: Shop) -> None:
    guests = [await shop.new_guest() for _ in range(10)]
    for guest in guests:
        await shop.pay("pm_card_chargeDeclined", guest=guest)
    shop.clock.forward(seconds=901)
    assert await expire_holds(shop.services, limit=6) == 6
    assert await expire_holds(shop.services, limit=6) == 4
    assert await shop.seats_taken() == 0
    await shop.check()
