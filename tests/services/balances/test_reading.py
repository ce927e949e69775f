"""What the ledger held at any time, however much of it is added up, and what the check of the ledger finds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from models.ledger import LedgerAccountKind, LedgerTransactionKind
from models.money import Money
from services.balances.reading import balances_at
from services.balances.rollup import add_up_days
from services.errors import Forbidden
from services.ledger import PLATFORM, LedgerBatch, bank
from services.ledger_check import check_ledger
from services.viewer import Role, Viewer
from tests.support.books import mirror_all

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.shop import Shop

ADMIN = Viewer(Role.ADMIN, "boss")
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def move(services: Services, minor: int, at: datetime) -> None:
    """Money comes from the bank at a time."""
    batch, amount = LedgerBatch(), Money(minor, "USD")
    batch.move(
        LedgerTransactionKind.TOP_UP, f"top_up:{at}:{minor}", [(bank(None), -amount), (PLATFORM, amount)],
        occurred_at=at, payment_id=None,
    )  # fmt: skip
    async with services.database.transaction() as connection:
        await batch.write(connection)


async def held(services: Services, at: datetime | None) -> int:
    """What the platform's balance held."""
    balances = await balances_at(services, viewer=ADMIN, as_of=at)
    assert sum(balance.amount.minor for balance in balances) == 0
    return sum(one.amount.minor for one in balances if one.kind is LedgerAccountKind.PLATFORM_BALANCE)


@pytest.mark.parametrize("added_up", [False, True])
async def test_what_was_held_at_a_time_is_what_had_happened_by_then(services: Services, *, added_up: bool) -> None:
    for minor, at in ((1, NOON - DAY), (20, NOON - HOUR), (300, NOON), (4000, NOON + HOUR), (50_000, NOON + DAY)):
        await move(services, minor, at)
        if added_up:
            await add_up_days(services, settled_after=timedelta(0))
    wanted = [
        (NOON - 2 * DAY, 0), (NOON - DAY, 1), (NOON - 2 * HOUR, 1), (NOON - HOUR, 21), (NOON, 321),
        (NOON + 2 * HOUR, 4321), (NOON + DAY, 54_321), (None, 54_321),
    ]  # fmt: skip
    assert [await held(services, at) for at, _ in wanted] == [minor for _, minor in wanted]
    # What becomes known late counts on its day.
    await move(services, 600_000, NOON - DAY)
    assert await held(services, NOON) == 600_321
    await add_up_days(services, settled_after=timedelta(0))
    assert await held(services, NOON) == 600_321


async def test_nothing_is_added_up_twice_or_before_it_is_there_for_certain(services: Services) -> None:
    await move(services, 7, NOON)
    await add_up_days(services)
    assert await services.database.pool.fetchval("SELECT count(*) FROM ledger_days") == 0
    await asyncio.gather(*(add_up_days(services, settled_after=timedelta(0)) for _ in range(4)))
    rows = await services.database.pool.fetch("SELECT kind, amount_minor FROM ledger_days ORDER BY kind")
    assert [tuple(row) for row in rows] == [("BANK", -7), ("PLATFORM_BALANCE", 7)]
    assert await held(services, None) == 7


@pytest.mark.parametrize("role", [Role.USER, Role.SERVICE])
async def test_what_all_pots_hold_is_for_admins(services: Services, role: Role) -> None:
    with pytest.raises(Forbidden):
        await balances_at(services, viewer=Viewer(role, "somebody"), as_of=None)


async def findings(services: Services) -> list[tuple[str, str]]:
    """Rules that do not hold, and how."""
    async with services.database.pool.acquire() as connection:
        report = await check_ledger(connection)
    return [(finding.rule, finding.detail) for finding in report.findings]


async def test_a_balance_transaction_that_the_ledger_does_not_have_to_the_unit_is_found(shop: Shop) -> None:
    await shop.paid()
    await mirror_all(shop.services)
    assert await findings(shop.services) == []
    await shop.services.database.pool.execute(
        "UPDATE balance_transactions SET amount_minor = amount_minor + 1 WHERE type = 'transfer'"
    )
    assert await findings(shop.services) == [
        ("Stripe's balance transactions are in the ledger, to the unit", "USD -2000 here, -1999 at Stripe")
    ]
