"""When to look at which account's books: the platform's always, a host's soon after something moved there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from models.base import first_id_at

if TYPE_CHECKING:
    from services.core import Services

# Postings of transactions that were under way when it was looked last.
_OVERLAP: Final = timedelta(minutes=10)

_LOOKED_AT: Final = "SELECT now() AS now, (SELECT updated_at FROM balance_watermarks WHERE stripe_account = '') AS last"
# What joining the books themselves posts is no reason to look again.
_MARK: Final = """
INSERT INTO balance_watermarks (id, stripe_account, due_at)
SELECT gen_random_uuid(), c.stripe_account_id, $2 FROM connect_accounts c
WHERE c.stripe_account_id IS NOT NULL AND c.deauthorized_at IS NULL AND c.user_id IN (
    SELECT a.owner_id FROM ledger_postings p JOIN ledger_accounts a ON a.id = p.account_id
    JOIN ledger_transactions t ON t.id = p.transaction_id
    WHERE p.id >= $1 AND a.kind = 'HOST_BALANCE' AND NOT starts_with(t.reference, 'balance:')
)
ORDER BY c.stripe_account_id
ON CONFLICT (stripe_account) DO UPDATE SET due_at = least(balance_watermarks.due_at, excluded.due_at)
"""
_MARK_NEW: Final = """
INSERT INTO balance_watermarks (id, stripe_account, due_at)
SELECT gen_random_uuid(), c.stripe_account_id, $1 FROM connect_accounts c
WHERE c.stripe_account_id IS NOT NULL AND c.deauthorized_at IS NULL
    AND NOT EXISTS (SELECT FROM balance_watermarks w WHERE w.stripe_account = c.stripe_account_id)
ON CONFLICT DO NOTHING
"""


async def mark_due(services: Services) -> None:
    """Note which hosts' books have to be looked at, and by when.

    Those whose pots moved since the last time, within `balance_hosts_every_s`; the others once in `balance_idle_s`.
    It reads the postings since the last time by their ids, which carry the time, and asks Stripe for nothing.
    """
    pool = services.database.pool
    record = await pool.fetchrow(_LOOKED_AT)
    assert record is not None
    now, settings = services.clock(), services.settings
    since = (record["last"] or record["now"] - timedelta(seconds=settings.balance_idle_s)) - _OVERLAP
    await pool.execute(_MARK, first_id_at(since), now + timedelta(seconds=settings.balance_hosts_every_s))
    await pool.execute(_MARK_NEW, now + timedelta(seconds=settings.balance_idle_s))
