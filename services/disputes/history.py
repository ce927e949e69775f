"""A dispute's changes as events and audit entries keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.events import EventSubject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.disputes import Dispute
    from models.payments import Payment
    from services.changes import ChangeSet


def snapshot(dispute: Dispute) -> dict[str, Any]:
    """What of a dispute can change: amounts in minor units; of what was said to the bank only the names."""
    due_by = dispute.evidence_due_by
    return {
        "status": dispute.status.value,
        "currency": dispute.currency,
        "amount_minor": dispute.amount_minor,
        "withdrawn_minor": dispute.withdrawn_minor,
        "fee_minor": dispute.fee_minor,
        "host_minor": dispute.host_minor,
        "reason": dispute.reason,
        "evidence_due_by": None if due_by is None else due_by.isoformat(),
        "evidence": sorted(dispute.evidence),
        "notes": len(dispute.notes),
        "submission_count": dispute.submission_count,
        "is_charge_refundable": dispute.is_charge_refundable,
        "stripe_dispute_id": dispute.stripe_dispute_id,
    }


def record_change(
    changes: ChangeSet,
    dispute: Dispute,
    payment: Payment,
    action: str,
    before: Mapping[str, Any] | None,
    *,
    actor: str | None = None,
) -> None:
    """Record that a dispute is no longer what `before` (a `snapshot`; None: it is new) says.

    The guest is left out: a guest's own bank tells them of it.
    """
    changes.record(
        EventSubject.DISPUTE,
        dispute,
        action,
        previous_status=None if before is None else before["status"],
        status=dispute.status.value,
        before=before,
        after=snapshot(dispute),
        host_id=payment.host_id,
        activity_id=payment.activity_id,
        actor=actor,
    )
