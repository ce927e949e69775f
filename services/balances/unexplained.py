"""What of a payment's money Stripe moved and nobody here can say why, or was said here and Stripe did not move."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from models.ledger import LedgerAccountKind, LedgerPlace, place_of
from models.money import Money
from services.balances.types import WAITING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from services.core import Services

# A balance transaction may come long after what it is about ("automatic_async").
_PATIENCE: Final = timedelta(hours=1)
_AT_STRIPE: Final = (*(kind.value for kind in LedgerAccountKind if place_of(kind) is not LedgerPlace.ELSEWHERE),)

# In turn: every currency that it moved in; what moved at Stripe for a cause that is not known here; what moved there
# beyond what was meant, in one currency; and what was posted here and has not moved there, though it was looked since.
# A debt that was set off never moves there: it is said of two payments, at both places, and cancels out.
# What moves nothing but a fee of Stripe's is its own cause, as that of a dispute that was prevented, which comes back.
_UNEXPLAINED: Final = """
WITH effects AS (
    SELECT t.payment_id, t.id, t.created_at, CASE a.kind WHEN 'HOST_BALANCE' THEN a.owner_id END AS owner, p.currency,
        sum(p.amount_minor) AS minor
    FROM ledger_transactions t JOIN ledger_postings p ON p.transaction_id = t.id
    JOIN ledger_accounts a ON a.id = p.account_id
    WHERE t.payment_id = ANY($1) AND a.kind = ANY($2) AND NOT starts_with(t.reference, 'balance:')
        AND t.kind <> 'DEBT_RECOVERY'
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(p.amount_minor) <> 0
), places AS (
    SELECT NULL::uuid AS owner, '' AS account
    UNION ALL
    SELECT user_id, stripe_account_id FROM connect_accounts
    WHERE user_id IN (SELECT owner FROM effects) AND stripe_account_id IS NOT NULL
), parts AS (
    SELECT payment_id, currency, owner, 0 AS minor FROM effects
    UNION ALL
    SELECT b.payment_id, b.currency, c.user_id, CASE WHEN b.amount_minor <> 0 AND b.type = ANY($3)
        AND (b.settles_id IS NULL OR b.settles_id = b.posting_id) THEN b.amount_minor - b.fee_minor ELSE 0 END
    FROM balance_transactions b LEFT JOIN connect_accounts c ON c.stripe_account_id = b.stripe_account
    WHERE b.payment_id = ANY($1)
    UNION ALL
    SELECT b.payment_id, p.currency, c.user_id, -p.amount_minor
    FROM balance_transactions b JOIN ledger_transactions t
        ON t.stripe_object_id = b.stripe_balance_transaction_id AND t.stripe_account = b.stripe_account
    JOIN ledger_postings p ON p.transaction_id = t.id
    JOIN ledger_accounts a ON a.id = p.account_id AND a.kind = 'ADJUSTMENTS'
    LEFT JOIN connect_accounts c ON c.stripe_account_id = b.stripe_account
    WHERE b.payment_id = ANY($1) AND b.settles_id IS NOT NULL AND b.settles_id IS DISTINCT FROM b.posting_id
    UNION ALL
    SELECT e.payment_id, e.currency, e.owner, -e.minor FROM effects e
    WHERE EXISTS (
        SELECT FROM balance_watermarks w JOIN places l ON l.account = w.stripe_account
        WHERE l.owner IS NOT DISTINCT FROM e.owner AND w.updated_at > e.created_at + $4
    ) AND NOT EXISTS (
        SELECT FROM balance_transactions b JOIN places l ON l.account = b.stripe_account
        WHERE l.owner IS NOT DISTINCT FROM e.owner AND e.id IN (b.settles_id, b.fee_settles_id)
    )
)
SELECT payment_id, currency, sum(abs(minor))::bigint AS minor FROM (
    SELECT payment_id, currency, owner, sum(minor) AS minor FROM parts GROUP BY payment_id, currency, owner
) AS by_place GROUP BY payment_id, currency ORDER BY payment_id, currency
"""


async def unexplained_of(services: Services, payment_ids: Sequence[UUID]) -> Mapping[UUID, list[Money]]:
    """For each payment, by currency that it moved in at Stripe: nothing, where every cent is explained.

    What is too much at one place and too little at another is unexplained at both. What has been posted here counts
    once Stripe's books were looked at an hour after it or later.
    """
    found: dict[UUID, list[Money]] = defaultdict(list)
    records = await services.database.pool.fetch(_UNEXPLAINED, list(payment_ids), _AT_STRIPE, WAITING, _PATIENCE)
    for record in records:
        found[record["payment_id"]].append(Money(record["minor"], record["currency"]))
    return found
