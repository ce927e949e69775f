"""Adding up the ledger's days, so that what it held at any time can be told from a few rows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from models.base import first_id_at, new_id

if TYPE_CHECKING:
    from datetime import datetime

    from services.core import Services

# A posting's id is made before its transaction commits, which takes seconds: of an hour ago all are there.
_SETTLED_AFTER: Final = timedelta(hours=1)

_ADD: Final = """
INSERT INTO ledger_days AS d (id, day, kind, currency, amount_minor)
SELECT gen_random_uuid(), (t.occurred_at AT TIME ZONE 'UTC')::date, a.kind, p.currency, sum(p.amount_minor)::bigint
FROM ledger_postings p JOIN ledger_transactions t ON t.id = p.transaction_id
JOIN ledger_accounts a ON a.id = p.account_id
WHERE p.id >= $1 AND p.id < $2
GROUP BY 2, 3, 4
ON CONFLICT (day, kind, currency) DO UPDATE SET amount_minor = d.amount_minor + excluded.amount_minor
"""
_ROLLUP: Final = "SELECT id, through_id FROM ledger_rollups FOR NO KEY UPDATE"
_BEGIN: Final = "INSERT INTO ledger_rollups (id, through_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_NOTE: Final = "UPDATE ledger_rollups SET through_id = $2, updated_at = now() WHERE id = $1"


async def add_up_days(services: Services, *, settled_after: timedelta = _SETTLED_AFTER) -> None:
    """Add postings that are old enough to their days, each once; costs what was posted since the last time.

    Ids carry the time of posting, and a day is that of `occurred_at`: what is posted late still counts on its day.

    Args:
        settled_after: how old a posting's id has to be.
    """
    async with services.database.transaction() as connection:
        await connection.execute(_BEGIN, new_id(), UUID(int=0))
        record = await connection.fetchrow(_ROLLUP)
        now: datetime = await connection.fetchval("SELECT now()")
        through = first_id_at(now - settled_after)
        assert record is not None
        if through > record["through_id"]:
            await connection.execute(_ADD, record["through_id"], through)
            await connection.execute(_NOTE, record["id"], through)
