"""Refunds of direct charges: the host gives all of it, and the platform its fee, in whole or in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccountType
from models.ledger import LedgerAccountKind
from models.payments import PaymentAllocation, PaymentStatus
from models.refunds import Refund, RefundOrigin, RefundStatus
from models.rsvps import RsvpStatus
from services.errors import InvalidState, RefundExceedsBalance
from services.rsvps import cancel_rsvp
from tests.services.payments.test_direct import account_of, pots
from tests.support.shop import Shop, as_user

if TYPE_CHECKING:
    from models.payments import Payment
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def shop(services: Services, sandbox: Sandbox, clock: Clock) -> Shop:
    """A host with an account of Stripe's own dashboard."""
    return await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD, price_minor=9997)


async def fee_at_stripe(shop: Shop, payment: Payment) -> dict[str, Any]:
    """The application fee of a payment."""
    charge = await shop.sandbox.get(
        f"/v1/charges/{payment.stripe_charge_id}", {"expand": ["application_fee"]}, account=account_of(shop)
    )
    return dict(charge["application_fee"])


async def test_all_of_it_gives_the_whole_fee_back(shop: Shop) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment)
    assert (refund.amount_minor, refund.fee_minor, refund.host_minor, refund.platform_minor) == (9997, 1000, 8997, 0)
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    assert (await fee_at_stripe(shop, payment))["amount_refunded"] == 1000
    assert await pots(shop) == {}
    allocation = await PaymentAllocation.get(payment_id=payment.id)
    assert (allocation.reversed_minor, allocation.owed_minor) == (8997, 0)
    await shop.deliver_all(payment)
    await shop.check()


async def test_parts_add_up_to_the_whole(shop: Shop) -> None:
    payment = await shop.paid()
    for minor in (3331, 3333, 3333):
        await shop.refund(payment, minor)
    assert (await fee_at_stripe(shop, payment))["amount_refunded"] == 1000
    assert await pots(shop) == {}
    with pytest.raises(RefundExceedsBalance):
        await shop.refund(payment, 1)
    await shop.deliver_all(payment)
    await shop.check()


async def test_a_refund_in_the_host_s_dashboard_is_taken_in_as_it_was_made(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.sandbox.post(
        "/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "amount": 4000}, account=account_of(shop)
    )
    await shop.deliver_all(payment)
    [refund] = await Refund.all()
    assert (refund.origin, refund.amount_minor, refund.fee_minor, refund.host_minor) == (
        RefundOrigin.STRIPE, 4000, 0, 4000,
    )  # fmt: skip
    assert (await pots(shop))[LedgerAccountKind.APPLICATION_FEES] == 1000
    # The rest is refunded here, and with it Stripe gives back the fee of both.
    await shop.refund(payment)
    assert (await fee_at_stripe(shop, payment))["amount_refunded"] == 1000
    assert await pots(shop) == {}
    await shop.deliver_all(payment)
    await shop.check()


async def test_forged_metadata_of_a_refund_is_not_believed(shop: Shop) -> None:
    payment = await shop.paid()
    ours = await shop.refund(payment, 1000)
    await shop.sandbox.post(
        "/v1/refunds",
        {
            "payment_intent": payment.stripe_payment_intent_id, "amount": 1000,
            "metadata": {"refund_id": str(ours.id), "payment_id": str(payment.id)},
        },
        account=account_of(shop),
    )  # fmt: skip
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).refunded_minor == 2000
    assert await Refund.all().count() == 2
    await shop.check()


async def test_a_refund_that_fails_is_the_host_s_again_who_owes_the_fee(shop: Shop) -> None:
    payment = await shop.paid("pm_card_refundFail")
    refund = await shop.refund(payment, 5000)
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    assert (await Refund.get(id=refund.id)).status is RefundStatus.FAILED
    allocation = await PaymentAllocation.get(payment_id=payment.id)
    fee = refund.fee_minor
    assert (allocation.reversed_minor, allocation.owed_minor) == (-fee, -fee)
    assert await pots(shop) == {
        LedgerAccountKind.GUEST_CLEARING: -9997, LedgerAccountKind.HOST_BALANCE: 8997 + fee,
        LedgerAccountKind.HOST_OWED: -fee, LedgerAccountKind.APPLICATION_FEES: 1000,
    }  # fmt: skip
    assert (await shop.now(payment)).refundable.minor == 9997
    await shop.check()
    # The next one finds the fee with the host, and nothing is left to be owed.
    again = await shop.refund(payment)
    assert (again.fee_minor, again.host_minor) == (1000, 8997)
    await shop.sandbox.act(f"refunds/{again.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    await shop.check()


async def test_a_guest_who_cancels_is_refunded_by_the_host(shop: Shop) -> None:
    payment = await shop.paid()
    assert payment.rsvp_id is not None
    canceled = await cancel_rsvp(
        shop.services, viewer=as_user(shop.guest), rsvp_id=payment.rsvp_id, idempotency_key=str(uuid4())
    )
    assert canceled.error is None
    assert canceled.refund is not None
    assert canceled.refund.amount_minor == 9997
    assert canceled.rsvp.status is RsvpStatus.CANCELED
    assert await pots(shop) == {}
    await shop.check()


async def test_a_host_who_cut_the_platform_off_keeps_the_money_and_nothing_is_refunded(shop: Shop) -> None:
    payment = await shop.paid()
    held = await pots(shop)
    await shop.sandbox.act(f"accounts/{account_of(shop)}/deauthorize")
    with pytest.raises(InvalidState):
        await shop.refund(payment)
    after = await shop.now(payment)
    assert (after.status, after.refunded_minor, after.refund_pending_minor) == (PaymentStatus.SUCCEEDED, 0, 0)
    assert await pots(shop) == held
