"""Where the money of a payment is: the postings that it caused, and its part of the payouts that it went out with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from services.core import Services

# A payout moves many payments' money at once: what is in it of one is known by its balance transactions.
_MOVEMENTS: Final = """
WITH own AS (
    SELECT t.payment_id, t.id AS transaction_id, p.id AS posting_id, p.account_id, p.amount_minor
    FROM ledger_transactions t JOIN ledger_postings p ON p.transaction_id = t.id
    WHERE t.payment_id = ANY($1)
), inside AS (
    SELECT b.payment_id, o.stripe_payout_id, o.amount_minor AS whole, sum(b.amount_minor - b.fee_minor) AS part
    FROM balance_transactions b JOIN payouts o ON o.id = b.payout_id
    WHERE b.payment_id = ANY($1) AND b.source_id IS DISTINCT FROM o.stripe_payout_id
    GROUP BY b.payment_id, o.stripe_payout_id, o.amount_minor HAVING sum(b.amount_minor - b.fee_minor) <> 0
), out AS (
    SELECT i.payment_id, t.id, p.id, p.account_id, (i.part * sign(p.amount_minor) * sign(i.whole))::bigint
    FROM inside i JOIN ledger_transactions t
        ON t.stripe_object_id = i.stripe_payout_id AND t.kind IN ('PAYOUT', 'PAYOUT_PAID', 'PAYOUT_FAILED')
    JOIN ledger_postings p ON p.transaction_id = t.id
)
SELECT m.payment_id, m.transaction_id, m.amount_minor, t.occurred_at, t.reference, t.stripe_object_id,
    t.stripe_account, a.kind, a.currency, owner.external_id AS owner
FROM (SELECT * FROM own UNION ALL SELECT * FROM out) m
JOIN ledger_transactions t ON t.id = m.transaction_id
JOIN ledger_accounts a ON a.id = m.account_id
LEFT JOIN users owner ON owner.id = a.owner_id
ORDER BY t.occurred_at, t.id, m.posting_id
"""


@dataclass(frozen=True, slots=True)
class Movement:
    """One posting: so much into an account, or, negative, out of it; of a payout, the payment's part of it."""

    transaction_id: UUID
    account: str
    """The kind of account, and whose: "guest_clearing", "host_balance:alice"."""
    amount: Money
    occurred_at: datetime
    cause: str
    """What caused it, with Stripe's id: "charge:ch_…"."""
    stripe_id: str | None
    """Stripe's object that moved the money, and the account there whose it is, None for the platform."""
    stripe_account: str | None


async def movements_of(services: Services, payment_ids: Sequence[UUID]) -> Mapping[UUID, list[Movement]]:
    """The movements of each payment, the earliest first; for whoever may see the payments."""
    movements: dict[UUID, list[Movement]] = defaultdict(list)
    for record in await services.database.pool.fetch(_MOVEMENTS, list(payment_ids)):
        kind = record["kind"].lower()
        movements[record["payment_id"]].append(
            Movement(
                transaction_id=record["transaction_id"],
                account=kind if record["owner"] is None else f"{kind}:{record['owner']}",
                amount=Money(record["amount_minor"], record["currency"]),
                occurred_at=record["occurred_at"],
                cause=record["reference"],
                stripe_id=record["stripe_object_id"],
                stripe_account=record["stripe_account"] or None,
            )
        )
    return movements
