"""Debts that are set off: what nothing at Stripe moves is explained, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.balances.unexplained import unexplained_of
from tests.services.refunds.test_separate_refunds import add_protected, pay_out, shared
from tests.support.books import mirror_all
from tests.support.hosts import Hosts

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def test_a_debt_that_is_kept_from_a_later_payment_leaves_nothing_unexplained(shop: Shop) -> None:
    hosts = Hosts(shop)
    host = await add_protected(shop)
    payment = await shared(shop, host)
    await pay_out(shop, hosts, host, 900)
    await shop.refund(payment, 1000)
    later = await shared(shop, host)
    assert await hosts.sent_to(later, host) == [450]
    await mirror_all(shop.services)
    pool = shop.services.database.pool
    await pool.execute("UPDATE balance_watermarks SET updated_at = now() + interval '2 hours'")
    found = await unexplained_of(shop.services, [payment.id, later.id])
    assert [(money.currency, money.minor) for id_ in (payment.id, later.id) for money in found[id_]] == [
        ("USD", 0), ("USD", 0),
    ]  # fmt: skip
