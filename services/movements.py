"""Where the money of a payment is: the postings that it caused, and its part of the payouts that it went out with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from models.ledger import LedgerTransactionKind
from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from services.core import Services
    from services.viewer import Viewer

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
    t.stripe_account, t.kind AS what, a.kind, a.currency, owner.external_id AS owner,
    t.kind = 'TRANSFER_REVERSAL' AND EXISTS (
        SELECT FROM transfer_reversals r WHERE r.stripe_reversal_id = t.stripe_object_id
            AND r.refund_id IS NULL AND r.dispute_id IS NULL
    ) AS recovers
FROM (SELECT * FROM own UNION ALL SELECT * FROM out) m
JOIN ledger_transactions t ON t.id = m.transaction_id
JOIN ledger_accounts a ON a.id = m.account_id
LEFT JOIN users owner ON owner.id = a.owner_id
ORDER BY t.occurred_at, t.id, m.posting_id
"""
_HOSTED: Final = """
SELECT p.id FROM payments p JOIN users me ON me.external_id = $2
WHERE p.id = ANY($1) AND (p.host_id = me.id OR EXISTS (
    SELECT FROM payment_allocations s WHERE s.payment_id = p.id AND s.host_id = me.id))
"""
_ACCOUNTS: Final = """
SELECT c.stripe_account_id FROM connect_accounts c JOIN users me ON me.id = c.user_id AND me.external_id = $1
"""
# What hosts do with their money, and owe; so are reversals for no refund and no dispute.
_HOSTS_ALONE: Final = frozenset(
    {
        LedgerTransactionKind.PAYOUT, LedgerTransactionKind.PAYOUT_PAID, LedgerTransactionKind.PAYOUT_FAILED,
        LedgerTransactionKind.DEBT_RECOVERY,
    }
)  # fmt: skip


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
    hosts_alone: bool
    """Whether that was between the hosts and their banks, or them and the platform, and is nothing to the guest."""
    owner: str | None
    """The platform's own id of whose account it is, None for the platform's."""


async def visible_movements(
    services: Services, *, viewer: Viewer, payment_ids: Sequence[UUID]
) -> Mapping[UUID, list[Movement]]:
    """The movements of payments that the viewer sees, as far as they are the viewer's business.

    Service and admin see all, a host what is the payment's and their own, the guest what is the payment's, without
    what the hosts did with their money. Of a transaction they see all postings or none, and of the accounts at Stripe
    their own.
    """
    movements = await movements_of(services, payment_ids)
    if viewer.sees_everything:
        return movements
    pool = services.database.pool
    hosted = {record["id"] for record in await pool.fetch(_HOSTED, list(payment_ids), viewer.external_id)}
    accounts = {record["stripe_account_id"] for record in await pool.fetch(_ACCOUNTS, viewer.external_id)}
    return {
        id_: [
            one if one.stripe_account in accounts else replace(one, stripe_account=None)
            for one in (_host_s(whole, viewer.external_id) if id_ in hosted else _guest_s(whole))
        ]
        for id_, whole in movements.items()
    }


def _guest_s(movements: Sequence[Movement]) -> list[Movement]:
    return [one for one in movements if not one.hosts_alone]


def _host_s(movements: Sequence[Movement], host: str) -> list[Movement]:
    owners: dict[UUID, set[str]] = defaultdict(set)
    for one in movements:
        if one.owner is not None:
            owners[one.transaction_id].add(one.owner)
    return [one for one in movements if not owners[one.transaction_id] or host in owners[one.transaction_id]]


async def movements_of(services: Services, payment_ids: Sequence[UUID]) -> Mapping[UUID, list[Movement]]:
    """The movements of each payment, the earliest first, all of them: `visible_movements` says who sees which."""
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
                hosts_alone=record["recovers"] or LedgerTransactionKind(record["what"]) in _HOSTS_ALONE,
                owner=record["owner"],
            )
        )
    return movements
