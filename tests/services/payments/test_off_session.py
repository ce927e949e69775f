"""Guests who are away: what was declined is tried again by a schedule, once at a time, while the seats are held."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccountType
from models.operations import Operation, OperationStatus
from models.payment_methods import SavedPaymentMethod
from models.payments import Payment, PaymentAttempt, PaymentStatus
from services.errors import CardDeclined, OperationInProgress
from services.payments.actions import retry_payment
from services.payments.holds import expire_holds
from services.payments.off_session import retry_due_payments
from services.payments.pay import pay_for_activity
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.shop import SERVICE, Shop, as_user
from tests.support.wallet import Wallet

if TYPE_CHECKING:
    from services.core import Services
    from services.payments.result import PaymentResult
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

HOUR = 3600


@pytest.fixture(params=[ConnectAccountType.EXPRESS, ConnectAccountType.STANDARD])
async def shop(services: Services, sandbox: Sandbox, clock: Clock, request: pytest.FixtureRequest) -> Shop:
    """A host of each kind, and a guest with a saved method."""
    opened = await Shop.open(services, sandbox, clock, type_=request.param)
    await Wallet(services, sandbox, clock, opened.guest).attach()
    return opened


async def behaves(shop: Shop, as_: str) -> None:
    """From now on the guest's card does what this one does."""
    saved = await SavedPaymentMethod.get(user_id=shop.guest.id)
    await shop.sandbox.act(f"payment_methods/{saved.stripe_payment_method_id}/behave_as", test=as_)


async def charge_away(shop: Shop, as_: str = "pm_card_chargeDeclinedInsufficientFunds") -> PaymentResult:
    """The platform charges the guest, who is away."""
    await behaves(shop, as_)
    return await pay_for_activity(
        shop.services, viewer=SERVICE, activity_id=shop.activity.id, quantity=1, payment_method="default",
        expected_amount=None, capture_later=False, save_payment_method=False, return_url=None,
        idempotency_key=str(uuid4()), payer_external_id=shop.guest.external_id, off_session=True,
    )  # fmt: skip


async def after(shop: Shop, hours: float) -> int:
    """So many hours go by, and what is due is tried."""
    shop.clock.forward(hours=hours)
    return await retry_due_payments(shop.services)


async def charges(shop: Shop, payment: Payment) -> list[dict[str, Any]]:
    """All that were tried, the oldest first."""
    intent = (await shop.now(payment)).stripe_payment_intent_id
    account = payment.stripe_account or None
    return (await shop.sandbox.every("/v1/charges", {"payment_intent": intent}, account=account))[::-1]


async def retry(shop: Shop, payment: Payment, method: str) -> PaymentResult:
    """The guest is back and tries another method."""
    return await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=payment.id, payment_method=method, return_url=None,
        idempotency_key=str(uuid4()),
    )  # fmt: skip


async def test_a_declined_payment_is_tried_again_until_it_is_paid(shop: Shop) -> None:
    result = await charge_away(shop)
    payment = result.payment
    assert isinstance(result.error, CardDeclined)
    assert payment.next_attempt_at is not None
    assert abs(payment.next_attempt_at - shop.clock() - timedelta(hours=2)) < timedelta(minutes=1)
    assert await after(shop, 1.9) == 0
    assert await after(shop, 0.2) == 1
    tried = await shop.now(payment)
    assert (tried.status, tried.retries) == (PaymentStatus.FAILED, 1)
    assert tried.next_attempt_at is not None
    await behaves(shop, "pm_card_visa")
    assert await after(shop, 6.1) == 1
    paid = await shop.now(payment)
    assert (paid.status, paid.retries, paid.next_attempt_at) == (PaymentStatus.SUCCEEDED, 2, None)
    assert [charge["status"] for charge in await charges(shop, payment)] == ["failed", "failed", "succeeded"]
    await shop.deliver_all(payment)
    assert await PaymentAttempt.filter(payment_id=payment.id).count() == 3
    await shop.check()


async def test_it_ends_with_the_schedule_and_the_seats_with_their_hold(shop: Shop) -> None:
    payment = (await charge_away(shop)).payment
    assert [await after(shop, hours) for hours in (2.1, 6.1, 12.1)] == [1, 1, 1]
    over = await shop.now(payment)
    assert (over.retries, over.next_attempt_at, over.status) == (3, None, PaymentStatus.FAILED)
    assert len(await charges(shop, payment)) == 4
    assert await after(shop, 24) == 0
    await expire_holds(shop.services)
    assert (await shop.now(payment)).status is PaymentStatus.CANCELED
    await shop.check()


async def test_no_try_comes_after_the_hold(shop: Shop) -> None:
    object.__setattr__(shop.services, "settings", shop.services.settings.model_copy(
        update={"off_session_hold_s": 3 * HOUR}
    ))  # fmt: skip
    payment = (await charge_away(shop)).payment
    assert await after(shop, 2.1) == 1
    assert (await shop.now(payment)).next_attempt_at is None
    payment = (await charge_away(shop)).payment
    # Nobody looked for so long that the hold is over.
    assert await after(shop, 3.1) == 0
    assert len(await charges(shop, payment)) == 1


@pytest.mark.parametrize("as_", ["pm_card_chargeDeclinedLostCard", "pm_card_authenticationRequired"])
async def test_what_time_cannot_mend_is_not_tried_again(shop: Shop, as_: str) -> None:
    payment = (await charge_away(shop, as_)).payment
    assert (payment.status, payment.next_attempt_at) == (PaymentStatus.FAILED, None)
    assert await after(shop, 13) == 0
    await behaves(shop, "pm_card_visa")
    assert (await retry(shop, payment, "pm_card_mastercard")).payment.status is PaymentStatus.SUCCEEDED


async def test_a_guest_who_pays_meanwhile_ends_it(shop: Shop) -> None:
    payment = (await charge_away(shop)).payment
    declined = await retry(shop, payment, "pm_card_chargeDeclined")
    assert declined.payment.next_attempt_at == payment.next_attempt_at
    paid = await retry(shop, payment, "pm_card_mastercard")
    assert (paid.payment.status, paid.payment.next_attempt_at) == (PaymentStatus.SUCCEEDED, None)
    assert await after(shop, 13) == 0
    await shop.check()


async def test_it_is_tried_once_however_many_look(shop: Shop) -> None:
    payment = (await charge_away(shop)).payment
    shop.clock.forward(hours=2.1)
    await asyncio.gather(*(retry_due_payments(shop.services) for _ in range(5)))
    assert (await shop.now(payment)).retries == 1
    assert len(await charges(shop, payment)) == 2
    assert await Operation.filter(kind="retry_off_session").count() == 1


async def test_a_guest_does_not_pay_beside_a_try_that_is_under_way(shop: Shop) -> None:
    payment = (await charge_away(shop)).payment
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.RESERVED, 0))
        trap.begin()
        shop.clock.forward(hours=2.1)
        with pytest.raises(Crash):
            await retry_due_payments(services)
    with pytest.raises(OperationInProgress):
        await retry(shop, payment, "pm_card_mastercard")
    assert await after(shop, 0) == 0
    await behaves(shop, "pm_card_visa")
    await shop.recover()
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    assert [charge["status"] for charge in await charges(shop, payment)] == ["failed", "succeeded"]
    await shop.check()


@pytest.mark.parametrize("boundary", list(Boundary))
async def test_a_process_that_ends_in_the_middle_of_a_try_makes_it_once(shop: Shop, boundary: Boundary) -> None:
    payment = (await charge_away(shop)).payment
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, 0))
        trap.begin()
        shop.clock.forward(hours=2.1)
        try:
            await retry_due_payments(services)
        except Crash:
            pass
        else:
            pytest.fail(f"not ended at {boundary}")
    await shop.recover()
    tried = await shop.now(payment)
    assert (tried.retries, tried.status) == (1, PaymentStatus.FAILED)
    assert tried.next_attempt_at is not None
    assert len(await charges(shop, payment)) == 2
    operation = await Operation.get(kind="retry_off_session")
    assert operation.status is OperationStatus.FAILED
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).next_attempt_at == tried.next_attempt_at
    await shop.check()


async def test_a_guest_who_prefers_another_card_now_is_charged_with_that(shop: Shop) -> None:
    payment = (await charge_away(shop)).payment
    wallet = Wallet(shop.services, shop.sandbox, shop.clock, shop.guest)
    [first] = await wallet.methods()
    await wallet.detach(first)
    assert await after(shop, 2.1) == 1
    nothing = await shop.now(payment)
    assert (nothing.retries, nothing.status) == (1, PaymentStatus.FAILED)
    assert len(await charges(shop, payment)) == 1
    await wallet.attach("pm_card_mastercard")
    assert await after(shop, 6.1) == 1
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await shop.check()


async def test_a_payment_in_the_guest_s_presence_is_left_to_the_guest(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclinedInsufficientFunds")).payment
    assert payment.next_attempt_at is None
    assert await after(shop, 13) == 0
