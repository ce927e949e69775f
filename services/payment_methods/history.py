"""A saved method's changes as audit entries keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.payment_methods import SavedPaymentMethod
    from services.changes import ChangeSet

SUBJECT = "PAYMENT_METHOD"


def snapshot(method: SavedPaymentMethod) -> dict[str, Any]:
    """What of a saved method can change, and by what people know it."""
    return {
        "stripe_payment_method_id": method.stripe_payment_method_id,
        "stripe_customer_id": method.stripe_customer_id,
        "type": method.type,
        "brand": method.brand,
        "last4": method.last4,
        "exp_month": method.exp_month,
        "exp_year": method.exp_year,
        "is_attached": method.is_attached,
        "is_default": method.is_default,
    }


def record_change(changes: ChangeSet, method: SavedPaymentMethod, before: Mapping[str, Any] | None) -> None:
    """Record that a method is no longer what `before` (a `snapshot`; None: it was not known) says."""
    was_attached = before is not None and before["is_attached"]
    if method.is_attached != was_attached:
        action = "payment_method.attached" if method.is_attached else "payment_method.detached"
    else:
        action = "payment_method.updated"
    changes.audit(action, SUBJECT, method.id, before=before, after=snapshot(method))
