"""Stripe's own retries of an invoice are turned off before ours begin: never do both act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.invoices import Invoice
from services.dunning.rows import CALLER
from services.dunning_requests import advance_invoice
from services.errors import DomainError, InvalidState
from services.invoice_requests import retrieve_invoice
from services.invoices.settlement import settle_invoice
from services.operations import (
    Answers,
    Intent,
    PlannedAtReserve,
    PlannedStep,
    Refusal,
    finish,
    record_answers,
    reserve,
)
from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services

STOP_RETRIES: Final = "stop_retries"


async def stop_retries(services: Services, invoice_id: UUID) -> None:
    """Have Stripe leave an invoice to us; what somebody turns on again is turned off again.

    Raises: OperationInProgress; StripeUnavailable.
    """
    invoice = await Invoice.get(id=invoice_id)
    arguments = {"invoice": invoice.stripe_invoice_id}
    intent = Intent(CALLER, f"dunning:{invoice_id}:stop:{invoice.version}", STOP_RETRIES, arguments)

    async def plan(_connection: AnyConnection, _operation: Operation) -> list[PlannedStep]:
        return [PlannedStep(STOP_RETRIES, advance_invoice(invoice.stripe_invoice_id, by_itself=False))]

    reserved = await reserve(services, intent, plan, subject_id=invoice_id, arguments=arguments)
    await services.operations.end(services, reserved)


class StopRetries(PlannedAtReserve):
    """How that goes on: one call, planned at reserve."""

    name = STOP_RETRIES

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle the invoice, whose row says from then on that it does not advance by itself."""
        await settle_invoice(services, operation.arguments["invoice"], actor=operation.caller)
        error: DomainError | None = None
        if isinstance(answers.by_step[STOP_RETRIES], Refusal):
            error = InvalidState("Stripe does not leave this invoice to us.", state="REFUSED")
        async with services.database.transaction() as connection:
            await record_answers(connection, [(operation.id, STOP_RETRIES, answers.by_step[STOP_RETRIES])])
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The invoice, where it does not advance by itself."""
        request = retrieve_invoice(operation.arguments["invoice"])
        body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        return None if body["auto_advance"] else body
