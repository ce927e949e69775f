"""Dunnings as locked rows, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.base import from_record
from models.dunning import Dunning, DunningStatus
from models.events import EventSubject
from models.sets import update_rows
from services.dunning.schedule import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from models.subscriptions import BillingSubscription
    from services.changes import ChangeSet
    from services.core import Services

CALLER: Final = "system:dunning"
"""Who makes the tries that no guest asked for, and what follows from them."""

_COLUMNS = (
    "status", "retries", "last_failed_at", "next_attempt_at", "ends_at", "ended_as", "payment_method", "failure_code",
    "decline_code", "message", "retryable",
)  # fmt: skip
_NEXT = "SELECT min(next_attempt_at) FROM dunnings WHERE subscription_id = $1 AND status = 'TRYING'"


async def lock_dunning(connection: AnyConnection, invoice_id: UUID) -> Dunning | None:
    """The locked dunning of an invoice; its subscription and invoice are locked before."""
    record = await connection.fetchrow("SELECT * FROM dunnings WHERE invoice_id = $1 FOR NO KEY UPDATE", invoice_id)
    return None if record is None else from_record(Dunning, record)


def facts_of(dunning: Dunning) -> dict[str, Any]:
    """What of a dunning can change, as audit entries keep it."""
    return {
        "invoice_id": str(dunning.invoice_id),
        "status": dunning.status.value,
        "retries": dunning.retries,
        "next_attempt_at": _text(dunning.next_attempt_at),
        "ends_at": _text(dunning.ends_at),
        "ended_as": dunning.ended_as,
        "payment_method": dunning.payment_method,
        "failure_code": dunning.failure_code,
        "decline_code": dunning.decline_code,
        "retryable": dunning.retryable,
    }


async def write_dunning(
    connection: AnyConnection, changes: ChangeSet, subscription: BillingSubscription, dunning: Dunning,
    before: Mapping[str, Any], action: str | None,
) -> None:  # fmt: skip
    """Write a dunning where it has changed, and tell of it by its subscription, which the caller writes.

    Args:
        before: its `facts_of` from before.
        action: the audit entry's; None where it is not worth one.
    """
    if facts_of(dunning) != before:
        await update_rows(connection, Dunning, [dunning], _COLUMNS)
    await tell(connection, changes, subscription, dunning, before, action)


async def tell(
    connection: AnyConnection, changes: ChangeSet, subscription: BillingSubscription, dunning: Dunning,
    before: Mapping[str, Any] | None, action: str | None,
) -> None:  # fmt: skip
    """Set the subscription's next try; record what was done, also for those who follow the subscription."""
    subscription.next_payment_attempt = await connection.fetchval(_NEXT, subscription.id)
    if action is None:
        return
    status = subscription.status.value
    changes.record(
        EventSubject.SUBSCRIPTION, subscription, action, previous_status=status, status=status, before=before,
        after={**facts_of(dunning), "notice": action}, payer_id=subscription.user_id,
    )  # fmt: skip


def plan_of(services: Services, dunning: Dunning) -> Plan:
    """What is to come of a dunning that is our own.

    Raises: ValueError for one of Stripe's.
    """
    if dunning.ends_at is None:
        raise ValueError(f"dunning {dunning.id} is Stripe's")
    days: Sequence[int] = services.settings.dunning_days
    return Plan(days, dunning.retries, dunning.last_failed_at, dunning.next_attempt_at, dunning.ends_at)


def follow_plan(dunning: Dunning, plan: Plan) -> None:
    """Take over what a plan says; nothing is due while only the guest can help."""
    dunning.retries, dunning.last_failed_at, dunning.ends_at = plan.retries, plan.last_failed_at, plan.ends_at
    trying = dunning.status is DunningStatus.TRYING and dunning.retryable
    dunning.next_attempt_at = plan.next_attempt_at if trying else None


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
