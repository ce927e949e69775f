"""Cards that are about to expire, made known before a payment fails."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from models.base import from_record
from models.payment_methods import SavedPaymentMethod
from models.sets import update_rows
from services.changes import ChangeSet
from services.payment_methods.history import SUBJECT, snapshot

if TYPE_CHECKING:
    from datetime import datetime

    from services.core import Services

log = structlog.get_logger("payment_methods.expiry")

# A month's card works to its end: those expire in time whose month is before the one that the notice reaches into.
_EXPIRING: Final = """
SELECT *, pg_current_xact_id()::text::bigint AS xid FROM payment_methods
WHERE detached_at IS NULL AND expiry_noticed_at IS NULL AND exp_year IS NOT NULL AND (exp_year, exp_month) < ($1, $2)
ORDER BY exp_year, exp_month LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""


def expires_soon(services: Services, expires_at: datetime | None) -> bool:
    """Whether a card works for no longer than the notice that its owner gets, or not any more."""
    notice = timedelta(days=services.settings.card_expiry_notice_days)
    return expires_at is not None and expires_at <= services.clock() + notice


async def notice_expiring(services: Services, *, limit: int = 500) -> int:
    """Note each saved card that is about to expire, once, in the audit trail (`payment_method.expiring`).

    Returns: how many were noted; as many as `limit` where there may be more.
    """
    now = services.clock()
    reach = now + timedelta(days=services.settings.card_expiry_notice_days)
    async with services.database.transaction() as connection:
        records = await connection.fetch(_EXPIRING, reach.year, reach.month, limit)
        if not records:
            return 0
        changes = ChangeSet("system:card_expiry", records[0]["xid"])
        methods = [from_record(SavedPaymentMethod, record) for record in records]
        for method in methods:
            method.expiry_noticed_at = now
            assert method.expires_at is not None
            known = {**snapshot(method), "expires_at": method.expires_at.isoformat()}
            changes.audit("payment_method.expiring", SUBJECT, method.id, before=None, after=known)
        await update_rows(connection, SavedPaymentMethod, methods, ("expiry_noticed_at",))
        await changes.write(connection)
    services.metrics.expiring_cards.inc(len(methods))
    log.info("payment_methods.expiring", cards=len(methods))
    return len(methods)
