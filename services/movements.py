"""Where the money of a payment is: the postings that it caused."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from services.core import Services

_MOVEMENTS = """
SELECT t.payment_id, t.id AS transaction_id, t.occurred_at, t.reference, p.amount_minor, p.currency, a.kind,
    owner.external_id AS owner
FROM ledger_transactions t
JOIN ledger_postings p ON p.transaction_id = t.id
JOIN ledger_accounts a ON a.id = p.account_id
LEFT JOIN users owner ON owner.id = a.owner_id
WHERE t.payment_id = ANY($1)
ORDER BY t.occurred_at, t.id, p.id
"""


@dataclass(frozen=True, slots=True)
class Movement:
    """One posting: so much into an account, or, negative, out of it."""

    transaction_id: UUID
    account: str
    """The kind of account, and whose: "guest_clearing", "host_balance:alice"."""
    amount: Money
    occurred_at: datetime
    cause: str
    """What caused it, with Stripe's id: "charge:ch_…"."""


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
            )
        )
    return movements
