"""What a host has: to be paid out, on its way with its day, and owed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from models.base import new_id
from models.money import Money
from services.connect.balance import Arrival, account_balance
from services.errors import NotFound
from tests.support.payouts import Earner
from tests.support.rows import add_user
from tests.support.shop import SERVICE, as_user

if TYPE_CHECKING:
    from services.connect.balance import BalanceInCurrency
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def earner(services: Services, sandbox: Sandbox, clock: Clock) -> Earner:
    await sandbox.act("payouts", progress=False, schedules=False)
    return await Earner.open(services, sandbox, clock)


async def balance_of(earner: Earner) -> BalanceInCurrency:
    [balance] = await account_balance(earner.services, viewer=earner.viewer, account=earner.account)
    return balance


async def mirrored(earner: Earner, minor: int, available_on: datetime, *, fee: int = 0) -> None:
    """A movement that has been read off Stripe's books."""
    await earner.services.database.pool.execute(
        "INSERT INTO balance_transactions (id, stripe_account, stripe_balance_transaction_id, type, reporting_category,"
        " amount_minor, fee_minor, currency, stripe_created_at, available_on)"
        " VALUES ($1, $2, $3, 'payment', 'charge', $4, $5, 'USD', $6, $7)",
        new_id(), earner.stripe_account, f"txn_{new_id().hex}", minor, fee, earner.clock(), available_on,
    )  # fmt: skip


async def test_what_can_be_paid_out_is_told_beside_what_can_be_at_once(earner: Earner) -> None:
    await earner.sell(2_500)
    balance = await balance_of(earner)
    assert (balance.available, balance.pending) == (Money(10_000, "USD"), Money(2_500, "USD"))
    assert balance.instant_available == Money(12_500, "USD")
    assert balance.explanation is None


async def test_what_is_on_its_way_comes_with_its_days(earner: Earner) -> None:
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    await earner.sell(2_500)
    await mirrored(earner, 1_000, tomorrow)
    await mirrored(earner, 600, tomorrow, fee=100)
    await mirrored(earner, 1_000, tomorrow + timedelta(days=1))
    await mirrored(earner, 9_999, earner.clock() - timedelta(seconds=1))
    assert list((await balance_of(earner)).arrives) == [
        Arrival(Money(1_500, "USD"), tomorrow), Arrival(Money(1_000, "USD"), tomorrow + timedelta(days=1)),
    ]  # fmt: skip


async def test_what_has_not_been_read_yet_is_on_its_way_without_a_day(earner: Earner) -> None:
    await earner.sell(2_500)
    tomorrow = earner.clock() + timedelta(days=1)
    await mirrored(earner, 1_000, tomorrow)
    assert list((await balance_of(earner)).arrives)[-1] == Arrival(Money(1_500, "USD"), None)


async def test_a_balance_below_zero_is_explained(earner: Earner) -> None:
    await earner.earn(-15_000)
    balance = await balance_of(earner)
    assert balance.available == Money(-5_000, "USD")
    assert "below zero" in str(balance.explanation)
    await earner.sell(8_000)
    assert "on its way" in str((await balance_of(earner)).explanation)


async def test_others_cannot_see_it(earner: Earner) -> None:
    async with earner.services.database.transaction() as connection:
        stranger = await add_user(connection)
    with pytest.raises(NotFound):
        await account_balance(earner.services, viewer=as_user(stranger), account=earner.account)
    assert len(await account_balance(earner.services, viewer=SERVICE, account=earner.account)) == 1
