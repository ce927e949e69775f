"""What is told of a subscription while it stays as it is: its trial is about to end, it is about to be renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.money import Money
from services.changes import ChangeSet
from services.payments.facts import optional_instant
from services.subscriptions.history import record_change
from services.subscriptions.rows import lock_subscription, write_subscription

if TYPE_CHECKING:
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services

TRIAL_WILL_END = "subscription.trial_will_end"
INVOICE_UPCOMING = "invoice.upcoming"

_IS_NOTED = "SELECT EXISTS (SELECT FROM audit_entries WHERE subject_id = $1 AND action = $2 AND actor = $3)"


async def note_trial_end(services: Services, subscription_id: UUID, *, actor: str) -> None:
    """Tell, live and for the record, that a trial ends in three days; once for each event ("actor") that says so."""
    async with services.database.transaction() as connection:
        locked = await lock_subscription(connection, subscription_id)
        if await _is_noted(connection, subscription_id, TRIAL_WILL_END, actor):
            return
        changes = ChangeSet(actor, locked.xid)
        record_change(changes, locked.row, TRIAL_WILL_END, locked.before, notice="trial_will_end")
        await write_subscription(connection, services.settings, changes, locked)
        await changes.write(connection)
    services.live.wake()


async def note_upcoming_invoice(
    services: Services, stripe_subscription_id: str, preview: dict[str, Any], *, actor: str
) -> None:
    """Record what the next invoice of a subscription of ours is going to be; once for each event that says so.

    Args:
        preview: "The Invoice object" without an id.
    """
    subscription_id = await services.database.pool.fetchval(
        "SELECT id FROM subscriptions WHERE stripe_subscription_id = $1", stripe_subscription_id
    )
    if subscription_id is None:
        return
    async with services.database.transaction() as connection:
        locked = await lock_subscription(connection, subscription_id)
        if await _is_noted(connection, subscription_id, INVOICE_UPCOMING, actor):
            return
        amount = Money.from_wire(preview["amount_due"], preview["currency"])
        at = optional_instant(preview.get("next_payment_attempt"))
        changes = ChangeSet(actor, locked.xid)
        changes.audit(
            INVOICE_UPCOMING, "SUBSCRIPTION", subscription_id, before=None,
            after={
                "amount_due_minor": amount.minor, "currency": amount.currency,
                "next_payment_attempt": None if at is None else at.isoformat(),
            },
        )  # fmt: skip
        await changes.write(connection)


async def _is_noted(connection: AnyConnection, subscription_id: UUID, action: str, actor: str) -> bool:
    return bool(await connection.fetchval(_IS_NOTED, subscription_id, action, actor))
