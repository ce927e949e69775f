"""A payment's changes as events and audit entries keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.events import EventSubject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.payments import Payment
    from services.changes import ChangeSet


def snapshot(payment: Payment) -> dict[str, Any]:
    """What of a payment can change, without secrets: amounts in minor units of its currency."""
    return {
        "status": payment.status.value,
        "currency": payment.currency,
        "amount_minor": payment.amount_minor,
        "captured_minor": payment.captured_minor,
        "refunded_minor": payment.refunded_minor,
        "refund_pending_minor": payment.refund_pending_minor,
        "platform_fee_minor": payment.platform_fee_minor,
        "host_amount_minor": payment.host_amount_minor,
        "fee_refunded_minor": payment.fee_refunded_minor,
        "disputed_minor": payment.disputed_minor,
        "failure_code": payment.failure_code,
        "failure_decline_code": payment.failure_decline_code,
        "stripe_payment_intent_id": payment.stripe_payment_intent_id,
        "retries": payment.retries,
        "next_attempt_at": None if payment.next_attempt_at is None else payment.next_attempt_at.isoformat(),
    }


def record_change(
    changes: ChangeSet, payment: Payment, action: str, before: Mapping[str, Any] | None, *, actor: str | None = None
) -> None:
    """Record that a payment is no longer what `before` (a `snapshot`; None: it was created) says."""
    changes.record(
        EventSubject.PAYMENT,
        payment,
        action,
        previous_status=None if before is None else before["status"],
        status=payment.status.value,
        before=before,
        after=snapshot(payment),
        payer_id=payment.payer_id,
        host_id=payment.host_id,
        activity_id=payment.activity_id,
        actor=actor,
    )
