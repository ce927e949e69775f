"""What a mutation of a payment answers: the payment as it is now, and the refusal that was recorded, if any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.payments import Payment
from services.operations import recorded_error

if TYPE_CHECKING:
    from models.operations import Operation
    from services.errors import DomainError


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """A payment and why it did not do what was asked; a declined payment has both."""

    payment: Payment
    error: DomainError | None


async def result_of(operation: Operation) -> PaymentResult:
    """The answer of an ended operation on a payment: the same error each time, and the payment as it is now."""
    return PaymentResult(await Payment.get(id=operation.subject_id), recorded_error(operation))
