"""Direct charges through ends of processes, lost answers, and hosts who cut the platform off in the middle."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.operations import Operation, OperationStatus, OperationStep
from models.payments import Payment, PaymentStatus
from models.rsvps import RsvpStatus
from models.webhook_events import WebhookEvent, WebhookEventStatus
from services.errors import HostNotReady, OperationInProgress, StripeUnavailable
from services.payments.actions import cancel_payment, capture_payment
from services.payments.holds import expire_holds
from services.webhooks.processing import process_due
from tests.services.payments.test_direct import account_of, pots, retry, wallet_of
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.shop import SERVICE, Shop, receive_signed

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

WEATHER: dict[str, dict[str, Any]] = {
    "the answer is lost": {"reset_after": 1.0},
    "the call is lost": {"reset_before": 1.0},
    "Stripe answers 500": {"rate_500": 1.0},
}


@pytest.fixture
async def shop(services: Services, sandbox: Sandbox, clock: Clock) -> Shop:
    """A host with an account of Stripe's own dashboard."""
    return await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD)


async def deauthorized(shop: Shop) -> None:
    """The host cuts the platform off, and nobody here knows yet."""
    await shop.sandbox.act(f"accounts/{account_of(shop)}/deauthorize")


@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize("boundary", [Boundary.RESERVED, Boundary.CALLED])
async def test_a_process_that_ends_between_its_calls_charges_once(
    shop: Shop, boundary: Boundary, calls: int, saves: bool
) -> None:
    made = await wallet_of(shop).made()
    if saves:
        await wallet_of(shop).attach()  # so that the guest is a customer already
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, calls))
        trap.begin()
        try:
            await Shop(
                services, shop.sandbox, shop.clock, shop.host, shop.account, shop.guest, shop.activity
            ).pay(made, save_payment_method=saves)
        except Crash:
            pass
        else:
            assert calls == 2  # without saving there are but two calls
            assert not saves
    await shop.recover()
    [payment] = await Payment.all()
    assert payment.status is PaymentStatus.SUCCEEDED
    assert len(await shop.sandbox.every("/v1/payment_intents", account=account_of(shop))) == 1
    assert len(await wallet_of(shop).methods()) == (2 if saves else 0)
    await shop.deliver_all(payment)
    await shop.check()


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("calls", [0, 1])
async def test_a_retry_that_is_cut_short_is_made_once(shop: Shop, boundary: Boundary, calls: int) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    made, key = await wallet_of(shop).made(), str(uuid4())
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, calls))
        trap.begin()
        through = Shop(services, shop.sandbox, shop.clock, shop.host, shop.account, shop.guest, shop.activity)
        with suppress(Crash):
            await retry(through, payment, made, idempotency_key=key)
    await shop.recover()
    assert (await retry(shop, payment, made, idempotency_key=key)).error is None
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await shop.deliver_all(payment)
    await shop.check()


@pytest.mark.parametrize("hours", [0, 24])
@pytest.mark.parametrize("weather", sorted(WEATHER))
async def test_a_lost_answer_is_found_on_the_host_s_account(shop: Shop, weather: str, hours: int) -> None:
    saved = await wallet_of(shop).attach()
    await shop.sandbox.faults(**WEATHER[weather])
    with pytest.raises(StripeUnavailable):
        await shop.pay(saved.stripe_payment_method_id)
    await shop.sandbox.heal()
    # After a day Stripe has forgotten the key, and only its list can tell.
    shop.clock.forward(hours=hours)
    await shop.recover()
    [payment] = await Payment.all()
    assert payment.status is PaymentStatus.SUCCEEDED
    await shop.deliver_all(payment)
    await shop.check()


async def test_an_intent_that_a_host_made_up_is_not_found_instead(shop: Shop) -> None:
    saved = await wallet_of(shop).attach()
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.RESERVED, 1))
        trap.begin()
        through = Shop(services, shop.sandbox, shop.clock, shop.host, shop.account, shop.guest, shop.activity)
        with pytest.raises(Crash):
            await through.pay(saved.stripe_payment_method_id)
    [payment] = await Payment.all()
    operation = await Operation.get(kind="pay_for_activity")
    forged = await shop.sandbox.post(
        "/v1/payment_intents",
        {
            "amount": 50, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {"payment_id": str(payment.id), "operation_id": str(operation.id)},
        },
        account=account_of(shop),
    )  # fmt: skip
    for event in await shop.sandbox.events_about(forged["id"], account=account_of(shop)):
        await receive_signed(shop.services, event)
    await process_due(shop.services)
    assert (await shop.now(payment)).stripe_payment_intent_id is None
    shop.clock.forward(hours=24)
    await shop.recover()
    payment = await shop.now(payment)
    assert payment.stripe_payment_intent_id != forged["id"]
    assert (payment.status, payment.captured_minor) == (PaymentStatus.SUCCEEDED, 2000)
    shop.clock.forward(seconds=60)
    await process_due(shop.services)
    assert await WebhookEvent.exclude(
        status__in=[WebhookEventStatus.PROCESSED, WebhookEventStatus.IGNORED]
    ).count() == 0  # fmt: skip
    await shop.check()


async def test_a_host_who_cut_the_platform_off_is_not_charged_for(shop: Shop) -> None:
    await deauthorized(shop)
    result = await shop.pay()
    assert isinstance(result.error, HostNotReady)
    assert result.payment.status is PaymentStatus.CANCELED
    assert (await shop.seats_taken(), await pots(shop)) == (0, {})


async def test_a_payment_that_cannot_be_finished_any_more_gives_its_seats_back(shop: Shop) -> None:
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    asked = (await shop.pay("pm_card_authenticationRequired")).payment
    held = (await shop.pay(capture_later=True)).payment
    await deauthorized(shop)
    result = await retry(shop, declined, "pm_card_visa")
    assert isinstance(result.error, HostNotReady)
    assert result.payment.status is PaymentStatus.FAILED
    captured = await capture_payment(
        shop.services, viewer=SERVICE, payment_id=held.id, amount=None, idempotency_key=str(uuid4())
    )
    assert isinstance(captured.error, HostNotReady)
    assert captured.payment.status is PaymentStatus.AUTHORIZED
    canceled = await cancel_payment(
        shop.services, viewer=SERVICE, payment_id=asked.id, idempotency_key=str(uuid4())
    )
    assert (canceled.error, canceled.payment.status) == (None, PaymentStatus.CANCELED)
    assert await shop.seats_taken() == 2
    shop.clock.forward(hours=24 * 8)
    await expire_holds(shop.services)
    assert await shop.seats_taken() == 0
    for payment in (declined, asked, held):
        assert (await shop.now(payment)).status is PaymentStatus.CANCELED
        assert (await shop.rsvp(payment)).status is RsvpStatus.CANCELED
    assert await pots(shop) == {}


async def test_what_a_lost_account_has_told_is_done_with(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_authenticationRequired")).payment
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    events = await shop.events_of(payment)
    await deauthorized(shop)
    await shop.deliver(events)
    assert {row.status for row in await WebhookEvent.all()} == {WebhookEventStatus.PROCESSED}
    assert (await shop.now(payment)).status is PaymentStatus.REQUIRES_ACTION


async def test_a_call_whose_answer_was_lost_with_the_account_waits_for_a_person(shop: Shop) -> None:
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.CALLED, 1))
        trap.begin()
        through = Shop(services, shop.sandbox, shop.clock, shop.host, shop.account, shop.guest, shop.activity)
        with pytest.raises(Crash):
            await through.pay()
    await deauthorized(shop)
    shop.clock.forward(seconds=700)
    await shop.services.operations.recover(shop.services)
    [operation] = await Operation.filter(kind="pay_for_activity")
    assert operation.status is OperationStatus.PARKED
    assert (await Payment.get()).status is PaymentStatus.PENDING
    assert await shop.seats_taken() == 1
    with pytest.raises(OperationInProgress):
        await cancel_payment(
            shop.services, viewer=SERVICE, payment_id=(await Payment.get()).id, idempotency_key=str(uuid4())
        )


async def test_an_account_that_is_back_goes_on(shop: Shop) -> None:
    await ConnectAccount.filter(id=shop.account.id).update(capabilities={"card_payments": "pending"})
    with pytest.raises(HostNotReady):
        await shop.pay()
    assert await OperationStep.all().count() == 0
    await ConnectAccount.filter(id=shop.account.id).update(capabilities={"card_payments": "active"})
    await shop.paid()
    await shop.check()
