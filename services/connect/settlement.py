"""Settling connected accounts: what Stripe says of one becomes its row, its event and its audit entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.base import from_record
from models.connect_accounts import ConnectAccount
from models.events import EventSubject
from models.sets import update_rows
from services.changes import ChangeSet

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from services.connect.facts import AccountFacts

_COLUMNS = (
    "stripe_account_id", "country", "default_currency", "details_submitted", "stripe_charges_enabled",
    "payouts_enabled", "capabilities", "requirements", "disabled_reason", "payout_schedule", "deauthorized_at",
    "version", "position",
)  # fmt: skip


def account_status(account: ConnectAccount, platform_country: str) -> str:
    """Where an account stands, in one word, as its events carry it."""
    if account.stripe_account_id is None:
        return "CREATING"
    if account.deauthorized_at is not None:
        return "DEAUTHORIZED"
    if account.can_be_paid(platform_country):
        return "READY"
    return "RESTRICTED" if account.details_submitted else "ONBOARDING"


def snapshot(account: ConnectAccount, platform_country: str) -> dict[str, Any]:
    """What of an account can change."""
    return {
        "status": account_status(account, platform_country),
        "stripe_account_id": account.stripe_account_id,
        "type": account.type.value,
        "country": account.country,
        "default_currency": account.default_currency,
        "details_submitted": account.details_submitted,
        "stripe_charges_enabled": account.stripe_charges_enabled,
        "payouts_enabled": account.payouts_enabled,
        "capabilities": account.capabilities,
        "requirements": account.requirements,
        "disabled_reason": account.disabled_reason,
        "payout_schedule": account.payout_schedule,
    }


async def lock_account(connection: AnyConnection, account_id: UUID) -> tuple[ConnectAccount, int]:
    """The locked account and the transaction's id.

    Raises: LookupError where there is none.
    """
    record = await connection.fetchrow(
        "SELECT a.*, pg_current_xact_id()::text::bigint AS xid FROM connect_accounts a WHERE id = $1 FOR NO KEY UPDATE",
        account_id,
    )
    if record is None:
        raise LookupError(f"no connected account {account_id}")
    return from_record(ConnectAccount, record), record["xid"]


async def apply_facts(
    connection: AnyConnection,
    account: ConnectAccount,
    xid: int,
    facts: AccountFacts,
    *,
    platform_country: str,
    actor: str,
) -> bool:
    """Write facts to a locked account; the first ones are its creation.

    Returns: whether anything changed.
    """
    before = snapshot(account, platform_country)
    created = account.stripe_account_id is None
    facts.apply(account)
    after = snapshot(account, platform_country)
    if after == before:
        return False
    action = "connect_account.created" if created else "connect_account.updated"
    await _write(connection, account, xid, action, actor, before=None if created else before, after=after)
    return True


async def apply_schedule(
    connection: AnyConnection,
    account: ConnectAccount,
    xid: int,
    schedule: dict[str, Any],
    *,
    platform_country: str,
    actor: str,
) -> bool:
    """Write to a locked account when it is paid out by itself (`schedule_of`).

    Returns: whether that is new.
    """
    before = snapshot(account, platform_country)
    account.payout_schedule = schedule
    after = snapshot(account, platform_country)
    if after == before:
        return False
    await _write(connection, account, xid, "connect_account.scheduled", actor, before=before, after=after)
    return True


async def deauthorize(
    connection: AnyConnection, account: ConnectAccount, xid: int, at: datetime, *, platform_country: str, actor: str
) -> bool:
    """Note that the host has cut the platform off.

    Returns: whether that is new.
    """
    if account.deauthorized_at is not None:
        return False
    before = snapshot(account, platform_country)
    account.deauthorized_at = at
    after = snapshot(account, platform_country)
    await _write(connection, account, xid, "connect_account.deauthorized", actor, before=before, after=after)
    return True


async def _write(
    connection: AnyConnection,
    account: ConnectAccount,
    xid: int,
    action: str,
    actor: str,
    *,
    before: dict[str, Any] | None,
    after: dict[str, Any],
) -> None:
    changes = ChangeSet(actor, xid)
    changes.record(
        EventSubject.CONNECT_ACCOUNT,
        account,
        action,
        previous_status=None if before is None else before["status"],
        status=after["status"],
        before=before,
        after=after,
        host_id=account.user_id,
    )
    await update_rows(connection, ConnectAccount, [account], _COLUMNS)
    await changes.write(connection)
