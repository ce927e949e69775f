"""Subscriptions as locked rows: what follows from the facts in them, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from models.base import from_record
from models.sets import update_rows
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.entitlements import entitled_until
from services.subscriptions.facts import status_of
from services.subscriptions.history import record_change, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from models.sets import AnyConnection
    from services.changes import ChangeSet
    from settings import Settings

_COLUMNS = (
    "status", "version", "position", "plan_id", "price_id", "next_price_id", "stripe_subscription_id", "stripe_item_id",
    "stripe_schedule_id", "stripe_status", "latest_invoice", "default_payment_method", "current_period_start",
    "current_period_end", "trial_end", "cancel_at", "cancel_at_period_end", "canceled_at", "ended_at", "paused_at",
    "resumes_at", "past_due_since", "unpaid_since", "entitled_until", "next_payment_attempt", "client_secret",
    "next_action",
)  # fmt: skip

_OVERDUE = frozenset({BillingSubscriptionStatus.PAST_DUE, BillingSubscriptionStatus.UNPAID})

# A renewal that failed is owed from when the period began that it is for; anything else from when it was asked for.
# What was given up is owed no more, but its period is not paid for either, as long as nothing later was asked for. The
# same goes for a renewal that was set aside untried, as the subscription was paused when its period began. What waits
# for its payment ("Pending updates") says nothing of the period.
_INVOICES = """
WITH asked AS (
    SELECT *, CASE WHEN billing_reason = 'subscription_cycle' THEN period_end ELSE stripe_created_at END AS since,
        billing_reason = 'subscription_cycle' AND attempt_count = 0 AND total_minor > 0
            AND (status = 'VOID' OR (status = 'DRAFT' AND NOT auto_advance)) AS set_aside
    FROM invoices WHERE subscription_id = $1
), last AS (
    SELECT * FROM asked
    WHERE (status IN ('OPEN', 'PAID', 'UNCOLLECTIBLE') OR set_aside) AND billing_reason IS DISTINCT FROM 'manual'
        AND NOT (status = 'OPEN' AND billing_reason IS NOT DISTINCT FROM 'subscription_update')
    ORDER BY stripe_created_at DESC, id DESC LIMIT 1
)
SELECT min(since) FILTER (WHERE status = 'OPEN' AND attempt_count > 0) AS failed_since,
    coalesce(bool_or(status = 'PAID') FILTER (WHERE stripe_invoice_id = $2), false) AS latest_is_paid,
    (SELECT since FROM last WHERE status = 'UNCOLLECTIBLE' OR set_aside) AS given_up_since,
    EXISTS (SELECT FROM last WHERE set_aside) AS is_set_aside
FROM asked
"""


@dataclass(frozen=True, slots=True)
class LockedSubscription:
    """A subscription's row, locked for the transaction that changes it, and how it was."""

    row: BillingSubscription
    xid: int
    before: Mapping[str, Any]
    columns: tuple[Any, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> LockedSubscription:
        """From a record that was selected FOR NO KEY UPDATE, with `pg_current_xact_id()` as `xid`."""
        row = from_record(BillingSubscription, record)
        return cls(row, record["xid"], snapshot(row), _columns(row))


async def lock_subscription(connection: AnyConnection, subscription_id: UUID) -> LockedSubscription:
    """Lock a subscription; what is changed in its row is written by `write_subscription`.

    Raises: LookupError where there is none.
    """
    record = await connection.fetchrow(
        "SELECT s.*, pg_current_xact_id()::text::bigint AS xid FROM subscriptions s WHERE id = $1 FOR NO KEY UPDATE",
        subscription_id,
    )
    if record is None:
        raise LookupError(f"no subscription {subscription_id}")
    return LockedSubscription.of(record)


async def write_subscription(
    connection: AnyConnection,
    settings: Settings,
    changes: ChangeSet,
    locked: LockedSubscription,
    *,
    action: str | None = None,
) -> bool:
    """Derive what follows from a subscription's facts and its invoices, write it, and record what changed.

    Args:
        action: what the audit entry says; by default what became of its status.

    Returns: whether anything that shows has changed; the caller writes `changes`.
    """
    subscription, before = locked.row, locked.before
    await _derive(connection, settings, subscription)
    changed = snapshot(subscription) != before
    if changed:
        status = subscription.status.value
        became = "updated" if status == before["status"] else status.lower()
        record_change(changes, subscription, action or f"subscription.{became}", before)
    if _columns(subscription) != locked.columns:
        await update_rows(connection, BillingSubscription, [subscription], _COLUMNS)
    return changed


def _columns(subscription: BillingSubscription) -> tuple[Any, ...]:
    return tuple(getattr(subscription, name) for name in _COLUMNS)


async def _derive(connection: AnyConnection, settings: Settings, subscription: BillingSubscription) -> None:
    """Status, what is overdue, and until when the features are granted: from what is stored, in whatever order it came.

    A subscription that Stripe has not made yet stays as it is.
    """
    if subscription.stripe_status is None:
        return
    (invoices,) = await connection.fetch(_INVOICES, subscription.id, subscription.latest_invoice)
    told = status_of(subscription.stripe_status)
    if invoices["latest_is_paid"] or told.is_final:
        subscription.unpaid_since = None
    if told in _OVERDUE:
        subscription.past_due_since = (
            invoices["failed_since"] or subscription.past_due_since or subscription.current_period_start
        )
    else:
        subscription.past_due_since = invoices["given_up_since"]
    subscription.status = _status(subscription, told)
    # The grace is for payments that fail: for a period that was to cost nothing there is none.
    grace = timedelta() if invoices["is_set_aside"] and told not in _OVERDUE else timedelta(seconds=settings.grace_s)
    subscription.entitled_until = entitled_until(subscription, grace)


def _status(subscription: BillingSubscription, told: BillingSubscriptionStatus) -> BillingSubscriptionStatus:
    if told.is_final or told is BillingSubscriptionStatus.INCOMPLETE:
        return told
    if subscription.unpaid_since is not None:
        return BillingSubscriptionStatus.UNPAID
    return told if subscription.paused_at is None else BillingSubscriptionStatus.PAUSED
