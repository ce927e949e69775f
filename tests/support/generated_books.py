"""Books of any length, at Stripe and here: balance transactions that agree, made up page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from services.ledger import GUESTS, PLATFORM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from models.sets import AnyConnection
    from services.stripe_requests import StripeRequest

_FILL = """
WITH numbers AS (SELECT n, to_timestamp($2::bigint + n / $3::int) AS at FROM generate_series(0, $1::int - 1) n),
transactions AS (
    INSERT INTO ledger_transactions (id, kind, reference, occurred_at, stripe_account, stripe_object_id)
    SELECT md5('t' || n)::uuid, 'TOP_UP', 'topup:' || n, at, '', 'tu_' || n FROM numbers
), postings AS (
    INSERT INTO ledger_postings (id, transaction_id, account_id, amount_minor, currency)
    SELECT gen_random_uuid(), md5('t' || n)::uuid, side.id, side.sign * (100 + n % 50), 'USD'
    FROM numbers CROSS JOIN (VALUES ($4::uuid, 1), ($5::uuid, -1)) AS side(id, sign)
)
INSERT INTO balance_transactions (id, stripe_account, stripe_balance_transaction_id, type, reporting_category,
    amount_minor, fee_minor, currency, stripe_created_at, available_on, settles_id)
SELECT gen_random_uuid(), '', 'txn_' || n, 'topup', 'topup', 100 + n % 50, 0, 'USD', at, at, md5('t' || n)::uuid
FROM numbers
"""
_ACCOUNT = "INSERT INTO ledger_accounts (id, kind, currency) VALUES ($1, $2, 'USD') ON CONFLICT DO NOTHING"
_SEEN = """
INSERT INTO balance_watermarks (id, stripe_account, seen_until) VALUES (gen_random_uuid(), '', to_timestamp($1))
ON CONFLICT (stripe_account) DO UPDATE SET seen_until = excluded.seen_until
"""


class GeneratedBooks:
    """Balance transactions of the platform, so many each second from a moment on; nothing else ever happened."""

    def __init__(self, stripe: Any, *, count: int, since: int, each_second: int = 20) -> None:
        self._stripe = stripe
        self._count = count
        self._since = since
        self._each_second = each_second

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)

    @property
    def until(self) -> int:
        """The second after the last."""
        return self._since + self._count // self._each_second + 1

    async def list_all(self, request: StripeRequest, **_: Any) -> AsyncIterator[dict[str, Any]]:
        """As the gateway lists them, the newest first."""
        query = parse_qs(request.body)
        if request.path != "/v1/balance_transactions" or request.stripe_account:
            return
        first = int(query["created[gte]"][0]) - self._since
        until = int(query["created[lt]"][0]) - self._since if "created[lt]" in query else self._count
        newest = min(self._count, until * self._each_second)
        for number in range(newest - 1, max(first, 0) * self._each_second - 1, -1):
            yield {
                "id": f"txn_{number}", "object": "balance_transaction", "amount": 100 + number % 50, "fee": 0,
                "currency": "usd", "created": self._since + number // self._each_second, "type": "topup",
            }  # fmt: skip

    async def fill(self, connection: AnyConnection) -> None:
        """Write the same here: the copies, and what the ledger posted."""
        accounts = [pot.account("USD") for pot in (PLATFORM, GUESTS)]
        for account in accounts:
            await connection.execute(_ACCOUNT, account.id, account.kind.value)
        await connection.execute(
            _FILL, self._count, self._since, self._each_second, *(account.id for account in accounts), timeout=3600
        )
        await connection.execute(_SEEN, self.until + 3600)
