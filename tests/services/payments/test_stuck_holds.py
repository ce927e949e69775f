"""A seat that cannot be given back does not hold up the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.rsvps import RsvpStatus
from services.payments.holds import expire_holds

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def test_a_payment_that_stripe_does_not_know_keeps_no_other_seat(shop: Shop) -> None:
    lost = (await shop.pay("pm_card_chargeDeclined")).payment
    other = (await shop.pay("pm_card_chargeDeclined")).payment
    await shop.services.database.pool.execute(
        "UPDATE payments SET stripe_payment_intent_id = 'pi_of_another_account' WHERE id = $1", lost.id
    )
    shop.clock.forward(seconds=901)
    assert await expire_holds(shop.services) == 2
    assert (await shop.rsvp(lost)).status is RsvpStatus.HELD
    assert (await shop.rsvp(other)).status is RsvpStatus.EXPIRED
    assert await shop.seats_taken() == 1


async def test_a_hold_that_stripe_did_not_let_go_is_tried_again_later_and_not_first(shop: Shop) -> None:
    stuck = (await shop.pay("pm_card_chargeDeclined")).payment
    intent_id = stuck.stripe_payment_intent_id
    pool = shop.services.database.pool
    await pool.execute("UPDATE payments SET stripe_payment_intent_id = 'pi_gone' WHERE id = $1", stuck.id)
    shop.clock.forward(seconds=901)
    assert await expire_holds(shop.services, limit=1) == 1
    shop.clock.forward(seconds=60)
    assert await expire_holds(shop.services, limit=1) == 0
    await pool.execute("UPDATE payments SET stripe_payment_intent_id = $2 WHERE id = $1", stuck.id, intent_id)
    await pool.execute("UPDATE operations SET status = 'FAILED', finished_at = now() WHERE status = 'RUNNING'")
    shop.clock.forward(seconds=901)
    assert await expire_holds(shop.services, limit=1) == 1
    assert (await shop.rsvp(stuck)).status is RsvpStatus.EXPIRED
    assert await shop.seats_taken() == 0


async def test_what_is_under_way_with_a_payment_ends_before_its_hold_does(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    shop.clock.forward(seconds=901)
    await shop.sandbox.faults(rate_500=1.0)
    assert await expire_holds(shop.services) == 1
    assert await expire_holds(shop.services) == 0
    await shop.sandbox.heal()
    await shop.recover()
    assert (await shop.rsvp(payment)).status is RsvpStatus.EXPIRED
    await shop.check()
