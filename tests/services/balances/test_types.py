"""Every type that Stripe's books know, and those that nobody knows yet: none is an error, and every place agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from stripe import BalanceTransaction as StripeBalanceTransaction

from models.ledger import LedgerTransactionKind
from models.money import Money
from services.balances.mirror import mirror_now
from services.balances.schedule import mirror_latecomers
from services.balances.types import RULES
from services.ledger import GUESTS, PLATFORM, LedgerBatch
from tests.support.books import assert_books_agree, at_stripe, here
from tests.support.shop import pool_fetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.stripe_requests import StripeRequest
    from tests.support.shop import Shop

TYPES = sorted(get_args(get_args(StripeBalanceTransaction.__annotations__["type"])[0]))


def test_every_type_of_the_package_has_its_rule() -> None:
    assert len(TYPES) > 40
    assert set(TYPES) == set(RULES)


@pytest.mark.parametrize("host", [False, True])
async def test_a_movement_of_any_type_that_nobody_meant_here_is_in_the_ledger(shop: Shop, *, host: bool) -> None:
    account = str(shop.account.stripe_account_id) if host else ""
    at = account or (await shop.sandbox.get("/v1/account"))["id"]
    for number, type_ in enumerate(TYPES):
        sign = -1 if number % 2 else 1
        await shop.sandbox.act(f"accounts/{at}/balance_transactions", type=type_, amount=sign * (1000 + number), fee=7)
    assert await mirror_now(shop.services, account) == len(TYPES)
    shop.clock.forward(seconds=3 * 86_400)
    await assert_books_agree(shop.services, shop.sandbox)
    kinds = await pool_fetch(
        shop.services,
        "SELECT b.type, t.kind FROM balance_transactions b JOIN ledger_transactions t ON t.id = b.posting_id"
        " WHERE b.settles_id = b.posting_id",
    )
    posted = {record["type"]: record["kind"] for record in kinds}
    assert {type_: posted[type_] for type_ in ("topup", "stripe_fee", "payout", "reserved_funds", "charge")} == {
        "topup": "TOP_UP", "stripe_fee": "STRIPE_FEE", "payout": "PAYOUT_PAID", "reserved_funds": "ADJUSTMENT",
        "charge": "ADJUSTMENT",
    }  # fmt: skip
    await shop.check()


async def test_what_may_belong_to_something_waits_for_it(shop: Shop) -> None:
    at = (await shop.sandbox.get("/v1/account"))["id"]
    await shop.sandbox.act(f"accounts/{at}/balance_transactions", type="charge", amount=500)
    await shop.sandbox.act(f"accounts/{at}/balance_transactions", type="adjustment", amount=70)
    await mirror_now(shop.services, "")
    assert await here(shop.services, "") == {"USD": 70}
    shop.clock.forward(seconds=3 * 86_400)
    await mirror_now(shop.services, "")
    assert await here(shop.services, "") == {"USD": 570}


async def test_what_comes_after_it_counted_as_nobody_s_counts_once(shop: Shop) -> None:
    charge = await shop.sandbox.post(
        "/v1/payment_intents",
        {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True,
         "capture_method": "automatic", "return_url": "https://front.example/"},
    )  # fmt: skip
    await mirror_now(shop.services, "")
    assert await here(shop.services, "") == {}
    shop.clock.forward(seconds=3 * 86_400)
    await assert_books_agree(shop.services, shop.sandbox)
    batch = LedgerBatch()
    amount = Money(1000, "EUR")
    batch.move(
        LedgerTransactionKind.CHARGE, f"charge:{charge['latest_charge']}", [(GUESTS, -amount), (PLATFORM, amount)],
        occurred_at=shop.clock(), payment_id=None,
    )  # fmt: skip
    async with shop.services.database.transaction() as connection:
        await batch.write(connection)
    assert await here(shop.services, "") != await at_stripe(shop.sandbox, "")
    for _ in range(2):
        await mirror_latecomers(shop.services)
        assert await here(shop.services, "") == await at_stripe(shop.sandbox, "")
    adjustments = await pool_fetch(
        shop.services,
        "SELECT sum(p.amount_minor)::int FROM ledger_postings p JOIN ledger_accounts a ON a.id = p.account_id"
        " WHERE a.kind = 'ADJUSTMENTS'",
    )
    assert adjustments[0][0] == 0


class OfTomorrow:
    """The way to Stripe, whose books have a type that nobody knows."""

    def __init__(self, stripe: Any) -> None:
        self._stripe = stripe

    async def list_all(self, request: StripeRequest, **rest: Any) -> AsyncIterator[dict[str, Any]]:
        """As the gateway's."""
        async for item in self._stripe.list_all(request, **rest):
            yield {**item, "type": "moon_fee"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)


async def test_a_type_that_is_not_known_is_kept_posted_and_counted(shop: Shop) -> None:
    at = (await shop.sandbox.get("/v1/account"))["id"]
    await shop.sandbox.act(f"accounts/{at}/balance_transactions", type="contribution", amount=-5)
    await mirror_now(shop.through(OfTomorrow(shop.services.stripe)).services, "")
    assert await here(shop.services, "") == await at_stripe(shop.sandbox, "") == {"USD": -5}
    counted = shop.services.metrics.registry.get_sample_value(
        "paydesk_balance_transactions_of_unknown_types_total", {"type": "moon_fee"}
    )
    assert counted == 1
