"""Posting: whole, once, and refused where it does not sum to zero."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from models.ledger import LedgerAccountKind, LedgerTransactionKind
from models.money import Money
from services.ledger import FEES, GUESTS, PLATFORM, LedgerBatch, Pot, host_balance, host_owed

if TYPE_CHECKING:
    from services.database import Database

AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
CHARGE = LedgerTransactionKind.CHARGE


def usd(minor: int) -> Money:
    return Money(minor, "USD")


def charge(batch: LedgerBatch, reference: str, amount: Money) -> None:
    batch.move(CHARGE, reference, [(GUESTS, -amount), (PLATFORM, amount)], occurred_at=AT, payment_id=None)


async def write(database: Database, *batches: LedgerBatch) -> None:
    async with database.transaction() as connection:
        for batch in batches:
            await batch.write(connection)


async def postings(database: Database) -> list[tuple[Any, ...]]:
    records = await database.pool.fetch(
        "SELECT t.reference, a.kind, a.owner_id, p.currency, p.amount_minor FROM ledger_postings p"
        " JOIN ledger_transactions t ON t.id = p.transaction_id JOIN ledger_accounts a ON a.id = p.account_id"
        " ORDER BY t.reference, p.amount_minor"
    )
    return [tuple(record) for record in records]


async def test_a_movement_is_a_transaction_with_its_legs(database: Database) -> None:
    host, payment = uuid4(), uuid4()
    batch = LedgerBatch()
    batch.move(
        LedgerTransactionKind.TRANSFER, "transfer:tr_1", [(PLATFORM, usd(-90)), (host_balance(host), usd(90))],
        occurred_at=AT, payment_id=payment, stripe_object_id="tr_1",
    )  # fmt: skip
    await write(database, batch)
    assert await postings(database) == [
        ("transfer:tr_1", "PLATFORM_BALANCE", None, "USD", -90), ("transfer:tr_1", "HOST_BALANCE", host, "USD", 90),
    ]  # fmt: skip
    record = await database.pool.fetchrow("SELECT * FROM ledger_transactions")
    assert record is not None
    assert (record["kind"], record["occurred_at"], record["payment_id"], record["stripe_object_id"]) == (
        "TRANSFER", AT, payment, "tr_1",
    )  # fmt: skip


async def test_nothing_collected_writes_nothing(database: Database) -> None:
    batch = LedgerBatch()
    batch.move(CHARGE, "charge:nothing", [(GUESTS, usd(0)), (PLATFORM, usd(0))], occurred_at=AT, payment_id=None)
    await write(database, batch, LedgerBatch())
    assert await database.pool.fetchval("SELECT count(*) FROM ledger_transactions") == 0


async def test_a_fact_that_comes_in_twice_is_posted_once(database: Database) -> None:
    for minor in (100, 100, 999):
        batch = LedgerBatch()
        charge(batch, "charge:ch_1", usd(minor))
        await write(database, batch)
    assert [row[-1] for row in await postings(database)] == [-100, 100]


async def test_of_two_at_once_one_is_posted(database: Database) -> None:
    batches = [LedgerBatch() for _ in range(8)]
    for batch in batches:
        charge(batch, "charge:ch_1", usd(100))
        charge(batch, f"charge:{uuid4()}", usd(1))
    await asyncio.gather(*(write(database, batch) for batch in batches))
    rows = await postings(database)
    assert [row[-1] for row in rows if row[0] == "charge:ch_1"] == [-100, 100]
    assert len(rows) == 2 + 2 * 8


async def test_new_accounts_that_two_need_at_once_are_made_once(database: Database) -> None:
    batches = [LedgerBatch() for _ in range(8)]
    for number, batch in enumerate(batches):
        legs = [(Pot(kind), usd(1)) for kind in LedgerAccountKind]
        reversed_legs = legs[::-1] if number % 2 else legs
        batch.move(
            CHARGE, f"charge:{number}", [*reversed_legs, (GUESTS, usd(-len(legs)))], occurred_at=AT, payment_id=None
        )
    await asyncio.gather(*(write(database, batch) for batch in batches))
    assert await database.pool.fetchval("SELECT count(*) FROM ledger_accounts") == len(LedgerAccountKind)


@pytest.mark.parametrize(
    "legs",
    [
        [(GUESTS, usd(-100)), (PLATFORM, usd(99))], [(GUESTS, usd(100))],
        [(GUESTS, usd(-100)), (PLATFORM, Money(100, "EUR"))],
    ],
)  # fmt: skip
async def test_what_does_not_sum_to_zero_in_each_currency_is_refused_whole(
    database: Database, legs: list[tuple[Pot, Money]]
) -> None:
    batch = LedgerBatch()
    charge(batch, "charge:good", usd(100))
    batch.move(CHARGE, "charge:bad", legs, occurred_at=AT, payment_id=None)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await write(database, batch)
    assert refused.value.constraint_name == "ledger_postings_sum_to_zero"
    assert await database.pool.fetchval("SELECT count(*) FROM ledger_transactions") == 0


async def test_each_currency_and_owner_has_a_pot_of_its_own(database: Database) -> None:
    one, two = uuid4(), uuid4()
    batch = LedgerBatch()
    for number, (pot, currency) in enumerate(
        [(host_balance(one), "USD"), (host_balance(one), "EUR"), (host_balance(two), "USD"), (host_owed(one), "USD")]
    ):
        amount = Money(5, currency)
        batch.move(CHARGE, f"charge:{number}", [(FEES, -amount), (pot, amount)], occurred_at=AT, payment_id=None)
    await write(database, batch)
    assert await database.pool.fetchval("SELECT count(*) FROM ledger_accounts WHERE owner_id IS NOT NULL") == 4
    again = LedgerBatch()
    charge(again, "charge:again", usd(1))
    await write(database, again)
    assert await database.pool.fetchval("SELECT count(*) FROM ledger_accounts WHERE kind = 'APPLICATION_FEES'") == 2
