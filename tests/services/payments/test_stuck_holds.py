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
