"""Refunds whose events come before their payment is known by its intent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models.payments import Payment, PaymentStatus
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from tests.support.shop import Shop


@pytest.mark.parametrize("about", ["refund.", "charge.refunded"])
async def test_a_refund_that_overtakes_the_answer_to_its_payment_comes_in(shop: Shop, about: str) -> None:
    guest = await shop.new_guest()
    await shop.paid(guest=guest)  # a customer from now on
    trap = Trap()
    trap.arm(Trouble.crash(Boundary.CALLED, 0))
    async with trapped(shop.services, trap, shop.sandbox) as services:
        with pytest.raises(Crash):
            await replace(shop, services=services).pay(guest=guest)
    payment = await Payment.get(stripe_payment_intent_id=None)
    intents = await shop.sandbox.every("/v1/payment_intents")
    [intent] = [found["id"] for found in intents if found["metadata"].get("payment_id") == str(payment.id)]
    await shop.sandbox.post("/v1/refunds", {"payment_intent": intent, "amount": 700, "reverse_transfer": True})

    events = await shop.sandbox.events_about(intent)
    await shop.deliver([event for event in events if event["type"].startswith(about)])

    now = await shop.now(payment)
    assert (now.status, now.refunded_minor) == (PaymentStatus.PARTIALLY_REFUNDED, 700)
    await shop.recover()
    assert (await shop.now(payment)).version == now.version
    await shop.check()
