"""Giving money back: whole, in parts, late, in vain, and from Stripe's own dashboard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.ledger import LedgerAccountKind
from models.money import Money
from models.operations import Operation, OperationStatus
from models.payments import Payment, PaymentAllocation, PaymentStatus
from models.refunds import Refund, RefundOrigin, RefundReason, RefundStatus
from services.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
    NotFound,
    RefundExceedsBalance,
    StripeUnavailable,
)
from services.payments.actions import capture_payment
from services.refunds.creation import refund_payment
from tests.support.shop import SERVICE, Shop, as_user, pool_fetch

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def pots(shop: Shop) -> dict[str, int]:
    """What each kind of pot holds."""
    records = await pool_fetch(
        shop.services,
        "SELECT a.kind, sum(p.amount_minor)::int AS minor FROM ledger_postings p"
        " JOIN ledger_accounts a ON a.id = p.account_id GROUP BY 1 HAVING sum(p.amount_minor) <> 0",
    )
    return {record["kind"]: record["minor"] for record in records}


async def application_fee(shop: Shop, payment: Payment) -> Any:
    """What Stripe has of the payment's fee."""
    charge = await shop.sandbox.get(f"/v1/charges/{payment.stripe_charge_id}", {"expand": ["application_fee"]})
    return charge["application_fee"]


async def nothing_moved(shop: Shop, payment: Payment) -> None:
    now = await shop.now(payment)
    assert (now.version, now.refundable) == (payment.version, payment.refundable)
    await shop.check()


async def test_a_whole_refund_gives_everything_back(shop: Shop) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment, reason=RefundReason.REQUESTED_BY_CUSTOMER)
    assert (refund.status, refund.amount) == (RefundStatus.SUCCEEDED, Money(2000, "USD"))
    assert (refund.fee_minor, refund.host_minor) == (200, 1800)
    assert (refund.origin, refund.requested_by) == (RefundOrigin.PAYDESK, as_user(shop.host).caller)
    now = await shop.now(payment)
    assert now.status is PaymentStatus.REFUNDED
    assert (now.refunded_minor, now.refund_pending_minor, now.fee_refunded_minor) == (2000, 0, 200)
    assert not now.refundable
    assert await pots(shop) == {}
    [allocation] = await PaymentAllocation.all()
    assert allocation.reversed_minor == 1800
    await shop.check()


async def test_the_refund_at_stripe_takes_from_the_host_and_gives_the_fee_back(shop: Shop) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment, 1000, reason=RefundReason.ACTIVITY_CANCELED)
    made = await shop.sandbox.get(f"/v1/refunds/{refund.stripe_refund_id}")
    assert made["metadata"]["refund_id"] == str(refund.id)
    assert made["reason"] == "requested_by_customer"
    assert made["transfer_reversal"] is not None
    assert (await application_fee(shop, payment))["amount_refunded"] == 100


async def test_parts_add_up_to_the_whole_fee_included(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, price_minor=1001)
    payment = await shop.paid()
    for minor in (333, 1, 333, 334):
        refund = await shop.refund(payment, minor)
        assert refund.fee_minor + refund.host_minor == minor
        await shop.check()
    now = await shop.now(payment)
    assert (now.status, now.fee_refunded_minor) == (PaymentStatus.REFUNDED, now.platform_fee_minor)
    assert await pots(shop) == {}
    fee = await application_fee(shop, payment)
    assert fee["amount_refunded"] == fee["amount"] == now.platform_fee.wire


@pytest.mark.parametrize("currency", ["JPY", "ISK", "KWD", "MGA"])
async def test_any_currency_is_given_back_as_its_wire_says(
    services: Services, sandbox: Sandbox, clock: Clock, currency: str
) -> None:
    shop = await Shop.open(services, sandbox, clock, currency=currency, price_minor=50_000)
    payment = await shop.paid()
    refund = await shop.refund(payment, 20_000)
    assert (await sandbox.get(f"/v1/refunds/{refund.stripe_refund_id}"))["amount"] == Money(20_000, currency).wire
    await shop.refund(payment)
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    await shop.check()


async def test_a_part_leaves_the_rest_to_be_refunded(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.refund(payment, 500)
    now = await shop.now(payment)
    assert (now.status, now.refundable) == (PaymentStatus.PARTIALLY_REFUNDED, Money(1500, "USD"))
    await shop.refund(payment)
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    await shop.check()


async def test_more_than_what_is_left_is_refused_before_stripe_hears_of_it(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.refund(payment, 1500)
    payment = await shop.now(payment)
    before = len(await shop.sandbox.requests_to("/v1/refunds"))
    with pytest.raises(RefundExceedsBalance) as refused:
        await shop.refund(payment, 501)
    assert refused.value.refundable == Money(500, "USD")
    assert len(await shop.sandbox.requests_to("/v1/refunds")) == before
    assert await Refund.all().count() == 1
    await nothing_moved(shop, payment)


async def test_many_refunds_at_once_never_give_back_more_than_was_taken(shop: Shop) -> None:
    payment = await shop.paid()
    outcomes = await asyncio.gather(*(shop.refund(payment, 300) for _ in range(20)), return_exceptions=True)
    assert sum(1 for outcome in outcomes if isinstance(outcome, Refund)) == 6
    assert {type(outcome) for outcome in outcomes} == {Refund, RefundExceedsBalance}
    now = await shop.now(payment)
    assert (now.refunded_minor, now.refundable.minor) == (1800, 200)
    await shop.check()


async def test_the_same_key_refunds_once_and_answers_alike(shop: Shop) -> None:
    payment = await shop.paid()
    refunds = await asyncio.gather(*(shop.refund(payment, 300, idempotency_key="r") for _ in range(100)))
    assert {(refund.id, refund.status, refund.stripe_refund_id) for refund in refunds} == {
        (refunds[0].id, RefundStatus.SUCCEEDED, refunds[0].stripe_refund_id)
    }
    with pytest.raises(IdempotencyKeyReused):
        await shop.refund(payment, 301, idempotency_key="r")
    assert len(await shop.sandbox.every("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id})) == 1
    await shop.check()


@pytest.mark.parametrize(("minor", "currency"), [(0, "USD"), (-5, "USD"), (100, "EUR")])
async def test_no_other_amount_can_be_given_back(shop: Shop, minor: int, currency: str) -> None:
    payment = await shop.paid()
    with pytest.raises(InvalidInput) as refused:
        await refund_payment(
            shop.services, viewer=SERVICE, payment_id=payment.id, amount=Money(minor, currency), reason=None,
            idempotency_key="k",
        )  # fmt: skip
    assert refused.value.path == ["input", "amount"]
    assert await Operation.filter(idempotency_key="k").count() == 0
    await nothing_moved(shop, payment)


async def test_only_the_host_and_the_platform_give_back(shop: Shop) -> None:
    payment = await shop.paid()
    with pytest.raises(Forbidden):
        await shop.refund(payment, viewer=as_user(shop.guest))
    with pytest.raises(NotFound):
        await shop.refund(payment, viewer=as_user(await shop.new_guest()))
    with pytest.raises(NotFound):
        await shop.refund(Payment(id=uuid4(), currency="USD"), viewer=SERVICE)
    await nothing_moved(shop, payment)
    assert (await shop.refund(payment, viewer=SERVICE)).status is RefundStatus.SUCCEEDED


@pytest.mark.parametrize("method", ["pm_card_chargeDeclined", "pm_card_authenticationRequired"])
async def test_what_was_not_paid_cannot_be_refunded(shop: Shop, method: str) -> None:
    payment = (await shop.pay(method)).payment
    with pytest.raises(InvalidState):
        await shop.refund(payment)
    await nothing_moved(shop, payment)


async def test_of_a_partial_capture_no_more_than_that_is_given_back(shop: Shop) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    await capture_payment(
        shop.services, viewer=SERVICE, payment_id=payment.id, amount=Money(1000, "USD"), idempotency_key="c"
    )
    with pytest.raises(RefundExceedsBalance):
        await shop.refund(payment, 1001)
    refund = await shop.refund(payment)
    assert (refund.amount_minor, refund.fee_minor) == (1000, 100)
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    await shop.check()


async def test_a_pending_refund_counts_against_what_is_left(shop: Shop) -> None:
    payment = await shop.paid("pm_card_pendingRefund")
    refund = await shop.refund(payment, 1500)
    assert refund.status is RefundStatus.PENDING
    now = await shop.now(payment)
    assert (now.status, now.refund_pending_minor, now.refundable) == (PaymentStatus.SUCCEEDED, 1500, Money(500, "USD"))
    assert (await pots(shop))[LedgerAccountKind.REFUNDS] == 1500
    with pytest.raises(RefundExceedsBalance):
        await shop.refund(payment, 501)
    await shop.check()
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/succeed")
    await shop.deliver_all(payment)
    assert (await Refund.get(id=refund.id)).status is RefundStatus.SUCCEEDED
    now = await shop.now(payment)
    assert (now.status, now.refund_pending_minor, now.refunded_minor) == (PaymentStatus.PARTIALLY_REFUNDED, 0, 1500)
    assert LedgerAccountKind.REFUNDS not in await pots(shop)
    await shop.check()


async def test_a_refund_that_fails_later_gives_the_amount_back_to_the_payment(shop: Shop) -> None:
    payment = await shop.paid("pm_card_refundFail")
    refund = await shop.refund(payment, 700)
    assert refund.status is RefundStatus.SUCCEEDED
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    failed = await Refund.get(id=refund.id)
    assert failed.status is RefundStatus.FAILED
    assert failed.failure_reason
    now = await shop.now(payment)
    assert (now.status, now.refunded_minor, now.refundable) == (PaymentStatus.SUCCEEDED, 0, Money(2000, "USD"))
    assert now.fee_refunded_minor == 0
    [allocation] = await PaymentAllocation.all()
    assert (allocation.reversed_minor, allocation.owed_minor) == (630, 630)
    assert (await pots(shop))[LedgerAccountKind.HOST_OWED] == 630
    await shop.check()


async def test_a_pending_refund_that_fails_gives_the_amount_back_too(shop: Shop) -> None:
    payment = await shop.paid("pm_card_pendingRefund")
    refund = await shop.refund(payment)
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    assert (await Refund.get(id=refund.id)).status is RefundStatus.FAILED
    now = await shop.now(payment)
    assert (now.status, now.refundable) == (PaymentStatus.SUCCEEDED, Money(2000, "USD"))
    await shop.check()


async def test_a_refund_of_stripe_s_dashboard_comes_in_by_webhook(shop: Shop) -> None:
    payment = await shop.paid()
    made = await shop.sandbox.post(
        "/v1/refunds",
        {
            "payment_intent": payment.stripe_payment_intent_id, "amount": 400, "reverse_transfer": True,
            "refund_application_fee": True, "reason": "duplicate",
        },
    )  # fmt: skip
    await shop.deliver_all(payment)
    [refund] = await Refund.all()
    assert (refund.stripe_refund_id, refund.origin, refund.reason) == (
        made["id"], RefundOrigin.STRIPE, RefundReason.DUPLICATE,
    )  # fmt: skip
    assert (refund.amount_minor, refund.fee_minor, refund.host_minor) == (400, 40, 360)
    assert (await shop.now(payment)).refundable == Money(1600, "USD")
    await shop.refund(payment)
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    await shop.check()


async def test_a_refund_of_the_dashboard_that_left_too_little_makes_ours_fail_in_words(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.sandbox.post(
        "/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "amount": 1900, "reverse_transfer": True}
    )
    with pytest.raises(InvalidState) as refused:
        await shop.refund(payment, 500)
    assert str(refused.value).startswith("Stripe refused")
    await shop.deliver_all(payment)
    ours = await Refund.get(origin=RefundOrigin.PAYDESK)
    assert ours.status is RefundStatus.FAILED
    now = await shop.now(payment)
    assert (now.refunded_minor, now.refund_pending_minor) == (1900, 0)
    assert await Operation.filter(status=OperationStatus.FAILED).count() == 1


WEATHER: dict[str, dict[str, Any]] = {
    "the answer is lost": {"reset_after": 1.0},
    "the call is lost": {"reset_before": 1.0},
    "Stripe answers 500": {"rate_500": 1.0},
}


@pytest.mark.parametrize("weather", sorted(WEATHER))
@pytest.mark.parametrize("hours", [1, 30])
async def test_a_refund_ends_by_itself_once_stripe_is_back(shop: Shop, weather: str, hours: int) -> None:
    payment = await shop.paid()
    await shop.sandbox.faults(**WEATHER[weather])
    with pytest.raises(StripeUnavailable):
        await shop.refund(payment, 600)
    now = await shop.now(payment)
    assert (now.refund_pending_minor, now.refundable) == (600, Money(1400, "USD"))
    await shop.sandbox.heal()
    shop.clock.forward(hours=hours)
    await shop.recover()
    assert (await shop.now(payment)).refunded_minor == 600
    assert len(await shop.sandbox.every("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id})) == 1
    await shop.check()


@pytest.mark.parametrize("seed", range(3))
async def test_in_foul_weather_refunds_end_and_are_made_once(shop: Shop, seed: int) -> None:
    payments = [await shop.paid() for _ in range(4)]
    await shop.sandbox.faults(seed=seed, reset_before=0.2, reset_after=0.2, rate_500=0.25, rate_429=0.1)
    await asyncio.gather(
        *(shop.refund(payment, minor) for payment in payments for minor in (100, 200, 300)), return_exceptions=True
    )
    await shop.sandbox.heal()
    await shop.recover()
    for payment in payments:
        assert (await shop.now(payment)).refunded_minor == 600
    await shop.check()


async def test_what_is_let_go_of_an_authorization_is_no_refund(shop: Shop) -> None:
    """Stripe lists the part that was never captured among the refunds; a real one of the same amount still counts."""
    payment = (await shop.pay(capture_later=True)).payment
    half = payment.amount.split([1, 1])[0]
    payment = (
        await capture_payment(
            shop.services, viewer=SERVICE, payment_id=payment.id, amount=half, idempotency_key="half"
        )
    ).payment
    [released] = await shop.sandbox.every("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id})
    assert (released["amount"], released["balance_transaction"]) == (half.wire, None)
    await shop.deliver_all(payment)
    assert await Refund.filter(payment_id=payment.id).count() == 0
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await shop.check()
    await shop.refund(payment)
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    await shop.check()
