"""Who could not get their money back, and why; and what happens after somebody was dealt with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.activity_cancellations import ActivityCancellation, CancellationOutcome, CancellationStatus
from models.base import new_id
from models.disputes import Dispute
from models.operations import Operation, OperationStatus
from models.payments import PaymentStatus
from models.refunds import Refund, RefundStatus
from models.rsvps import RsvpStatus
from models.sets import insert_rows
from services.parked import retry_parked

if TYPE_CHECKING:
    from models.payments import Payment
    from tests.support.calling_off import CallingOff
    from tests.support.shop import Shop


async def dispute(shop: Shop, payment: Payment) -> None:
    """The guest's bank holds the money, as disputes are settled here."""
    row = Dispute(
        id=new_id(), payment_id=payment.id, stripe_dispute_id=f"dp_{payment.id.hex}", stripe_charge_id="ch_1",
        status="NEEDS_RESPONSE", reason="fraudulent", amount_minor=2000, currency="USD", withdrawn_minor=2000,
        stripe_created_at=shop.clock(),
    )  # fmt: skip
    async with shop.services.database.transaction() as connection:
        await insert_rows(connection, Dispute, [row])
        await connection.execute(
            "UPDATE payments SET disputed_minor = 2000, updated_at = now() WHERE id = $1", payment.id
        )


async def decide(shop: Shop, payment: Payment, status: str, disputed_minor: int) -> None:
    """The bank has decided."""
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "UPDATE disputes SET status = $2, withdrawn_minor = $3, host_minor = $4, fee_minor = $5"
            " WHERE payment_id = $1",
            payment.id, status, disputed_minor, disputed_minor * 9 // 10, disputed_minor // 10,
        )  # fmt: skip
        await connection.execute(
            "UPDATE payments SET disputed_minor = $2, updated_at = now() WHERE id = $1", payment.id, disputed_minor
        )


async def refused(shop: Shop, off: CallingOff) -> Payment:
    """Stripe refuses to refund one of two: it was refunded in the dashboard, and nobody has told us."""
    payment = await shop.paid()
    await shop.paid()
    await shop.sandbox.post(
        "/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "reverse_transfer": True}
    )
    await off.begin()
    return payment


async def test_one_whom_stripe_refuses_is_on_the_list_with_the_reason(shop: Shop, off: CallingOff) -> None:
    payment = await refused(shop, off)
    ended = await off.finish()
    assert (ended.status, ended.total, ended.done, ended.failed) == (CancellationStatus.FINISHED, 2, 2, 1)
    item = await off.item(payment)
    assert (item.outcome, item.attempts) == (CancellationOutcome.FAILED, 1)
    assert item.error == "Stripe refused the refund. Nothing was given back."
    assert (await Refund.get(id=item.refund_id)).status is RefundStatus.FAILED
    assert await off.refunds_at_stripe(payment) == [2000]
    assert (await shop.rsvp(payment)).status is RsvpStatus.CANCELED


async def test_failures_are_tried_again_by_hand_and_the_others_left_alone(shop: Shop, off: CallingOff) -> None:
    payment = await refused(shop, off)
    await off.finish()
    again = await off.retry()
    assert (again.status, again.done, again.failed, again.finished_at) == (CancellationStatus.RUNNING, 1, 0, None)
    ended = await off.finish()
    assert (ended.failed, (await off.item(payment)).attempts) == (1, 2)

    await shop.deliver_all(payment)  # now we hear of the refund in the dashboard
    await off.retry()
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.NOTHING_TO_REFUND)
    assert await off.refunds_at_stripe(payment) == [2000]
    assert await Refund.filter(status=RefundStatus.SUCCEEDED).count() == 2
    await shop.check()


async def test_a_refund_that_comes_back_is_a_failure_from_then_on(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await off.begin()
    await off.finish()
    assert await off.watch() == 0
    refund = await Refund.get(payment_id=payment.id)
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail", failure_reason="expired_or_canceled_card")
    await shop.deliver_all(payment)

    assert await off.watch() == 1
    now = await off.now()
    assert (now.status, now.done, now.failed) == (CancellationStatus.FINISHED, 1, 1)
    item = await off.item(payment)
    assert item.outcome is CancellationOutcome.FAILED
    assert "expired_or_canceled_card" in str(item.error)
    assert await off.watch() == 0  # and nobody tries by themselves what the bank does not take

    await off.retry()
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.REFUNDED)
    assert await off.refunds_at_stripe(payment) == [2000]
    await shop.check()


async def test_a_refund_of_before_that_comes_back_is_a_failure_too(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment)
    assert (await off.begin()).total == 0
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail", failure_reason="expired_or_canceled_card")
    await shop.deliver_all(payment)

    assert await off.watch() == 1
    now = await off.now()
    assert (now.status, now.total, now.done, now.failed) == (CancellationStatus.FINISHED, 1, 1, 1)
    assert "expired_or_canceled_card" in str((await off.item(payment)).error)
    assert await off.watch() == 0

    await off.retry()
    assert (await off.finish()).failed == 0
    assert await off.refunds_at_stripe(payment) == [2000]
    await shop.check()


async def test_a_disputed_payment_is_a_failure_until_the_dispute_is_won(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await dispute(shop, payment)
    await off.begin()
    ended = await off.finish()
    item = await off.item(payment)
    assert (ended.failed, item.outcome, item.refund_id) == (1, CancellationOutcome.FAILED, None)
    assert "disputes" in str(item.error)
    assert (await shop.rsvp(payment)).status is RsvpStatus.CANCELED
    assert await Refund.all().count() == 0
    assert await off.watch() == 0

    await decide(shop, payment, "WON", 0)
    assert await off.watch() == 1
    assert (await off.now()).status is CancellationStatus.RUNNING
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.REFUNDED)
    assert await off.refunds_at_stripe(payment) == [2000]


async def test_a_dispute_that_nobody_has_heard_of_yet_is_waited_for_too(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/dispute")
    await off.begin()
    assert (await off.finish()).failed == 1
    assert await off.watch() == 0

    await shop.deliver_all(payment)
    assert await off.watch() == 1
    assert (await off.finish()).failed == 1
    assert "disputes" in str((await off.item(payment)).error)
    assert await off.watch() == 0

    [theirs] = await shop.sandbox.every("/v1/disputes", {"charge": payment.stripe_charge_id})
    await shop.sandbox.act(f"disputes/{theirs['id']}/decide", outcome="won")
    await shop.deliver_all(payment)
    assert await off.watch() == 1
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.REFUNDED)
    assert await off.refunds_at_stripe(payment) == [2000]
    await shop.check()


async def test_a_guest_who_won_the_dispute_has_their_money(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await dispute(shop, payment)
    await off.begin()
    await off.finish()
    await decide(shop, payment, "LOST", 2000)
    assert await off.watch() == 1
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.NOTHING_TO_REFUND)
    assert await Refund.all().count() == 0
    assert await off.watch() == 0

    await decide(shop, payment, "WON", 0)  # which happens, though it was lost
    assert await off.watch() == 1
    assert (await off.finish()).failed == 0
    assert await off.refunds_at_stripe(payment) == [2000]


async def test_what_only_a_person_can_tell_is_a_failure_until_they_have(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await off.begin()
    await shop.sandbox.faults(reset_before=1.0)
    await off.work()
    await shop.sandbox.heal()
    operation = await Operation.get(kind="refund_payment")
    await Operation.filter(id=operation.id).update(status=OperationStatus.PARKED)
    shop.clock.forward(seconds=60)
    await off.work()
    item = await off.item(payment)
    assert (item.outcome, item.attempts, item.refund_id) == (CancellationOutcome.FAILED, 0, None)
    await off.retry()  # which knows no more than before, and begins nothing anew
    assert (await off.finish()).failed == 1
    assert await Operation.filter(kind="refund_payment").count() == 1

    async with shop.services.database.pool.acquire() as connection:
        await retry_parked(connection, operation.id)
    shop.clock.forward(seconds=60)
    await shop.recover()
    assert await off.watch() == 1
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.REFUNDED)
    assert await off.refunds_at_stripe(payment) == [2000]
    await shop.check()


async def test_an_unpaid_one_that_is_paid_by_another_way_meanwhile_is_refunded(shop: Shop, off: CallingOff) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    await off.begin()
    await shop.sandbox.post(f"/v1/payment_intents/{payment.stripe_payment_intent_id}/capture")
    ended = await off.finish()
    assert (ended.failed, await off.outcome(payment)) == (0, CancellationOutcome.REFUNDED)
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    assert (await ActivityCancellation.get(id=ended.id)).total == 1
    await shop.check()


async def test_what_was_dealt_with_long_ago_is_not_looked_at_again_by_itself(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await dispute(shop, payment)
    await off.begin()
    await off.finish()
    pool = shop.services.database.pool
    await decide(shop, payment, "WON", 0)
    await pool.execute("UPDATE activity_cancellation_items SET updated_at = now() - interval '366 days'")
    assert await off.watch() == 0
    await pool.execute("UPDATE activity_cancellation_items SET updated_at = now() - interval '364 days'")
    assert await off.watch() == 1


async def test_what_was_empty_is_looked_at_for_its_disputes_alone(shop: Shop, off: CallingOff) -> None:
    payment = await shop.paid()
    await dispute(shop, payment)
    await decide(shop, payment, "LOST", 2000)
    await off.begin()
    await off.finish()
    assert await off.outcome(payment) is CancellationOutcome.NOTHING_TO_REFUND
    await decide(shop, payment, "WON", 0)
    pool = shop.services.database.pool
    await pool.execute("UPDATE disputes SET updated_at = now() - interval '31 days'")
    assert await off.watch() == 0
    await pool.execute("UPDATE disputes SET updated_at = now()")
    assert await off.watch() == 1
