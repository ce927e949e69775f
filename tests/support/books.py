"""Stripe's books beside ours: what each account has there, and what its place holds here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.ledger import LedgerAccountKind, LedgerPlace, place_of
from models.money import Money
from services.balances.mirror import mirror_now

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.sandbox import Sandbox

_ACCOUNTS = "SELECT stripe_account_id FROM connect_accounts WHERE stripe_account_id IS NOT NULL ORDER BY id"
_HELD = """
SELECT a.currency, sum(p.amount_minor)::bigint AS minor
FROM ledger_accounts a JOIN ledger_postings p ON p.account_id = a.id
WHERE a.kind = ANY($1) AND a.owner_id IS NOT DISTINCT FROM coalesce($2, a.owner_id) GROUP BY a.currency
"""
_OWNER = "SELECT user_id FROM connect_accounts WHERE stripe_account_id = $1"


async def accounts(services: Services) -> list[str]:
    """The platform, and every host's account."""
    return ["", *(record[0] for record in await services.database.pool.fetch(_ACCOUNTS))]


async def mirror_all(services: Services) -> int:
    """Take in the books of everybody; how many balance transactions were new."""
    return sum([await mirror_now(services, account) for account in await accounts(services)])


async def at_stripe(sandbox: Sandbox, account: str) -> dict[str, int]:
    """Minor units by currency, as Stripe's balance says; nothing is left out."""
    balance = await sandbox.get("/v1/balance", account=account or None)
    sums: dict[str, int] = {}
    for entry in (*balance["available"], *balance["pending"]):
        money = Money.from_wire(entry["amount"], entry["currency"])
        sums[money.currency] = sums.get(money.currency, 0) + money.minor
    return {currency: minor for currency, minor in sums.items() if minor}


async def here(services: Services, account: str) -> dict[str, int]:
    """Minor units by currency that the pots of an account's place hold."""
    pool = services.database.pool
    place = LedgerPlace.HOST if account else LedgerPlace.PLATFORM
    kinds = [kind.value for kind in LedgerAccountKind if place_of(kind) is place]
    owner = await pool.fetchval(_OWNER, account) if account else None
    return {
        record["currency"]: record["minor"] for record in await pool.fetch(_HELD, kinds, owner) if record["minor"]
    }


async def assert_books_agree(services: Services, sandbox: Sandbox) -> None:
    """After mirroring, every account's place holds in each currency what Stripe says that the account has."""
    await mirror_all(services)
    for account in await accounts(services):
        assert await here(services, account) == await at_stripe(sandbox, account), account or "the platform"
    waiting = await services.database.pool.fetch(
        "SELECT stripe_account, type, source_id, amount_minor FROM balance_transactions WHERE settles_id IS NULL"
        " AND (amount_minor <> 0 OR fee_minor <> 0)"
    )
    assert [tuple(record) for record in waiting] == []
