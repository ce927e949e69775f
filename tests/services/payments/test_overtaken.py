"""What Stripe tells of a payment whose own answer is still on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.payments import PaymentAttempt

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def test_a_failed_charge_is_kept_though_its_event_comes_before_the_intent_is_known(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    failed = [event for event in await shop.events_of(payment) if event["type"] == "charge.failed"]
    pool = shop.services.database.pool
    intent_id = payment.stripe_payment_intent_id
    await pool.execute("UPDATE payments SET stripe_payment_intent_id = NULL WHERE id = $1", payment.id)
    await shop.deliver(failed)
    await pool.execute("UPDATE payments SET stripe_payment_intent_id = $2 WHERE id = $1", payment.id, intent_id)
    kept = await PaymentAttempt.filter(payment_id=payment.id)
    assert [attempt.stripe_charge_id for attempt in kept] == [failed[0]["data"]["object"]["id"]]
    await shop.check()
