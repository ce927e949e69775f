"""Everybody of a canceled activity gets their money back, once, whatever state their payment is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from models.activities import Activity
from models.activity_cancellations import ActivityCancellationItem, CancellationOutcome, CancellationStatus
from models.operations import Operation
from models.payments import Payment, PaymentStatus
from models.refunds import Refund, RefundReason
from models.rsvps import RsvpStatus
from services.errors import Forbidden, InvalidInput, InvalidState, NotFound
from services.payments.actions import capture_payment, retry_payment
from tests.support.rows import add_activity
from tests.support.shop import SERVICE, as_user

if TYPE_CHECKING:
    from tests.support.calling_off import CallingOff
    from tests.support.shop import Shop

MOVED = """
SELECT (SELECT count(*) FROM refunds), (SELECT count(*) FROM activity_cancellations), (SELECT count(*) FROM events),
    (SELECT count(*) FROM audit_entries), (SELECT sum(seats_taken) FROM activities), (SELECT count(*) FROM operations)
"""


async def test_who_paid_is_refunded_and_who_did_not_never_will(shop: Shop, off: CallingOff) -> None:
    paid = await shop.paid(quantity=3)
    part = await shop.paid()
    await shop.refund(part, 500)
    authorized = (await shop.pay(capture_later=True)).payment
    unconfirmed = (await shop.pay("pm_card_authenticationRequired")).payment
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    given_back = await shop.paid()
    await shop.refund(given_back)

    begun = await off.begin()
    assert (begun.status, begun.total, begun.done, begun.requested_by) == ("RUNNING", 5, 0, SERVICE.caller)
    # Paid seats are given up at once, the others when Stripe has canceled their payment.
    assert [(await shop.rsvp(payment)).status for payment in (paid, part, given_back)] == [RsvpStatus.CANCELED] * 3
    assert (await shop.rsvp(declined)).status is RsvpStatus.HELD

    ended = await off.finish()
    assert (ended.status, ended.total, ended.done, ended.failed) == (CancellationStatus.FINISHED, 5, 5, 0)
    assert ended.finished_at is not None
    assert (await Activity.get(id=shop.activity.id)).canceled_at is not None
    for payment in (paid, part):
        assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
        item = await off.item(payment)
        assert item.outcome is CancellationOutcome.REFUNDED
        refund = await Refund.get(id=item.refund_id)
        assert (refund.reason, refund.payment_id) == (RefundReason.ACTIVITY_CANCELED, payment.id)
    assert sorted(await off.refunds_at_stripe(part)) == [500, 1500]
    assert await off.refunds_at_stripe(paid) == [6000]
    for payment in (authorized, unconfirmed, declined):
        assert (await shop.now(payment)).status is PaymentStatus.CANCELED
        assert await off.outcome(payment) is CancellationOutcome.CANCELED
        assert (await shop.rsvp(payment)).status is RsvpStatus.CANCELED
    assert await shop.seats_taken() == 0
    await shop.check()


async def test_an_activity_is_canceled_once(shop: Shop, off: CallingOff) -> None:
    await shop.paid()
    first = await off.begin()
    await off.finish()
    again = await off.begin(reason="Another")
    assert (again.id, again.reason, again.status) == (first.id, "Storm", CancellationStatus.FINISHED)
    assert await Refund.all().count() == 1
    assert await off.work() == 0


async def test_one_that_nobody_paid_for_is_done_at_once(shop: Shop, off: CallingOff) -> None:
    begun = await off.begin(reason=None)
    assert (begun.status, begun.total) == (CancellationStatus.FINISHED, 0)
    assert await off.work() == 0


async def test_only_the_platform_cancels_and_nothing_moves_for_others(shop: Shop, off: CallingOff) -> None:
    await shop.paid()
    before = await shop.services.database.pool.fetchrow(MOVED)
    impossible: list[tuple[type[Exception], dict[str, Any]]] = [
        (Forbidden, {"viewer": as_user(shop.host)}), (Forbidden, {"viewer": as_user(shop.guest)}),
        (NotFound, {"activity_id": shop.host.id}), (InvalidInput, {"reason": " "}),
        (InvalidInput, {"reason": "x" * 1001}),
    ]  # fmt: skip
    for error, values in impossible:
        with pytest.raises(error):
            await off.begin(**values)
    with pytest.raises(InvalidState) as refused:
        await off.retry()
    assert refused.value.state == "NOT_CANCELED"
    assert await shop.services.database.pool.fetchrow(MOVED) == before


async def test_a_canceled_activity_takes_no_more_money(shop: Shop, off: CallingOff) -> None:
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    authorized = (await shop.pay(capture_later=True)).payment
    await off.begin()
    with pytest.raises(InvalidState) as refused:
        await shop.pay()
    assert refused.value.state == "CANCELED"
    with pytest.raises(InvalidState) as refused:
        await retry_payment(
            shop.services, viewer=as_user(shop.guest), payment_id=declined.id, payment_method="pm_card_visa",
            return_url=None, idempotency_key="again",
        )  # fmt: skip
    assert refused.value.state == "CANCELED"
    with pytest.raises(InvalidState) as refused:
        await capture_payment(
            shop.services, viewer=as_user(shop.host), payment_id=authorized.id, amount=None, idempotency_key="take"
        )
    assert refused.value.state == "CANCELED"
    assert await Payment.filter(captured_minor__gt=0).count() == 0
    await off.finish()
    await shop.check()


async def test_a_challenge_passed_after_the_activity_was_canceled_is_refunded_too(
    shop: Shop, off: CallingOff
) -> None:
    payment = (await shop.pay("pm_card_authenticationRequired")).payment
    await off.begin()
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    ended = await off.finish()
    assert ended.failed == 0
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    assert (await off.item(payment)).outcome is CancellationOutcome.REFUNDED
    assert (await shop.rsvp(payment)).status is RsvpStatus.CANCELED
    assert await off.refunds_at_stripe(payment) == [2000]
    assert await shop.seats_taken() == 0
    await shop.check()


async def test_what_a_bank_still_works_on_is_refunded_when_it_has_taken_the_money(
    shop: Shop, off: CallingOff
) -> None:
    payment = (await shop.pay("pm_usBankAccount_processing")).payment
    other = await shop.paid()
    await off.begin()
    await off.work()
    now = await off.now()
    assert (now.status, now.total, now.done) == (CancellationStatus.RUNNING, 2, 1)
    assert await off.outcome(other) is CancellationOutcome.REFUNDED
    shop.clock.forward(hours=48)
    await off.work()
    assert await off.outcome(payment) is CancellationOutcome.PENDING
    await shop.sandbox.act(f"payment_intents/{payment.stripe_payment_intent_id}/settle", outcome="success")
    await shop.deliver_all(payment)
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.REFUNDED)
    assert await off.refunds_at_stripe(payment) == [2000]
    await shop.check()


async def test_a_guest_who_gave_up_their_seat_before_is_left_alone(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await shop.refund(payment)
    begun = await off.begin()
    assert begun.total == 0
    assert await off.refunds_at_stripe(payment) == [2000]
    await shop.check()


async def test_several_cancellations_go_on_side_by_side(shop: Shop, off: CallingOff) -> None:
    async with shop.services.database.transaction() as connection:
        other = await add_activity(connection, shop.host)
    large = [await shop.paid() for _ in range(3)]
    small = await shop.paid(activity_id=other.id)
    await off.begin()
    await off.begin(activity_id=other.id)
    await off.work()
    outcomes = {await off.outcome(payment) for payment in (*large, small)}
    assert outcomes == {CancellationOutcome.REFUNDED}
    assert await ActivityCancellationItem.all().count() == 4
    keys = await Operation.filter(caller="service:system:cancellations").values_list("idempotency_key", flat=True)
    assert len(set(keys)) == 4
    await shop.check()


async def test_guests_at_the_door_go_first(shop: Shop, off: CallingOff) -> None:
    """Each call of a cancellation waits behind those of people."""
    background = shop.services.stripe.in_background()
    assert background is not shop.services.stripe
    seen: list[int] = []
    acquire = background._limiter.acquire

    async def note(priority: Any) -> None:
        seen.append(int(priority))
        await acquire(priority)

    vars(background._limiter)["acquire"] = note
    await shop.paid()
    assert set(seen) == {0}
    seen.clear()
    await off.begin()
    await off.work()
    assert set(seen) == {1}

