"""What is done with a payment that exists: another card, the challenge, capture, cancel; and what is refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.money import Money
from models.payments import Payment, PaymentAttempt, PaymentStatus
from models.rsvps import RsvpStatus
from services.errors import (
    CardDeclined,
    Forbidden,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
    NotFound,
)
from services.payments.actions import cancel_payment, capture_payment, retry_payment
from services.viewer import Viewer
from tests.support.shop import SERVICE, Shop, as_user, pool_fetch

if TYPE_CHECKING:
    from services.payments.result import PaymentResult


async def retry(shop: Shop, payment: Payment, method: str = "pm_card_visa", *, viewer: Viewer | None = None,
                key: str | None = None) -> PaymentResult:  # fmt: skip
    return await retry_payment(
        shop.services, viewer=viewer or as_user(shop.guest), payment_id=payment.id, payment_method=method,
        return_url=None, idempotency_key=key or str(uuid4()),
    )  # fmt: skip


async def capture(shop: Shop, payment: Payment, minor: int | None = None, *, viewer: Viewer | None = None,
                  key: str | None = None, currency: str = "USD") -> PaymentResult:  # fmt: skip
    return await capture_payment(
        shop.services, viewer=viewer or as_user(shop.host), payment_id=payment.id,
        amount=None if minor is None else Money(minor, currency), idempotency_key=key or str(uuid4()),
    )  # fmt: skip


async def cancel(
    shop: Shop, payment: Payment, *, viewer: Viewer | None = None, key: str | None = None
) -> PaymentResult:
    return await cancel_payment(
        shop.services, viewer=viewer or as_user(shop.guest), payment_id=payment.id, idempotency_key=key or str(uuid4())
    )


async def nothing_moved(shop: Shop, payment: Payment) -> None:
    """The payment, its seat and its intent are as they were."""
    now = await shop.now(payment)
    assert (now.version, now.status, now.captured_minor) == (payment.version, payment.status, payment.captured_minor)
    await shop.check()


# --- another card ---------------------------------------------------------------------------------------------------


async def test_another_card_pays_the_same_intent(shop: Shop) -> None:
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    result = await retry(shop, declined)
    assert result.error is None
    assert result.payment.status is PaymentStatus.SUCCEEDED
    assert result.payment.stripe_payment_intent_id == declined.stripe_payment_intent_id
    assert (result.payment.failure_code, result.payment.failure_message) == (None, None)
    await shop.deliver_all(declined)  # a decline's own answer names its charge by id alone
    assert {attempt.status for attempt in await PaymentAttempt.all()} == {"failed", "succeeded"}
    assert (await shop.rsvp(declined)).status is RsvpStatus.CONFIRMED
    assert await shop.seats_taken() == 1
    await shop.check()


async def test_a_second_decline_keeps_the_seat_and_each_try(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    result = await retry(shop, payment, "pm_card_chargeDeclinedLostCard")
    assert isinstance(result.error, CardDeclined)
    assert result.error.decline_code == "lost_card"
    assert result.payment.failure_decline_code == "lost_card"
    await shop.deliver_all(payment)
    assert {attempt.decline_code for attempt in await PaymentAttempt.all()} == {"generic_decline", "lost_card"}
    third = await retry(shop, payment)
    assert third.payment.status is PaymentStatus.SUCCEEDED
    await shop.check()


async def test_the_same_key_retries_once(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    results = await asyncio.gather(*(retry(shop, payment, key="once") for _ in range(20)))
    assert {result.payment.version for result in results} == {results[0].payment.version}
    with pytest.raises(IdempotencyKeyReused):
        await retry(shop, payment, "pm_card_mastercard", key="once")
    await shop.deliver_all(payment)
    assert await PaymentAttempt.all().count() == 2
    await shop.check()


async def test_two_tries_at_once_charge_once(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    results = await asyncio.gather(*(retry(shop, payment) for _ in range(5)), return_exceptions=True)
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    for result in results:
        error = result if isinstance(result, BaseException) else result.error
        assert error is None or isinstance(error, InvalidState)
    await shop.check()


async def test_only_the_guest_tries_again(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    stranger = await shop.new_guest()
    with pytest.raises(NotFound):
        await retry(shop, payment, viewer=as_user(stranger))
    for viewer in (as_user(shop.host), SERVICE):
        with pytest.raises(Forbidden):
            await retry(shop, payment, viewer=viewer)
    await nothing_moved(shop, payment)


async def test_what_is_paid_or_canceled_cannot_be_tried_again(shop: Shop) -> None:
    paid = await shop.paid()
    canceled = (await cancel(shop, (await shop.pay("pm_card_chargeDeclined")).payment)).payment
    for payment in (paid, canceled):
        with pytest.raises(InvalidState) as refused:
            await retry(shop, payment)
        assert refused.value.state == payment.status.value
        await nothing_moved(shop, payment)


# --- the 3-D Secure challenge ---------------------------------------------------------------------------------------


async def challenged(shop: Shop, method: str = "pm_card_authenticationRequired", **values: Any) -> Payment:
    result = await shop.pay(method, **values)
    assert result.error is None
    assert result.payment.status is PaymentStatus.REQUIRES_ACTION
    return result.payment


async def test_a_challenge_has_its_secret_and_its_page(shop: Shop) -> None:
    payment = await challenged(shop)
    assert payment.client_secret is not None
    assert payment.client_secret.startswith(str(payment.stripe_payment_intent_id))
    assert payment.next_action is not None
    assert payment.next_action["redirect_url"].startswith("http")
    assert (await shop.rsvp(payment)).status is RsvpStatus.HELD
    assert payment.captured_minor == 0
    await shop.check()


async def test_a_challenge_that_was_passed_pays_by_webhook(shop: Shop) -> None:
    payment = await challenged(shop)
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    await shop.deliver_all(payment)
    now = await shop.now(payment)
    assert now.status is PaymentStatus.SUCCEEDED
    assert now.next_action is None
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    await shop.check()


async def test_a_challenge_that_was_failed_can_be_tried_again(shop: Shop) -> None:
    payment = await challenged(shop)
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id), "failure")
    await shop.deliver_all(payment)
    now = await shop.now(payment)
    assert now.status is PaymentStatus.FAILED
    assert now.failure_message
    assert await shop.seats_taken() == 1
    assert (await retry(shop, payment)).payment.status is PaymentStatus.SUCCEEDED
    await shop.check()


async def test_a_declined_card_after_the_challenge_is_a_decline(shop: Shop) -> None:
    payment = await challenged(shop, "pm_card_threeDSecureRequiredChargeDeclined")
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    await shop.deliver_all(payment)
    now = await shop.now(payment)
    assert (now.status, now.failure_decline_code) == (PaymentStatus.FAILED, "generic_decline")
    await shop.check()


async def test_a_guest_may_choose_another_card_instead_of_the_challenge(shop: Shop) -> None:
    payment = await challenged(shop)
    result = await retry(shop, payment)
    assert result.payment.status is PaymentStatus.SUCCEEDED
    assert result.payment.stripe_payment_intent_id == payment.stripe_payment_intent_id
    await shop.check()


# --- the bank takes its time ----------------------------------------------------------------------------------------


async def test_while_the_bank_works_the_hold_does_not_expire_and_nothing_can_be_canceled(shop: Shop) -> None:
    payment = (await shop.pay("pm_usBankAccount_processing")).payment
    assert payment.status is PaymentStatus.PROCESSING
    rsvp = await shop.rsvp(payment)
    assert (rsvp.status, rsvp.hold_expires_at) == (RsvpStatus.HELD, None)
    with pytest.raises(InvalidState):
        await cancel(shop, payment)
    with pytest.raises(InvalidState):
        await retry(shop, payment)
    await nothing_moved(shop, payment)


async def test_the_bank_says_yes_days_later(shop: Shop) -> None:
    payment = (await shop.pay("pm_usBankAccount_processing")).payment
    await shop.sandbox.act(f"payment_intents/{payment.stripe_payment_intent_id}/settle", outcome="success")
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    await shop.check()


async def test_the_bank_says_no_days_later_and_the_guest_gets_a_fresh_hold(shop: Shop) -> None:
    payment = (await shop.pay("pm_usBankAccount_processing")).payment
    shop.clock.forward(hours=72)
    await shop.sandbox.act(f"payment_intents/{payment.stripe_payment_intent_id}/settle", outcome="failure")
    await shop.deliver_all(payment)
    now = await shop.now(payment)
    assert now.status is PaymentStatus.FAILED
    rsvp = await shop.rsvp(payment)
    assert rsvp.hold_expires_at is not None
    assert rsvp.hold_expires_at > shop.clock() + timedelta(seconds=800)
    assert (await retry(shop, payment)).payment.status is PaymentStatus.SUCCEEDED
    await shop.check()


# --- authorize now, capture later -----------------------------------------------------------------------------------


async def authorized(shop: Shop, **values: Any) -> Payment:
    result = await shop.pay(capture_later=True, **values)
    assert result.error is None
    assert result.payment.status is PaymentStatus.AUTHORIZED
    return result.payment


async def test_an_authorization_takes_no_money_and_holds_the_seat_until_it_runs_out(shop: Shop) -> None:
    payment = await authorized(shop)
    assert payment.captured_minor == 0
    assert payment.capture_before is not None
    assert (await shop.rsvp(payment)).hold_expires_at == payment.capture_before
    assert await pool_fetch(shop.services, "SELECT FROM ledger_transactions") == []
    await shop.check()


async def test_a_capture_takes_the_whole_amount(shop: Shop) -> None:
    payment = (await capture(shop, await authorized(shop))).payment
    assert payment.status is PaymentStatus.SUCCEEDED
    assert (payment.captured_minor, payment.platform_fee_minor, payment.host_amount_minor) == (2000, 200, 1800)
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    await shop.check()


@pytest.mark.parametrize(("minor", "fee"), [(1, 1), (999, 100), (1001, 100), (1999, 200)])
async def test_a_part_is_captured_with_its_part_of_the_fee(shop: Shop, minor: int, fee: int) -> None:
    payment = (await capture(shop, await authorized(shop), minor)).payment
    assert payment.status is PaymentStatus.SUCCEEDED
    assert (payment.amount_minor, payment.captured_minor) == (2000, minor)
    assert (payment.platform_fee_minor, payment.host_amount_minor) == (fee, minor - fee)
    await shop.check()


async def test_there_is_one_capture(shop: Shop) -> None:
    payment = await authorized(shop)
    results = await asyncio.gather(*(capture(shop, payment, 500) for _ in range(5)), return_exceptions=True)
    captured = [result for result in results if not isinstance(result, BaseException) and result.error is None]
    assert captured
    now = await shop.now(payment)
    assert now.captured_minor == 500
    with pytest.raises(InvalidState):
        await capture(shop, payment, 500)
    await nothing_moved(shop, now)


async def test_the_same_key_captures_once_and_answers_alike(shop: Shop) -> None:
    payment = await authorized(shop)
    results = await asyncio.gather(*(capture(shop, payment, 700, key="c") for _ in range(20)))
    assert {(result.payment.version, result.payment.captured_minor) for result in results} == {
        (results[0].payment.version, 700)
    }
    with pytest.raises(IdempotencyKeyReused):
        await capture(shop, payment, 701, key="c")
    await shop.check()


@pytest.mark.parametrize(("minor", "currency"), [(2001, "USD"), (0, "USD"), (-1, "USD"), (500, "EUR")])
async def test_no_other_amount_can_be_captured(shop: Shop, minor: int, currency: str) -> None:
    payment = await authorized(shop)
    with pytest.raises(InvalidInput) as refused:
        await capture(shop, payment, minor, currency=currency)
    assert refused.value.path == ["input", "amount"]
    await nothing_moved(shop, payment)


async def test_only_the_host_and_the_platform_capture(shop: Shop) -> None:
    payment = await authorized(shop)
    with pytest.raises(Forbidden):
        await capture(shop, payment, viewer=as_user(shop.guest))
    with pytest.raises(NotFound):
        await capture(shop, payment, viewer=as_user(await shop.new_guest()))
    await nothing_moved(shop, payment)
    assert (await capture(shop, payment, viewer=SERVICE)).payment.status is PaymentStatus.SUCCEEDED


async def test_what_is_not_authorized_cannot_be_captured(shop: Shop) -> None:
    for payment in (await shop.paid(), (await shop.pay("pm_card_chargeDeclined")).payment, await challenged(shop)):
        with pytest.raises(InvalidState):
            await capture(shop, payment)
        await nothing_moved(shop, payment)


async def test_an_authorization_that_runs_out_comes_in_as_canceled_and_gives_the_seat_back(shop: Shop) -> None:
    payment = await authorized(shop)
    await shop.sandbox.act(f"payment_intents/{payment.stripe_payment_intent_id}/expire")
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).status is PaymentStatus.CANCELED
    assert (await shop.rsvp(payment)).status is RsvpStatus.EXPIRED
    assert await shop.seats_taken() == 0
    await shop.check()


async def test_a_capture_that_stripe_refuses_since_it_ran_out_settles_what_became_of_it(shop: Shop) -> None:
    payment = await authorized(shop)
    await shop.sandbox.act(f"payment_intents/{payment.stripe_payment_intent_id}/expire")
    result = await capture(shop, payment)
    assert isinstance(result.error, InvalidState)
    assert result.payment.status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == 0
    await shop.check()


# --- cancel ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["guest", "host", "service"])
@pytest.mark.parametrize(
    ("method", "later"),
    [("pm_card_chargeDeclined", False), ("pm_card_authenticationRequired", False), ("pm_card_visa", True)],
)
async def test_what_took_no_money_can_be_canceled(shop: Shop, who: str, method: str, later: bool) -> None:
    payment = (await shop.pay(method, capture_later=later)).payment
    viewers = {"guest": as_user(shop.guest), "host": as_user(shop.host), "service": SERVICE}
    result = await cancel(shop, payment, viewer=viewers[who])
    assert result.error is None
    assert result.payment.status is PaymentStatus.CANCELED
    assert (await shop.rsvp(payment)).status is RsvpStatus.CANCELED
    assert await shop.seats_taken() == 0
    assert (await shop.intent(payment))["status"] == "canceled"
    await shop.check()


async def test_what_was_paid_is_refunded_instead(shop: Shop) -> None:
    payment = await shop.paid()
    with pytest.raises(InvalidState, match="refunded"):
        await cancel(shop, payment)
    await nothing_moved(shop, payment)


async def test_a_canceled_payment_stays_so(shop: Shop) -> None:
    payment = (await cancel(shop, await challenged(shop), key="first")).payment
    with pytest.raises(InvalidState):
        await cancel(shop, payment)
    assert (await cancel(shop, payment, key="first")).payment.version == payment.version
    await nothing_moved(shop, payment)


async def test_a_stranger_s_payment_is_not_found(shop: Shop) -> None:
    payment = await challenged(shop)
    with pytest.raises(NotFound):
        await cancel(shop, payment, viewer=as_user(await shop.new_guest()))
    await nothing_moved(shop, payment)


async def test_an_unknown_payment_is_not_found(shop: Shop) -> None:
    missing = Payment(id=uuid4())
    with pytest.raises(NotFound):
        await cancel(shop, missing)
    with pytest.raises(NotFound):
        await capture(shop, missing, viewer=SERVICE)
    with pytest.raises(NotFound):
        await retry(shop, missing)


async def test_a_challenge_passed_just_before_the_cancel_is_fulfilled(shop: Shop) -> None:
    payment = await challenged(shop)
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    result = await cancel(shop, payment)
    assert isinstance(result.error, InvalidState)
    assert result.payment.status is PaymentStatus.SUCCEEDED
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    await shop.check()


async def test_cancel_and_capture_at_once_end_in_one_of_the_two(shop: Shop) -> None:
    payment = await authorized(shop)
    await asyncio.gather(capture(shop, payment), cancel(shop, payment), return_exceptions=True)
    assert (await shop.now(payment)).status in {PaymentStatus.SUCCEEDED, PaymentStatus.CANCELED}
    await shop.check()


async def test_cancel_and_retry_at_once_end_in_one_of_the_two(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    await asyncio.gather(retry(shop, payment), cancel(shop, payment), return_exceptions=True)
    assert (await shop.now(payment)).status in {PaymentStatus.SUCCEEDED, PaymentStatus.CANCELED}
    await shop.check()
