"""Every cent of a charge and of what is given back of it: the place of each account holds what Stripe says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from models.money import Money
from services.payments.actions import capture_payment
from tests.support.billing import Subscriber
from tests.support.books import assert_books_agree, here, mirror_all
from tests.support.shop import Shop, as_user, pool_fetch

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def rows(shop: Shop, account: str) -> list[tuple[Any, ...]]:
    """The mirror of an account's books, with the kinds of what they settle and post."""
    return [
        tuple(record) for record in await pool_fetch(
            shop.services,
            "SELECT b.type, s.kind AS settles, f.kind AS fee, p.kind AS posting FROM balance_transactions b"
            " LEFT JOIN ledger_transactions s ON s.id = b.settles_id"
            " LEFT JOIN ledger_transactions f ON f.id = b.fee_settles_id"
            " LEFT JOIN ledger_transactions p ON p.id = b.posting_id WHERE b.stripe_account = $1 ORDER BY b.type",
            account,
        )
    ]  # fmt: skip


async def test_a_payment_in_one_currency_leaves_stripe_s_fee_to_be_explained(shop: Shop) -> None:
    await shop.paid()
    await assert_books_agree(shop.services, shop.sandbox)
    assert await rows(shop, "") == [
        ("application_fee", "APPLICATION_FEE", None, None), ("charge", "CHARGE", None, "SETTLEMENT"),
        ("transfer", "TRANSFER", None, None),
    ]  # fmt: skip
    assert await rows(shop, str(shop.account.stripe_account_id)) == [
        ("payment", "TRANSFER", "APPLICATION_FEE", None)
    ]
    assert await here(shop.services, "") == {"USD": 200 - 88}
    await shop.check()


@pytest.mark.parametrize("country", ["US", "DE", "GB", "JP"])
@pytest.mark.parametrize("currency", ["USD", "EUR", "JPY"])
async def test_across_currencies_each_place_holds_what_stripe_settled(
    services: Services, sandbox: Sandbox, clock: Clock, country: str, currency: str
) -> None:
    shop = await Shop.open(services, sandbox, clock, country=country, currency=currency, price_minor=20_01)
    payment = await shop.paid()
    await assert_books_agree(services, sandbox)
    await shop.refund(payment, 7_77)
    await shop.refund(payment, 3_33)
    await assert_books_agree(services, sandbox)
    await shop.refund(payment)
    await assert_books_agree(services, sandbox)
    await shop.check()


async def test_taking_the_books_in_again_changes_nothing(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.refund(payment, 500)
    assert await mirror_all(shop.services) == 4 + 4
    before = await here(shop.services, "")
    assert await mirror_all(shop.services) == 0
    assert await here(shop.services, "") == before


async def test_a_refund_that_failed_is_the_platform_s_again(shop: Shop) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment)
    await assert_books_agree(shop.services, shop.sandbox)
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    await assert_books_agree(shop.services, shop.sandbox)
    await shop.check()


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("fee", [True, False])
async def test_refunds_of_the_dashboard_agree_whatever_they_take_back(shop: Shop, *, reverse: bool, fee: bool) -> None:
    payment = await shop.paid()
    for amount in (333, 334):
        await shop.sandbox.post(
            "/v1/refunds",
            {"payment_intent": payment.stripe_payment_intent_id, "amount": amount, "reverse_transfer": reverse,
             "refund_application_fee": fee},
        )  # fmt: skip
    await shop.deliver_all(payment)
    await assert_books_agree(shop.services, shop.sandbox)
    await shop.check()


async def test_what_is_captured_in_part_is_what_moves(shop: Shop) -> None:
    payment = await shop.paid(capture_later=True)
    assert await mirror_all(shop.services) == 0
    await capture_payment(
        shop.services, viewer=as_user(shop.host), payment_id=payment.id, amount=Money(1234, "USD"),
        idempotency_key="capture",
    )  # fmt: skip
    await assert_books_agree(shop.services, shop.sandbox)
    await shop.check()


async def test_an_invoice_is_the_platform_s_and_what_is_given_back_of_it_too(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    subscriber = await Subscriber.begin(services, sandbox, clock)
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    await assert_books_agree(services, sandbox)
    [payment] = await subscriber.payments()
    await sandbox.post("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "amount": 400})
    await subscriber.deliver()
    await assert_books_agree(services, sandbox)
    assert (row.user_id, await subscriber.balance("SUBSCRIPTION_INCOME")) == (subscriber.user.id, 600)
    await subscriber.check()


async def test_what_is_given_back_of_a_fee_waits_for_the_refund_that_it_belongs_to(shop: Shop) -> None:
    payment = await shop.paid()
    for amount in (1500, 300):
        given = {"payment_intent": payment.stripe_payment_intent_id, "amount": amount, "refund_application_fee": True}
        await shop.sandbox.post("/v1/refunds", given)
    await mirror_all(shop.services)
    await shop.services.database.pool.execute(
        "UPDATE balance_transactions SET stripe_created_at = stripe_created_at - interval '1 second'"
        " WHERE type = 'application_fee_refund' AND amount_minor = -150"
    )
    events = [event for event in await shop.events_of(payment) if event["type"] == "refund.created"]
    await shop.deliver([event for event in events if event["data"]["object"]["amount"] == 300])
    await mirror_all(shop.services)
    await shop.deliver_all(payment)
    await assert_books_agree(shop.services, shop.sandbox)
    await shop.check()
