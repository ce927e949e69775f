"""Methods that guests save by paying with them (`setup_future_usage`): Stripe attaches them with the payment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from models.payment_methods import SavedPaymentMethod
from models.payments import PaymentStatus
from services.errors import DomainError
from services.payment_methods.defaults import ensure_default
from services.payment_methods.settlement import settle_methods
from services.stripe_gateway import StripeError

if TYPE_CHECKING:
    from uuid import UUID

    from services.core import Services
    from services.payments.facts import IntentFacts
    from services.payments.settlement import SettledPayment

log = structlog.get_logger("payment_methods.saving")

_UNDER_WAY: Final = frozenset({PaymentStatus.AUTHORIZED, PaymentStatus.PROCESSING})


async def keep_saved(services: Services, settled: SettledPayment, facts: IntentFacts, *, actor: str) -> None:
    """Take in what a payment that was just made has saved, so that its guest finds it there at once."""
    payment, customer = settled.payment, facts.saved_to
    if customer is None or not settled.changed or not (payment.status.is_captured or payment.status in _UNDER_WAY):
        return
    method = payment.payment_method and payment.payment_method["stripe_id"]
    if await SavedPaymentMethod.exists(stripe_payment_method_id=method, detached_at=None):
        return
    await take_in(services, payment.payer_id, customer, actor=actor)


async def take_in(services: Services, user_id: UUID, customer: str, *, actor: str) -> None:
    """Take in what a customer has saved.

    The payment is made in any case: where Stripe cannot be asked now, its event brings the method.
    """
    try:
        now = await settle_methods(services, user_id, customer, actor=actor)
        await ensure_default(services, now)
    except (StripeError, DomainError) as error:
        log.warning("payment_methods.not_taken_in_yet", user=str(user_id), error=type(error).__name__)
