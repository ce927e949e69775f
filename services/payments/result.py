"""What a mutation of a payment answers: the payment as it is now, and the refusal that was recorded, if any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.payments import Payment
from services.operations import recorded_error

if TYPE_CHECKING:
    from models.users import User
    from services.errors import DomainError
    from services.operations import Ended


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """A payment and why it did not do what was asked; a declined payment has both. The payer where it is at hand."""

    payment: Payment
    error: DomainError | None
    payer: User | None = None


async def result_of(ended: Ended, *, payer: User | None = None) -> PaymentResult:
    """The answer of an ended operation on a payment: the same error each time, and the payment as it is now."""
    operation, payment = ended.operation, ended.subject
    if not isinstance(payment, Payment):
        payment = await Payment.get(id=operation.subject_id)
    return PaymentResult(payment, recorded_error(operation), payer)
