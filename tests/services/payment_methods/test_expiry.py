"""Cards that are about to expire: known in time, once, and again when they were renewed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.audit import AuditEntry
from models.payment_methods import SavedPaymentMethod, end_of_month
from services.jobs import notice_expiring_cards, periodic_jobs
from services.payment_methods.expiry import expires_soon, notice_expiring
from tests.support.rows import add_method

if TYPE_CHECKING:
    from tests.support.wallet import Wallet


async def card(
    wallet: Wallet, month: int | None, year: int | None, *, default: bool = False, **values: Any
) -> SavedPaymentMethod:
    given = {"exp_month": month, "exp_year": year, "is_default": default, **values}
    async with wallet.services.database.transaction() as connection:
        return await add_method(connection, wallet.guest, **given)


def to(wallet: Wallet, moment: datetime) -> None:
    wallet.clock.forward(seconds=(moment - wallet.clock()).total_seconds())


async def noted(wallet: Wallet) -> list[AuditEntry]:
    return await AuditEntry.filter(action="payment_method.expiring").order_by("id")


@pytest.mark.parametrize(
    ("year", "month", "end"),
    [(2034, 8, datetime(2034, 9, 1, tzinfo=UTC)), (2034, 12, datetime(2035, 1, 1, tzinfo=UTC)), (None, None, None)],
)
def test_a_card_works_to_the_end_of_its_month(year: int | None, month: int | None, end: datetime | None) -> None:
    assert end_of_month(year, month) == end


async def test_a_card_is_noted_from_thirty_days_before_its_end_and_not_a_second_earlier(wallet: Wallet) -> None:
    method = await card(wallet, 8, 2034, default=True)
    end = datetime(2034, 9, 1, tzinfo=UTC)
    to(wallet, end - timedelta(days=30, seconds=30))
    assert not expires_soon(wallet.services, method.expires_at)
    assert await notice_expiring(wallet.services) == 0
    assert await noted(wallet) == []
    to(wallet, end - timedelta(days=30) + timedelta(seconds=1))
    assert expires_soon(wallet.services, method.expires_at)
    assert await notice_expiring(wallet.services) == 1
    [entry] = await noted(wallet)
    assert (entry.actor, entry.subject_type, entry.subject_id) == ("system:card_expiry", "PAYMENT_METHOD", method.id)
    assert entry.after is not None
    assert entry.after["expires_at"] == "2034-09-01T00:00:00+00:00"
    assert (entry.after["last4"], entry.after["is_default"]) == ("4242", True)
    assert (await SavedPaymentMethod.get(id=method.id)).expiry_noticed_at is not None
    assert wallet.services.metrics.expiring_cards._value.get() == 1


async def test_each_is_noted_once_however_many_look_and_only_what_is_attached(wallet: Wallet) -> None:
    now = wallet.clock()
    soon = [await card(wallet, now.month, now.year) for _ in range(5)]
    await card(wallet, now.month, now.year, detached_at=now)
    await card(wallet, None, None, type="us_bank_account")
    await card(wallet, 12, now.year + 3)
    long_gone = await card(wallet, 1, 2020)
    await asyncio.gather(*(notice_expiring(wallet.services, limit=2) for _ in range(6)))
    await asyncio.gather(*(notice_expiring_cards(wallet.services) for _ in range(3)))
    assert {entry.subject_id for entry in await noted(wallet)} == {method.id for method in [*soon, long_gone]}
    assert len(await noted(wallet)) == 6


async def test_a_renewed_card_is_noted_again_when_its_time_comes(wallet: Wallet) -> None:
    method = await wallet.attach()
    to(wallet, datetime(2034, 8, 20, tzinfo=UTC))
    assert await notice_expiring(wallet.services) == 1
    path = f"/v1/payment_methods/{method.stripe_payment_method_id}"
    await wallet.sandbox.post(path, {"card": {"exp_month": 8, "exp_year": 2037}})
    await wallet.deliver()
    [renewed] = await wallet.methods()
    assert not expires_soon(wallet.services, renewed.expires_at)
    assert await notice_expiring(wallet.services) == 0
    to(wallet, datetime(2037, 8, 20, tzinfo=UTC))
    assert await notice_expiring(wallet.services) == 1
    assert len(await noted(wallet)) == 2


async def test_it_is_one_of_the_jobs(wallet: Wallet) -> None:
    [job] = [job for job in periodic_jobs(wallet.services) if job.name == "notice_expiring_cards"]
    assert job.every_s <= 86_400
    await card(wallet, 1, 2020)
    await job.run(wallet.services)
    assert len(await noted(wallet)) == 1
