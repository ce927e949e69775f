"""Seats whose hold ran out: the payment intent is canceled first, and the seats given back only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from services.errors import DomainError, OperationInProgress, StripeUnavailable
from services.payments.actions import cancel_payment
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from services.core import Services

log = structlog.get_logger("payments.holds")

SYSTEM = Viewer(role=Role.SERVICE, external_id="system:holds")


async def expire_holds(services: Services, *, limit: int = 100) -> int:
    """Cancel the payments of seats whose hold ran out; one that succeeded after all is fulfilled instead.

    Returns: how many were due. Those that Stripe could not be asked about are due again the next time.
    """
    due = await services.database.pool.fetch(
        """
        SELECT p.id, r.hold_expires_at FROM rsvps r JOIN payments p ON p.rsvp_id = r.id
        WHERE r.status = 'HELD' AND r.hold_expires_at <= $1 ORDER BY r.hold_expires_at LIMIT $2
        """,
        services.clock(),
        limit,
    )
    for record in due:
        # A retry may have given the seats a new hold that ran out again: each hold has its own operation.
        key = f"expire:{record['id']}:{record['hold_expires_at'].timestamp()}"
        try:
            await cancel_payment(
                services, viewer=SYSTEM, payment_id=record["id"], idempotency_key=key, expired=True
            )
        except (OperationInProgress, StripeUnavailable) as error:
            log.info("holds.still_busy", payment=str(record["id"]), error=error.code)
        except DomainError as error:
            log.warning("holds.not_canceled", payment=str(record["id"]), error=error.code)
        except Exception:
            # A bug with one payment must not keep the seats of the others.
            log.exception("holds.failed", payment=str(record["id"]))
    return len(due)
