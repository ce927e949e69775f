"""Every cent of charges on hosts' own accounts: the fee is the platform's, all else is the host's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from models.connect_accounts import ConnectAccountType
from services.balances.unexplained import unexplained_of
from tests.support.books import assert_books_agree
from tests.support.shop import Shop

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def opened(services: Services, sandbox: Sandbox, clock: Clock, **values: Any) -> Shop:
    """A host with an account of their own."""
    return await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD, **values)


async def nothing_is_unexplained(shop: Shop) -> None:
    """Of any payment, and the books agree."""
    await assert_books_agree(shop.services, shop.sandbox)
    ids = [record["id"] for record in await shop.services.database.pool.fetch("SELECT id FROM payments")]
    left = await unexplained_of(shop.services, ids)
    assert [money for moneys in left.values() for money in moneys if money] == []
    await shop.check()


@pytest.mark.parametrize("country", ["US", "DE", "JP"])
@pytest.mark.parametrize("currency", ["USD", "EUR", "JPY"])
async def test_charges_and_their_refunds_are_explained_in_any_currency(
    services: Services, sandbox: Sandbox, clock: Clock, country: str, currency: str
) -> None:
    shop = await opened(services, sandbox, clock, country=country, currency=currency, price_minor=20_01)
    payment = await shop.paid()
    await nothing_is_unexplained(shop)
    await shop.refund(payment, 7_77)
    await nothing_is_unexplained(shop)
    await shop.refund(payment)
    await nothing_is_unexplained(shop)


async def test_refunds_in_the_dashboard_and_here_are_explained(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await opened(services, sandbox, clock)
    payment = await shop.paid()
    for amount, fee in ((333, False), (334, True)):
        await sandbox.post(
            "/v1/refunds",
            {"payment_intent": payment.stripe_payment_intent_id, "amount": amount, "refund_application_fee": fee},
            account=shop.account.stripe_account_id,
        )  # fmt: skip
        await shop.deliver_all(payment)
    await nothing_is_unexplained(shop)
    await shop.refund(payment)
    await nothing_is_unexplained(shop)


async def test_a_refund_that_failed_is_explained(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    shop = await opened(services, sandbox, clock)
    payment = await shop.paid()
    refund = await shop.refund(payment, 1_001)
    await sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    await nothing_is_unexplained(shop)
    await shop.refund(payment)
    await nothing_is_unexplained(shop)


async def test_a_capture_in_part_is_explained(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    shop = await opened(services, sandbox, clock)
    payment = (await shop.pay(capture_later=True)).payment
    # The host takes a part in their own dashboard, and no fee with it is lowered.
    await sandbox.post(
        f"/v1/payment_intents/{payment.stripe_payment_intent_id}/capture", {"amount_to_capture": 900},
        account=shop.account.stripe_account_id,
    )  # fmt: skip
    await shop.deliver_all(payment)
    captured = await shop.now(payment)
    assert (captured.captured_minor, captured.platform_fee_minor) == (900, 200)
    await nothing_is_unexplained(shop)
