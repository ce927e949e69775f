"""Accounts on which nothing moved: they cost a request, and hide nothing."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.balances import BalanceTransaction
from models.connect_accounts import ConnectAccountType
from models.reconciliations import Drift
from services.reconciliation.runs import Progress, begin, reconcile
from tests.support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from models.reconciliations import ReconciliationRun
    from services.stripe_requests import StripeRequest


class Counted:
    """The way to Stripe, which counts what is asked of each account."""

    def __init__(self, stripe: Any) -> None:
        self._stripe = stripe
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)

    async def send(self, request: StripeRequest, **options: Any) -> Any:
        """As the gateway's."""
        self.asked[request.stripe_account or ""] += 1
        return await self._stripe.send(request, **options)

    async def list_all(self, request: StripeRequest, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """As the gateway's."""
        self.asked[request.stripe_account or ""] += 1
        async for each in self._stripe.list_all(request, **options):
            yield each


@pytest.fixture
async def idle(shop: Shop) -> str:
    """The account of another host, who came a month ago."""
    other = await Shop.open(shop.services, shop.sandbox, shop.clock, type_=ConnectAccountType.STANDARD)
    await shop.services.database.pool.execute(
        "UPDATE connect_accounts SET created_at = created_at - interval '30 days' WHERE id = $1", other.account.id
    )
    return str(other.account.stripe_account_id)


async def nightly(shop: Shop) -> tuple[ReconciliationRun, Counter[str]]:
    """A run over three days, and what it asked of whom."""
    shop.clock.forward(hours=2)
    now, stripe = shop.clock(), Counted(shop.services.stripe)
    assert await begin(shop.services, now - timedelta(days=3), now, requested_by="test")
    run = await reconcile(shop.through(stripe).services)
    assert run is not None
    return run, stripe.asked


async def test_an_account_on_which_nothing_moved_costs_one_request_and_is_counted(shop: Shop, idle: str) -> None:
    await shop.paid()
    run, asked = await nightly(shop)
    busy = str(shop.account.stripe_account_id)
    assert (asked[idle], asked[busy]) == (1, 3)
    at = Progress.of(run)
    assert (at.accounts, at.accounts_done, at.accounts_skipped) == (3, 3, 1)
    assert run.checked == run.matched > 0


async def test_what_moved_behind_our_back_is_compared(shop: Shop, idle: str) -> None:
    await shop.sandbox.act(f"accounts/{idle}/balance_transactions", type="adjustment", amount=500)
    for _ in range(2):
        run, asked = await nightly(shop)
        assert asked[idle] == 6
        assert (run.checked, run.matched, Progress.of(run).accounts_skipped) == (1, 1, 0)
    # Nor does a row that was lost here make an account idle.
    await BalanceTransaction.filter(stripe_account=idle).delete()
    await shop.services.database.pool.execute(
        "UPDATE balance_watermarks SET seen_until = now() + interval '1 hour' WHERE stripe_account = $1", idle
    )
    run, _ = await nightly(shop)
    [drift] = await Drift.filter(run_id=run.id)
    assert (drift.object_type, drift.stripe_account) == ("balance_transaction", idle)
