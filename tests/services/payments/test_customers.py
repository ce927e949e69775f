"""A guest's customer at Stripe: made once, and made again where it was deleted there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.payments import PaymentStatus
from models.users import User
from services.errors import InvalidState

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def test_a_customer_that_was_deleted_at_stripe_is_made_again(shop: Shop) -> None:
    await shop.paid()
    customer = (await User.get(id=shop.guest.id)).stripe_customer_id
    assert customer is not None
    await shop.sandbox.delete(f"/v1/customers/{customer}")
    seats = await shop.seats_taken()
    refused = await shop.pay()
    assert isinstance(refused.error, InvalidState)
    assert refused.error.state == "CUSTOMER_GONE"
    assert refused.payment.status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == seats
    payment = await shop.paid()
    assert payment.status is PaymentStatus.SUCCEEDED
    assert (await User.get(id=shop.guest.id)).stripe_customer_id not in {None, customer}
    await shop.check()
