"""Measuring what hosts, banks and guests wait for: each by one statement that reads one partial index.

What is counted stays small while all goes well; where it does not, counting ends at a hundred thousand.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from services.transfers.debts import INDEBTED, MINOR

if TYPE_CHECKING:
    from services.core import Services

DISPUTES_SOON: Final = timedelta(days=3)
"""How long before its deadline a dispute that nobody has answered is counted as due soon."""
_AT_MOST: Final = 100_000

_OVERDUE: Final = """
SELECT count(*) AS parts, min(release_at) AS oldest
FROM (SELECT release_at FROM payment_allocations WHERE release_at <= $1 ORDER BY release_at LIMIT $2) due
"""
# What Stripe refused is tried again after a day at most: what it refused longer ago waits for something else by now.
_REFUSED: Final = """
SELECT count(DISTINCT a.id) FROM transfers t JOIN payment_allocations a ON a.id = t.allocation_id
WHERE t.status = 'REFUSED' AND t.updated_at > now() - interval '2 days' AND a.owed_minor > 0
    AND a.release_at IS NOT NULL
"""
_DEBTS: Final = f"""
SELECT currency, count(DISTINCT host_id) AS hosts, sum(minor)::bigint AS minor
FROM (SELECT a.host_id, a.currency, {MINOR} AS minor {INDEBTED} LIMIT $1) d WHERE minor > 0 GROUP BY currency
"""
_DISPUTES: Final = """
SELECT count(*) AS disputes, count(*) FILTER (WHERE evidence_due_by <= $2) AS soon FROM disputes
WHERE status IN ('NEEDS_RESPONSE', 'WARNING_NEEDS_RESPONSE') AND (evidence_due_by IS NULL OR evidence_due_by > $1)
"""
_NOT_REFUNDED: Final = """
SELECT count(*) FROM (SELECT FROM activity_cancellation_items WHERE outcome = 'FAILED' LIMIT $1) failed
"""


async def measure_transfers(services: Services) -> None:
    """Say how many hosts' parts are due and not looked at, since when, and how many Stripe has refused to send."""
    now, pool, metrics = services.clock(), services.database.pool, services.metrics
    overdue = await _one(services, _OVERDUE, now, _AT_MOST)
    metrics.transfers_overdue.set(overdue["parts"])
    age_s = 0.0 if overdue["oldest"] is None else (now - overdue["oldest"]).total_seconds()
    metrics.transfers_overdue_oldest_s.set(max(0.0, age_s))
    metrics.transfers_refused.set(await pool.fetchval(_REFUSED))


async def measure_debts(services: Services) -> None:
    """Say how many hosts owe the platform, and how much, in each currency."""
    metrics = services.metrics
    records = await services.database.pool.fetch(_DEBTS, _AT_MOST)
    # A currency in which nobody owes any more must not go on saying what was owed.
    metrics.indebted_hosts.clear()
    metrics.host_debts_minor.clear()
    for record in records:
        metrics.indebted_hosts.labels(record["currency"]).set(record["hosts"])
        metrics.host_debts_minor.labels(record["currency"]).set(record["minor"])


async def measure_disputes(services: Services) -> None:
    """Say how many disputes can still be answered and were not, and how many of them are lost soon."""
    now = services.clock()
    waiting = await _one(services, _DISPUTES, now, now + DISPUTES_SOON)
    services.metrics.disputes_unanswered.labels("soon").set(waiting["soon"])
    services.metrics.disputes_unanswered.labels("later").set(waiting["disputes"] - waiting["soon"])


async def measure_cancellations(services: Services) -> None:
    """Say how many guests of activities that were called off could not be refunded."""
    failed = await services.database.pool.fetchval(_NOT_REFUNDED, _AT_MOST)
    services.metrics.cancellation_items_failed.set(failed)


async def _one(services: Services, query: str, *arguments: Any) -> Any:
    return (await services.database.pool.fetch(query, *arguments))[0]
