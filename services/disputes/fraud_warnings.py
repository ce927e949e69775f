"""Early fraud warnings: a card's issuer reports a payment as fraud, most often before it is disputed.

While a warning is actionable, giving the money back prevents the dispute and its fee ("Early fraud warnings"). Whether
that is done by itself is a setting: a warned payment is not always disputed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from models.base import new_id
from models.disputes import FraudWarning
from models.refunds import RefundReason
from models.sets import insert_rows
from services.changes import ChangeSet
from services.dispute_requests import retrieve_fraud_warning
from services.errors import InvalidState, RefundExceedsBalance
from services.payments.facts import id_of, instant
from services.refunds.creation import refund_payment
from services.refunds.events import captured_payment_of
from services.stripe_gateway import Priority
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from uuid import UUID

    from models.payments import Payment
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("disputes.fraud_warnings")

_REFUNDS_AS: Final = Viewer(Role.SERVICE, "paydesk:fraud-warnings")
_KEEP: Final = """
ON CONFLICT (stripe_warning_id) DO UPDATE SET actionable = fraud_warnings.actionable AND excluded.actionable,
    updated_at = now()
RETURNING id, actionable, refund_id, xmax = 0 AS new
"""


async def fraud_warning_changed(services: Services, event: WebhookEvent) -> None:
    """Keep a warning as Stripe has it now, and refund its payment where the settings say so.

    Raises: OperationInProgress, StripeUnavailable: the refund goes on by itself, and the event comes again.
    """
    seen = event.payload["data"]["object"]
    payment = await captured_payment_of(services, seen, event)
    if payment is None:
        return
    request = retrieve_fraud_warning(seen["id"], stripe_account=payment.stripe_account)
    warning = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
    kept = await _keep(services, payment, warning, actor=event.actor)
    if kept["actionable"] and kept["refund_id"] is None and _is_refunded(services, payment):
        await _refund(services, payment, kept["id"], warning["id"])


async def _keep(services: Services, payment: Payment, warning: dict[str, Any], *, actor: str) -> Any:
    row = FraudWarning(
        id=new_id(), payment_id=payment.id, stripe_warning_id=warning["id"],
        stripe_charge_id=id_of(warning["charge"]) or "", fraud_type=warning["fraud_type"],
        actionable=warning["actionable"], stripe_created_at=instant(warning["created"]),
    )  # fmt: skip
    async with services.database.transaction() as connection:
        [kept] = await insert_rows(connection, FraudWarning, [row], conflict=_KEEP)
        if kept["new"]:
            xid: int = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
            changes = ChangeSet(actor, xid)
            changes.audit(
                "payment.warned_of_fraud", "PAYMENT", payment.id, before=None,
                after={"fraud_type": row.fraud_type, "stripe_warning_id": row.stripe_warning_id},
            )  # fmt: skip
            await changes.write(connection)
    return kept


def _is_refunded(services: Services, payment: Payment) -> bool:
    settings = services.settings
    most = settings.refund_fraud_maximum_minor.get(payment.currency)
    return (
        settings.refund_fraud_warnings == "actionable"
        and bool(payment.refundable)
        and (most is None or payment.refundable.minor <= most)
    )


async def _refund(services: Services, payment: Payment, warning_id: UUID, stripe_warning_id: str) -> None:
    """Give all that is left back, once for a warning, however often it comes."""
    try:
        refund = await refund_payment(
            services, viewer=_REFUNDS_AS, payment_id=payment.id, amount=None, reason=RefundReason.FRAUDULENT,
            idempotency_key=f"fraud_warning:{stripe_warning_id}",
        )  # fmt: skip
    except (InvalidState, RefundExceedsBalance) as error:
        # Something was quicker: a dispute, or another refund.
        log.warning("disputes.fraud_warning_not_refunded", payment=str(payment.id), error=type(error).__name__)
        return
    await services.database.pool.execute(
        "UPDATE fraud_warnings SET refund_id = $2, updated_at = now() WHERE id = $1", warning_id, refund.id
    )
