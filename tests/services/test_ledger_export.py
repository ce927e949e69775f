"""The ledger for accountants: a line a posting, which add up."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from services.balances.mirror import mirror_now
from services.ledger_export import COLUMNS, exported_postings

if TYPE_CHECKING:
    from datetime import datetime

    from tests.support.shop import Shop


async def exported(
    shop: Shop, *, from_at: datetime | None = None, to_at: datetime | None = None
) -> list[dict[str, str]]:
    async with shop.services.database.pool.acquire() as connection:
        lines = [line async for line in exported_postings(connection, from_at=from_at, to_at=to_at)]
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines]


async def test_every_posting_is_a_line_and_they_add_up(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.refund(payment, 500)
    await mirror_now(shop.services, "")
    lines = await exported(shop)
    count = await shop.services.database.pool.fetchval("SELECT count(*) FROM ledger_postings")
    assert len(lines) == count == len({line["posting"] for line in lines})
    assert sum(Decimal(line["amount"]) for line in lines) == 0
    assert [line["occurred_at"] for line in lines] == sorted(line["occurred_at"] for line in lines)
    charge = [line for line in lines if line["kind"] == "CHARGE"]
    assert {(line["account"], line["amount"], line["amount_minor"], line["currency"]) for line in charge} == {
        ("guest_clearing", "-20.00", "-2000", "USD"), ("platform_balance", "20.00", "2000", "USD"),
    }  # fmt: skip
    assert {(line["payment"], line["stripe_object"]) for line in charge} == {
        (str(payment.id), payment.stripe_charge_id)
    }
    assert {line["balance_transaction"] for line in charge} == {payment.balance_transaction_id}
    assert {line["owner"] for line in lines if line["account"] == "host_balance"} == {shop.host.external_id}


async def test_a_period_is_from_and_up_to_a_moment(shop: Shop) -> None:
    await shop.paid()
    now = shop.clock()
    assert await exported(shop, to_at=now - timedelta(hours=1)) == []
    assert await exported(shop, from_at=now + timedelta(hours=1)) == []
    around = await exported(shop, from_at=now - timedelta(hours=1), to_at=now + timedelta(hours=1))
    assert around == await exported(shop)
