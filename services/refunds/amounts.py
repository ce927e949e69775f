"""What a payment's refunds make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.payments import PaymentStatus
from models.refunds import RefundStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.payments import Payment
    from models.refunds import Refund


def derive_refunded(payment: Payment, refunds: Sequence[Refund]) -> None:
    """Derive a payment's refunded amounts, and its status where it is captured, from all of its refunds."""
    holding = [refund for refund in refunds if refund.status.holds_money]
    done = [refund for refund in holding if refund.status is RefundStatus.SUCCEEDED]
    payment.refunded_minor = sum(refund.amount_minor for refund in done)
    # Ours that are under way may be too much beside one made in the dashboard: Stripe will refuse them.
    pending = sum(refund.amount_minor for refund in holding) - payment.refunded_minor
    payment.refund_pending_minor = min(pending, payment.captured_minor - payment.refunded_minor)
    fee = sum(refund.fee_minor for refund in holding)
    payment.fee_refunded_minor = min(fee, payment.platform_fee_minor)
    if not payment.status.is_captured:
        return
    if not payment.refunded_minor:
        payment.status = PaymentStatus.SUCCEEDED
    elif payment.refunded_minor == payment.captured_minor:
        payment.status = PaymentStatus.REFUNDED
    else:
        payment.status = PaymentStatus.PARTIALLY_REFUNDED
