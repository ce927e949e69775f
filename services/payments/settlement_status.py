"""How far a payment's money has come on its way to those whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.payments import SettlementStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from services.core import Services

# Where hosts have a part, what counts is what moved on their accounts; before anything has, and where none has a part,
# the platform's. All of it has to be there: the least far is how far the payment is.
_STATUSES: Final = """
SELECT p.id, CASE
    WHEN count(b.id) = 0 THEN 'CAPTURED'
    WHEN bool_and(o.status = 'PAID') THEN 'AT_BANK'
    WHEN bool_and(o.status IN ('PAID', 'PENDING', 'IN_TRANSIT')) THEN 'IN_PAYOUT'
    WHEN bool_and(b.available_on <= $2) THEN 'SETTLED'
    ELSE 'CAPTURED' END AS status
FROM payments p
LEFT JOIN balance_transactions b ON b.payment_id = p.id AND (b.amount_minor <> 0 OR b.fee_minor <> 0)
    AND (b.stripe_account <> '') = EXISTS (
        SELECT FROM balance_transactions h WHERE h.payment_id = p.id AND h.stripe_account <> ''
    )
LEFT JOIN payouts o ON o.id = b.payout_id
WHERE p.id = ANY($1) AND p.captured_minor > 0 GROUP BY p.id
"""


async def settlement_statuses(services: Services, payment_ids: Sequence[UUID]) -> Mapping[UUID, SettlementStatus]:
    """Of those of the payments that were captured; for whoever may see them.

    What is in a payout is known of automatic ones alone: of one by hand Stripe does not say what it is made of.
    """
    records = await services.database.pool.fetch(_STATUSES, list(payment_ids), services.clock())
    return {record["id"]: SettlementStatus(record["status"]) for record in records}
