"""The mirror of Stripe's books: every balance transaction of every account becomes a row here, once.

Lists are read window by window of the time of creation, and page by page: a page of a hundred is all that is held, a
window that was read whole moves the watermark, and what is broken off goes on from there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from models.balances import BalanceTransaction
from models.base import new_id
from models.sets import insert_rows, update_rows
from services.balance_requests import list_balance_transactions, retrieve_balance_transaction
from services.balances.due import mark_due
from services.balances.facts import parse_balance_transaction
from services.balances.settlement import lock_books, settle_rows, settle_waiting
from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from models.payouts import Payout
    from services.core import Services
    from services.stripe_requests import StripeRequest

_PAGE: Final = 100
# A balance transaction may be listed a little after it says that it was made.
_OVERLAP: Final = timedelta(minutes=2)
# How far our clock may be ahead of Stripe's: a window that is over here need not be over there.
_AHEAD: Final = timedelta(minutes=15)
_BEGINNING: Final = datetime(2011, 1, 1, tzinfo=UTC)
"""Before the first account at Stripe: what the platform did before it used Paydesk is in its balance, too."""
_WIDTH: Final = timedelta(hours=6)
"""What of the platform's is listed before the watermark moves, to begin with."""
_WIDTH_AT_LEAST: Final = timedelta(minutes=10)
_WIDTH_AT_MOST: Final = timedelta(days=365)
_MANY: Final = 50 * _PAGE

_OF_STRIPE: Final = """
SELECT id, payout_id FROM balance_transactions
WHERE stripe_account = $1 AND stripe_balance_transaction_id = $2 FOR NO KEY UPDATE
"""
_ALL: Final = (
    "type", "reporting_category", "amount_minor", "fee_minor", "application_fee_minor", "currency", "exchange_rate",
    "source_id", "related_id", "description", "stripe_created_at", "available_on", "payment_id", "settles_id",
    "fee_settles_id", "posting_id",
)  # fmt: skip
_SINCE: Final = "SELECT seen_until, updated_at FROM balance_watermarks WHERE stripe_account = $1"
_OPENED: Final = "SELECT created_at FROM connect_accounts WHERE stripe_account_id = $1"
_MOVE: Final = """
INSERT INTO balance_watermarks (id, stripe_account, seen_until, due_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (stripe_account) DO UPDATE SET updated_at = now(), due_at = excluded.due_at,
    seen_until = greatest(balance_watermarks.seen_until, excluded.seen_until)
"""
_IN_PAYOUT: Final = """
UPDATE balance_transactions SET payout_id = $1
WHERE stripe_account = $2 AND stripe_balance_transaction_id = ANY($3) AND payout_id IS DISTINCT FROM $1
"""
_CONTENTS_KNOWN: Final = "UPDATE payouts SET contents_known = true WHERE id = $1 AND NOT contents_known"


async def mirror_now(services: Services, account: str) -> int:
    """Take in what an account's books have that the mirror lacks, and join it to the ledger.

    Safe to call at any time, by several at once. Costs one request for a hundred balance transactions since the last
    time, and one where there are none.

    Args:
        account: '' for the platform, or the account of a host who is known here.

    Returns: how many balance transactions were new.
    Raises: StripeError; the next call goes on where this one ended. LookupError for an account that is nobody's here.
    """
    if not account:
        await mark_due(services)
    start, width = await _since(services, account)
    found = 0
    while True:
        end = start + width
        last = end > services.clock() - _AHEAD
        request = list_balance_transactions(
            account, created_gte=int(start.timestamp()), created_lt=None if last else int(end.timestamp())
        )
        listed = 0
        newest = start
        async for page in _pages(services, request):
            rows = await _take_in(services, account, page)
            found += rows
            listed += len(page)
            # Pages come newest first.
            newest = max(newest, datetime.fromtimestamp(page[0]["created"], UTC))
        # Stripe's own time, not ours: the two differ.
        start = newest if last else end
        await _move(services, account, start)
        if last:
            break
        width = _next_width(width, listed)
    await settle_waiting(services, account)
    return found


async def mirror_payout(services: Services, payout: Payout) -> None:
    """Know what is in a payout: its own balance transaction and, of an automatic one, those that it pays out.

    Call it once Stripe has put them together (`reconciliation_status`, event `payout.reconciliation_completed`), and
    when one has failed; again does no harm. Of what a payout by hand is made Stripe does not say.

    Raises: StripeError; LookupError for an account that is nobody's here.
    """
    account = payout.stripe_account
    own = [id_ for id_ in (payout.balance_transaction_id, payout.failure_balance_transaction_id) if id_ is not None]
    for id_ in own:
        response = await services.stripe.send(retrieve_balance_transaction(account, id_), priority=Priority.BACKGROUND)
        await _take_in(services, account, [response.body], payout=payout)
    if payout.automatic and payout.stripe_payout_id is not None:
        request = list_balance_transactions(account, payout=payout.stripe_payout_id)
        async for page in _pages(services, request):
            await _take_in(services, account, page, payout=payout)
        await services.database.pool.execute(_CONTENTS_KNOWN, payout.id)
    await settle_waiting(services, account)


async def mirror_again(services: Services, account: str, body: dict[str, Any]) -> None:
    """Copy one balance transaction anew, whatever its row was made to say, and join it to the ledger once more.

    Args:
        body: as Stripe has it, with its source expanded.

    Raises: LookupError for an account that is nobody's here.
    """
    meant = parse_balance_transaction(body, account)
    async with services.database.transaction() as connection:
        await lock_books(connection, account)
        record = await connection.fetchrow(_OF_STRIPE, account, meant.stripe_balance_transaction_id)
        if record is None:
            await insert_rows(connection, BalanceTransaction, [meant])
        else:
            meant.id, meant.payout_id = record["id"], record["payout_id"]
            # What it settled is given free first: it is joined anew, and only what differs is posted.
            await update_rows(connection, BalanceTransaction, [meant], _ALL)
        await settle_rows(services, connection, account, [meant])


async def _pages(services: Services, request: StripeRequest) -> AsyncIterator[list[dict[str, Any]]]:
    page: list[dict[str, Any]] = []
    async for body in services.stripe.list_all(request, priority=Priority.BACKGROUND):
        page.append(body)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


async def _take_in(
    services: Services, account: str, page: list[dict[str, Any]], *, payout: Payout | None = None
) -> int:
    """Write the rows that are missing, in one transaction with what they settle; how many those were."""
    parsed = [parse_balance_transaction(body, account) for body in page]
    async with services.database.transaction() as connection:
        await lock_books(connection, account)
        records = await insert_rows(
            connection, BalanceTransaction, parsed, conflict="ON CONFLICT DO NOTHING RETURNING id"
        )
        new = {record["id"] for record in records}
        await settle_rows(services, connection, account, [row for row in parsed if row.id in new])
        if payout is not None:
            names = [row.stripe_balance_transaction_id for row in parsed]
            await connection.execute(_IN_PAYOUT, payout.id, account, names)
    services.metrics.balance_mirrored.inc(len(new))
    return len(new)


async def _since(services: Services, account: str) -> tuple[datetime, timedelta]:
    """Where to begin, and how much to list at once: a little before the watermark, or before anything has happened.

    What was looked at and empty is listed in one piece with what comes after it, and so is all of a host's.
    """
    opened: datetime | None = await services.database.pool.fetchval(_OPENED, account) if account else _BEGINNING
    if opened is None:
        raise LookupError(f"{account} is nobody's here")
    record = await services.database.pool.fetchrow(_SINCE, account)
    if record is None or record["seen_until"] is None:
        return opened - timedelta(days=1), _WIDTH_AT_MOST if account else _WIDTH
    empty = max(record["updated_at"] - record["seen_until"], timedelta(0))
    return record["seen_until"] - _OVERLAP, _WIDTH_AT_MOST if account else _WIDTH + empty


async def _move(services: Services, account: str, seen_until: datetime) -> None:
    idle = timedelta(seconds=services.settings.balance_idle_s)
    due_at = services.clock() + idle if account else None
    await services.database.pool.execute(_MOVE, new_id(), account, seen_until, due_at)


def _next_width(width: timedelta, listed: int) -> timedelta:
    """Years of nothing are passed over in a few steps, and busy days in many."""
    if listed > _MANY:
        return max(width / 2, _WIDTH_AT_LEAST)
    return min(width * 2, _WIDTH_AT_MOST) if listed <= _PAGE else width
