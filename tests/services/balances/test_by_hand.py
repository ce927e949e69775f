"""Every cent of what people do in Stripe's dashboard, past Paydesk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from models.payments import PaymentAllocation
from services.balances.unexplained import unexplained_of
from tests.support.books import assert_books_agree, mirror_all
from tests.support.shop import Shop

if TYPE_CHECKING:
    from models.payments import Payment
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

PLACES = [("US", "USD"), ("DE", "EUR"), ("US", "EUR"), ("JP", "USD")]


async def nothing_is_unexplained(shop: Shop, payment: Payment) -> None:
    """And the books agree."""
    await assert_books_agree(shop.services, shop.sandbox)
    assert not any((await unexplained_of(shop.services, [payment.id])).get(payment.id, []))
    await shop.check()


@pytest.mark.parametrize(("country", "currency"), PLACES)
@pytest.mark.parametrize("first", [0, 1])
async def test_two_refunds_of_which_one_gave_the_fee_back_whichever_comes_in_first(
    services: Services, sandbox: Sandbox, clock: Clock, country: str, currency: str, first: int
) -> None:
    shop = await Shop.open(services, sandbox, clock, country=country, currency=currency)
    payment = await shop.paid()
    made: list[Any] = [
        await sandbox.post("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, **options})
        for options in (
            {"amount": 900, "reverse_transfer": True, "refund_application_fee": True},
            {"amount": 1100, "reverse_transfer": True},
        )
    ]
    events = await shop.events_of(payment)
    for refund in (made[first], made[1 - first]):
        await shop.deliver([event for event in events if event["data"]["object"]["id"] == refund["id"]])
        await mirror_all(services)
    await nothing_is_unexplained(shop, payment)


@pytest.mark.parametrize(("country", "currency"), PLACES)
async def test_what_was_taken_of_a_destination_charges_own_transfer_in_parts_and_then_refunded(
    services: Services, sandbox: Sandbox, clock: Clock, country: str, currency: str
) -> None:
    shop = await Shop.open(services, sandbox, clock, country=country, currency=currency)
    payment = await shop.paid()
    transfer_id = str((await PaymentAllocation.get(payment_id=payment.id)).stripe_transfer_id)
    for amount in (301, 7):
        await sandbox.post(f"/v1/transfers/{transfer_id}/reversals", {"amount": amount})
    events = await sandbox.events_about(transfer_id)
    await shop.deliver([event for event in events if event["type"] == "transfer.reversed"])
    await nothing_is_unexplained(shop, payment)
    await shop.refund(payment, 1000)
    await nothing_is_unexplained(shop, payment)
    await shop.refund(payment)
    await nothing_is_unexplained(shop, payment)
