"""Hosts' accounts on which nothing moved in a period: there is nothing to compare on them.

The mirror of an account is one request, and comparing it five more where charges are made there, two elsewhere, and one
for each further hundred objects. So a run over H hosts, of whom A moved money, costs at most H + 5 A requests: of
100,000 hosts of whom 10,000 did, 150,000 instead of 600,000, which is half an hour of the 80 a second that
`stripe_rate` allows instead of two.

What moved no money and nobody here knows of is passed over with the account: a card that was declined, an inquiry of
which Stripe's events told nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from models.base import first_id_at

if TYPE_CHECKING:
    from datetime import datetime

    from services.core import Services

# Stripe's clock and ours.
_APART: Final = timedelta(minutes=10)

# Rows here are never older than what they tell of. The watermark stays where rows of the mirror were lost.
_MOVED: Final = """
SELECT EXISTS (SELECT FROM balance_watermarks WHERE stripe_account = $1 AND seen_until >= $2)
    OR EXISTS (SELECT FROM balance_transactions WHERE stripe_account = $1 AND stripe_created_at >= $2)
    OR EXISTS (SELECT FROM disputes WHERE stripe_account = $1 AND stripe_account <> '' AND id >= $3)
    OR EXISTS (
        SELECT FROM connect_accounts c WHERE c.stripe_account_id = $1 AND (
            EXISTS (SELECT FROM payouts o WHERE o.connect_account_id = c.id AND o.id >= $3)
            OR EXISTS (
                SELECT FROM payments p WHERE p.host_id = c.user_id AND p.stripe_account = $1 AND p.id >= $3
            )
            OR EXISTS (
                SELECT FROM ledger_accounts a JOIN ledger_postings l ON l.account_id = a.id
                WHERE a.owner_id = c.user_id AND a.kind = 'HOST_BALANCE' AND l.id >= $3
            )
        )
    )
"""


async def is_idle(services: Services, account: str, since: datetime) -> bool:
    """Whether nothing has moved on a host's account since then, by its mirror, which is up to date, and by our rows.

    Rows of ours are charges and disputes on it, its payouts, and all that the ledger posted to its balance: transfers,
    reversals, refunds and fees.
    """
    earliest = since - _APART
    return not await services.database.pool.fetchval(_MOVED, account, earliest, first_id_at(earliest))
