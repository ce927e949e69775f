"""Who pays for a refund, before it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.payments import Payment
from services.errors import InvalidState, NotFound, RefundExceedsBalance
from services.fees import refund_parts
from services.payments.intents import amount_in
from services.refunds.disputed import lost_of, require_undisputed
from services.visibility import visible_rows

if TYPE_CHECKING:
    from uuid import UUID

    from models.money import Money
    from services.core import Services
    from services.viewer import Viewer


@dataclass(frozen=True, slots=True)
class RefundBreakdown:
    """What the guest gets back, and from whom."""

    guest_receives: Money
    host_pays: Money
    platform_pays: Money


async def refund_preview(
    services: Services, *, viewer: Viewer, payment_id: UUID, amount: Money | None
) -> RefundBreakdown:
    """What a refund of this amount (None: all that is left) would take from whom.

    Raises: NotFound, InvalidInput, InvalidState, RefundExceedsBalance.
    """
    payment = (await visible_rows(services, viewer=viewer, model=Payment, ids=[payment_id])).get(payment_id)
    if payment is None:
        raise NotFound("There is no such payment.", path=["paymentId"])
    if not payment.status.is_captured:
        raise InvalidState("Only a payment that has been made can be refunded.", state=payment.status.value)
    pool = services.database.pool
    await require_undisputed(pool, payment)
    wanted = amount_in(payment, amount, path=("amount",)) or payment.refundable
    if wanted > payment.refundable:
        raise RefundExceedsBalance(refundable=payment.refundable)
    fee, host = refund_parts(payment, wanted, await lost_of(pool, payment))
    return RefundBreakdown(guest_receives=wanted, host_pays=host, platform_pays=fee)
