"""Payments that are moved at Stripe and not here: what was done there is what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.payments import PaymentAttempt, PaymentStatus
from models.rsvps import RsvpStatus

if TYPE_CHECKING:
    from tests.support.shop import Shop


@pytest.mark.parametrize(
    ("reason", "expected"), [("abandoned", RsvpStatus.EXPIRED), ("requested_by_customer", RsvpStatus.CANCELED)]
)
async def test_why_seats_are_given_back_does_not_depend_on_who_hears_of_it_first(
    shop: Shop, reason: str, expected: RsvpStatus
) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    await shop.sandbox.post(
        f"/v1/payment_intents/{payment.stripe_payment_intent_id}/cancel", {"cancellation_reason": reason}
    )
    await shop.deliver_all(payment)
    assert (await shop.rsvp(payment)).status is expected
    assert await shop.seats_taken() == 0
    await shop.check()


async def test_the_seats_of_an_authorization_that_stripe_lets_run_out_expire(shop: Shop) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    await shop.sandbox.act(f"payment_intents/{payment.stripe_payment_intent_id}/expire")
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).status is PaymentStatus.CANCELED
    assert (await shop.rsvp(payment)).status is RsvpStatus.EXPIRED
    await shop.check()


@pytest.mark.parametrize(("fee", "kept"), [({}, 200), ({"application_fee_amount": 55}, 55)])
async def test_a_capture_in_the_dashboard_has_the_fee_that_stripe_took(
    shop: Shop, fee: dict[str, int], kept: int
) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    await shop.sandbox.post(
        f"/v1/payment_intents/{payment.stripe_payment_intent_id}/capture", {"amount_to_capture": 1000, **fee}
    )
    await shop.deliver_all(payment)
    now = await shop.now(payment)
    assert (now.captured_minor, now.platform_fee_minor, now.host_amount_minor) == (1000, kept, 1000 - kept)
    await shop.check()


async def test_a_debit_that_comes_back_says_why(shop: Shop) -> None:
    payment = (await shop.pay("pm_usBankAccount_processing")).payment
    await shop.sandbox.act(
        f"payment_intents/{payment.stripe_payment_intent_id}/settle", outcome="failure",
        failure_code="insufficient_funds",
    )
    await shop.deliver_all(payment)
    [attempt] = await PaymentAttempt.all()
    assert (attempt.status, attempt.failure_code) == ("failed", "insufficient_funds")
    await shop.check()
