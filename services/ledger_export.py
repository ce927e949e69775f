"""The ledger for accountants: one line a posting, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.money import Money

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from models.sets import AnyConnection

COLUMNS: Final = (
    "occurred_at", "posted_at", "transaction", "posting", "kind", "reference", "account", "owner", "amount", "currency",
    "amount_minor", "payment", "refund", "stripe_account", "stripe_object", "balance_transaction",
)  # fmt: skip
_AT_ONCE: Final = 1000
_POSTINGS: Final = """
SELECT t.occurred_at, t.created_at AS posted_at, t.id AS transaction_id, l.id AS posting_id, t.kind, t.reference,
    a.kind AS account, coalesce(u.external_id, '') AS owner, l.amount_minor, l.currency, t.payment_id, t.refund_id,
    t.stripe_account, t.stripe_object_id, coalesce((
        SELECT string_agg(b.stripe_balance_transaction_id, ' ' ORDER BY b.stripe_account)
        FROM balance_transactions b WHERE b.settles_id = t.id
    ), CASE WHEN t.stripe_object_id LIKE 'txn\\_%' THEN t.stripe_object_id END) AS balance_transaction
FROM ledger_transactions t JOIN ledger_postings l ON l.transaction_id = t.id
JOIN ledger_accounts a ON a.id = l.account_id LEFT JOIN users u ON u.id = a.owner_id
WHERE t.occurred_at >= coalesce($1, '-infinity'::timestamptz) AND t.occurred_at < coalesce($2, 'infinity'::timestamptz)
ORDER BY t.occurred_at, t.id, l.id
"""


async def exported_postings(
    connection: AnyConnection, *, from_at: datetime | None = None, to_at: datetime | None = None
) -> AsyncIterator[list[str]]:
    """The postings of what occurred in [from, to), the earliest first, as `COLUMNS` name them.

    Times are UTC in ISO 8601; an amount is a plain decimal of its currency's own digits, positive into the account.
    Only some are held at a time, and all are of one moment.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for record in connection.cursor(_POSTINGS, from_at, to_at, prefetch=_AT_ONCE):
            amount = Money(record["amount_minor"], record["currency"])
            yield [
                record["occurred_at"].isoformat(), record["posted_at"].isoformat(), str(record["transaction_id"]),
                str(record["posting_id"]), record["kind"], record["reference"], record["account"].lower(),
                record["owner"], f"{amount.amount:f}", amount.currency, str(amount.minor),
                *(str(record[name] or "") for name in ("payment_id", "refund_id", "stripe_account")),
                record["stripe_object_id"] or "", record["balance_transaction"] or "",
            ]  # fmt: skip
