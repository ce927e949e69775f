"""What the pots of the ledger held at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from models.ledger import LedgerAccountKind, LedgerPlace, place_of
from models.money import Money
from services.viewer import Role

if TYPE_CHECKING:
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

# Whole days that are added up; what was posted since; and, of what is added up, the day itself until then.
_HELD: Final = """
SELECT kind, currency, sum(amount_minor)::bigint AS minor FROM (
    SELECT kind, currency, amount_minor FROM ledger_days WHERE day < $1::date
    UNION ALL
    SELECT a.kind, p.currency, p.amount_minor
    FROM ledger_postings p JOIN ledger_transactions t ON t.id = p.transaction_id
    JOIN ledger_accounts a ON a.id = p.account_id
    WHERE p.id >= $3 AND t.occurred_at <= $2
    UNION ALL
    SELECT a.kind, p.currency, p.amount_minor
    FROM ledger_transactions t JOIN ledger_postings p ON p.transaction_id = t.id
    JOIN ledger_accounts a ON a.id = p.account_id
    WHERE t.occurred_at >= ($1::date::timestamp AT TIME ZONE 'UTC') AND t.occurred_at <= $2 AND p.id < $3
) AS parts GROUP BY kind, currency HAVING sum(amount_minor) <> 0 ORDER BY kind, currency
"""
_THROUGH: Final = "SELECT through_id FROM ledger_rollups"


@dataclass(frozen=True, slots=True)
class PotBalance:
    """What all pots of a kind held in a currency, of all hosts together."""

    kind: LedgerAccountKind
    place: LedgerPlace
    amount: Money


async def balances_at(services: Services, *, viewer: Viewer, as_of: datetime | None) -> list[PotBalance]:
    """What the ledger held at a time, by when things happened at Stripe, even where they became known later.

    Reads a row for each day, kind and currency, the postings of the last hour or so, and those of the day asked for.

    Args:
        as_of: now, where None.

    Raises: Forbidden.
    """
    viewer.require(Role.ADMIN)
    async with services.database.pool.acquire() as connection:
        return await balances_in(connection, as_of or services.clock())


async def balances_in(connection: AnyConnection, as_of: datetime) -> list[PotBalance]:
    """As `balances_at`, for whoever has the database."""
    at = as_of.astimezone(UTC)
    # One snapshot for both: what is being added up meanwhile is counted once.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        through = await connection.fetchval(_THROUGH)
        records = await connection.fetch(_HELD, at.date(), at, through or UUID(int=0))
    return [
        PotBalance(kind, place_of(kind), Money(record["minor"], record["currency"]))
        for record in records for kind in (LedgerAccountKind(record["kind"]),)
    ]  # fmt: skip
