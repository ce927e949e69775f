"""When whose books are looked at, what that costs, and how it goes on where it was broken off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.balances import BalanceWatermark
from models.connect_accounts import ConnectAccount
from services.balances import schedule
from services.balances.mirror import mirror_now, mirror_payout
from services.balances.schedule import mirror_due
from services.stripe_gateway import StripeNotSent
from tests.services.balances.test_stories import paid_out
from tests.support.books import assert_books_agree
from tests.support.shop import Shop, pool_fetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.core import Services
    from services.stripe_requests import StripeRequest
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


class Asked:
    """The way to Stripe, which keeps what is listed, and ends after so many pages."""

    def __init__(self, stripe: Any, *, pages: int | None = None) -> None:
        self._stripe = stripe
        self._pages = pages
        self.accounts: list[str] = []

    async def list_all(self, request: StripeRequest, **rest: Any) -> AsyncIterator[dict[str, Any]]:
        """As the gateway's."""
        self.accounts.append(request.stripe_account or "")
        if self._pages is not None and len(self.accounts) > self._pages:
            raise StripeNotSent("away", retry_after_s=1)
        async for item in self._stripe.list_all(request, **rest):
            yield item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)


async def hosts_asked(shop: Shop) -> list[str]:
    """Whose books the job lists, beside the platform's."""
    asked = Asked(shop.services.stripe)
    await mirror_due(shop.through(asked).services)
    return [account for account in asked.accounts if account]


async def look_was_long_after(shop: Shop) -> None:
    """The last look at the platform was, by the database's clock, long after all that was posted."""
    await shop.services.database.pool.execute(
        "UPDATE balance_watermarks SET updated_at = now() + interval '1 hour' WHERE stripe_account = ''"
    )


async def test_a_host_is_looked_at_once_after_something_moved_and_else_once_a_week(shop: Shop) -> None:
    idle = await Shop.open(shop.services, shop.sandbox, shop.clock)
    busy, other = str(shop.account.stripe_account_id), str(idle.account.stripe_account_id)
    await shop.paid()
    await shop.paid()
    assert await hosts_asked(shop) == []
    shop.clock.forward(hours=7)
    assert await hosts_asked(shop) == [busy]
    for _ in range(3):
        await look_was_long_after(shop)
        shop.clock.forward(hours=7)
        assert await hosts_asked(shop) == []
    await look_was_long_after(shop)
    shop.clock.forward(hours=24 * 7)
    assert sorted(await hosts_asked(shop)) == sorted([busy, other])
    assert await hosts_asked(shop) == []


async def test_a_host_who_has_cut_the_platform_off_is_not_asked_for_again(shop: Shop) -> None:
    account = str(shop.account.stripe_account_id)
    await shop.paid()
    await hosts_asked(shop)
    await shop.sandbox.act(f"accounts/{account}/deauthorize")
    shop.clock.forward(hours=7)
    assert await hosts_asked(shop) == [account]
    shop.clock.forward(hours=5)
    assert await hosts_asked(shop) == []


async def test_years_of_nothing_cost_a_few_requests(shop: Shop) -> None:
    asked = Asked(shop.services.stripe)
    await mirror_now(shop.through(asked).services, "")
    assert len(asked.accounts) < 40
    asked = Asked(shop.services.stripe)
    await mirror_now(shop.through(asked).services, "")
    assert len(asked.accounts) == 1


async def test_a_clock_that_is_ahead_of_stripes_passes_nothing_over(shop: Shop) -> None:
    await mirror_now(shop.services, "")
    # The next window ends before our time and after Stripe's.
    await shop.services.database.pool.execute(
        "UPDATE balance_watermarks SET seen_until = now() - interval '5 hours 53 minutes',"
        " updated_at = now() - interval '5 hours 53 minutes' WHERE stripe_account = ''"
    )
    shop.clock.forward(seconds=600)
    await mirror_now(shop.services, "")
    await shop.paid()
    assert await mirror_now(shop.services, "") == 3


async def test_what_is_broken_off_goes_on_where_it_was(shop: Shop) -> None:
    await shop.paid()
    with pytest.raises(StripeNotSent):
        await mirror_now(shop.through(Asked(shop.services.stripe, pages=10)).services, "")
    seen_until = (await BalanceWatermark.get(stripe_account="")).seen_until
    assert seen_until is not None
    assert datetime(2011, 2, 1, tzinfo=UTC) < seen_until < shop.clock() - timedelta(days=300)
    await assert_books_agree(shop.services, shop.sandbox)


async def test_a_hundred_at_a_time_and_more_than_that_are_all_taken_in(shop: Shop) -> None:
    at = (await shop.sandbox.get("/v1/account"))["id"]
    for number in range(230):
        await shop.sandbox.act(f"accounts/{at}/balance_transactions", type="topup", amount=number + 1)
    assert await mirror_now(shop.services, "") == 230
    assert await mirror_now(shop.services, "") == 0
    await assert_books_agree(shop.services, shop.sandbox)


async def test_books_of_nobody_are_not_taken_in(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    shop = await Shop.open(services, sandbox, clock)
    await ConnectAccount.filter(id=shop.account.id).update(stripe_account_id="acct_another")
    with pytest.raises(LookupError):
        await mirror_now(services, str(shop.account.stripe_account_id))


async def test_what_is_in_a_payout_is_known_without_looking_at_the_rest(shop: Shop) -> None:
    await shop.paid()
    payout = await paid_out(shop)
    await shop.sandbox.act(f"payouts/{payout.stripe_payout_id}/send")
    await mirror_payout(shop.services, payout)
    rows = await pool_fetch(
        shop.services, "SELECT type, amount_minor - fee_minor AS net FROM balance_transactions WHERE payout_id = $1"
        " ORDER BY type", payout.id,
    )  # fmt: skip
    assert [tuple(row) for row in rows] == [("payment", 1800), ("payout", -1800)]
    await payout.refresh_from_db()
    assert payout.contents_known
    await assert_books_agree(shop.services, shop.sandbox)


async def test_rows_that_wait_are_looked_at_once_a_run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    account = str(shop.account.stripe_account_id)
    await shop.paid()
    for at in ("", account):
        await mirror_now(shop.services, at)
        await shop.services.database.pool.execute(
            "UPDATE balance_transactions SET settles_id = NULL, posting_id = NULL WHERE stripe_account = $1", at
        )
    again: list[str] = []

    async def look(_: Services, at: str) -> None:
        again.append(at)

    monkeypatch.setattr(schedule, "settle_waiting", look)
    await mirror_due(shop.services)
    assert again == [account]
    await shop.services.database.pool.execute("UPDATE balance_watermarks SET due_at = now() - interval '1 hour'")
    await mirror_due(shop.services)
    assert again == [account]
