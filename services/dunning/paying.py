"""Paying an invoice that failed: again by the schedule while the guest is away, or by the guest with any method."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from models.dunning import Dunning, DunningStatus
from models.invoices import Invoice, InvoiceStatus
from services.changes import ChangeSet
from services.dunning.declines import CONFIRMATION, NO_METHOD
from services.dunning.ending import lift_unpaid
from services.dunning.rows import CALLER, facts_of, follow_plan, lock_dunning, plan_of, write_dunning
from services.dunning.tracking import Failing
from services.dunning_requests import pay_invoice
from services.errors import DomainError, Forbidden, InvalidState, OperationInProgress, StripeUnavailable
from services.invoice_requests import retrieve_invoice
from services.invoices.facts import InvoiceFacts
from services.invoices.settlement import settle_invoice
from services.operations import Answers, Intent, PlannedStep, Refusal, finish, record_answers, reserve
from services.payment_method_requests import attach_payment_method, retrieve_payment_method
from services.payment_methods.reading import resolve_method
from services.payments.access import lock_for_payer
from services.payments.facts import FailureFacts
from services.payments.intents import error_of
from services.payments.result import PaymentResult, result_of
from services.return_urls import allowed_return_url
from services.stripe_gateway import Priority, StripeCardError
from services.subscriptions.rows import lock_subscription, write_subscription
from services.subscriptions.settlement import settle_as_it_is
from services.viewer import Role

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

PAY_INVOICE: Final = "pay_invoice"
ATTACH: Final = "attach"
_RETRY_AFTER_S: Final = 60
# The guest has to confirm with the bank: for somebody who is there this is no refusal.
_ACTION_REQUIRED: Final = "invoice_payment_intent_requires_action"
_PAYABLE: Final = frozenset({InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE})

# What the guest prefers now comes before what the subscription began with.
_METHOD: Final = """
SELECT coalesce((SELECT m.stripe_payment_method_id FROM payment_methods m WHERE m.user_id = s.user_id AND m.is_default),
    s.default_payment_method) FROM subscriptions s WHERE s.id = $1
"""
_PAYER: Final = """
SELECT u.external_id, u.stripe_customer_id, i.stripe_invoice_id, i.status, i.id, i.subscription_id,
    p.stripe_charge_id,
    EXISTS (SELECT FROM payment_methods m WHERE m.user_id = u.id AND m.stripe_payment_method_id = $2
        AND m.detached_at IS NULL) AS is_saved
FROM payments p JOIN users u ON u.id = p.payer_id JOIN invoices i ON i.id = p.invoice_id WHERE p.id = $1
"""
_INVOICE: Final = """
SELECT i.stripe_invoice_id,
    (SELECT p.stripe_charge_id FROM payments p WHERE p.invoice_id = i.id ORDER BY p.id LIMIT 1) AS stripe_charge_id
FROM invoices i WHERE i.id = $1
"""


async def try_again(services: Services, invoice_id: UUID) -> bool:
    """Make the try at an invoice that is due, if one still is; whether it was paid.

    The same try is one operation (`dunning:{invoice}:{n}`), however often and wherever this is called. A try ahead of
    its time, as another card has come, is one of its own.

    Raises: OperationInProgress; StripeUnavailable.
    """
    dunning = await Dunning.get(invoice_id=invoice_id)
    if dunning.status is not DunningStatus.TRYING or dunning.next_attempt_at is None or dunning.by_stripe:
        return False
    counted = plan_of(services, dunning).due_at
    ahead = counted is None or services.clock() < counted
    key = f"dunning:{invoice_id}:{dunning.retries + 1}"
    intent = Intent(
        CALLER, f"{key}:{dunning.next_attempt_at.isoformat()}" if ahead else key, PAY_INVOICE,
        {"invoice_id": str(invoice_id), "retries": dunning.retries},
    )  # fmt: skip
    record = await services.database.pool.fetchrow(_INVOICE, invoice_id)
    if record is None:
        raise RuntimeError(f"no invoice {invoice_id} though it is dunned")
    arguments = {
        "invoice_id": str(invoice_id), "invoice": record["stripe_invoice_id"], "charge": record["stripe_charge_id"],
        "retries": dunning.retries,
    }  # fmt: skip

    async def plan(connection: AnyConnection, _operation: Operation) -> list[PlannedStep]:
        locked = await lock_dunning(connection, invoice_id)
        if locked is None or locked.status is not DunningStatus.TRYING or locked.retries != dunning.retries:
            raise InvalidState("This invoice is not tried any more.", state="MOVED_ON")
        # From now on it is this method whose failures count.
        method = await connection.fetchval(_METHOD, dunning.subscription_id)
        await connection.execute(
            "UPDATE dunnings SET payment_method = $2, updated_at = now() WHERE id = $1", locked.id, method
        )
        return []

    reserved = await reserve(services, intent, plan, subject_id=invoice_id, arguments=arguments)
    await services.operations.end(services, reserved)
    return (await Invoice.get(id=invoice_id)).status is InvoiceStatus.PAID


async def retry_invoice_payment(
    services: Services, *, viewer: Viewer, payment_id: UUID, payment_method: str | UUID, return_url: str | None,
    idempotency_key: str,
) -> PaymentResult:  # fmt: skip
    """Let the guest pay a failed invoice with any method; what is not saved yet is saved with it.

    Where the bank asks the guest, the payment says so (`next_action`, `client_secret`) and there is no error.

    Raises: NotFound, Forbidden, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress,
        StripeUnavailable.
    """
    allowed_return_url(services.settings, return_url, field="returnUrl")
    method = await resolve_method(services, viewer.external_id, payment_method, path=["input", "paymentMethod"])
    intent = Intent(
        viewer.caller, idempotency_key, PAY_INVOICE,
        {"payment_id": str(payment_id), "payment_method": str(payment_method), "return_url": return_url},
    )  # fmt: skip
    record = await services.database.pool.fetchrow(_PAYER, payment_id, method)
    arguments: dict[str, Any] = {} if record is None else {
        "invoice_id": str(record["id"]), "invoice": record["stripe_invoice_id"], "charge": record["stripe_charge_id"],
        "payment_method": method,
    }  # fmt: skip

    async def plan(connection: AnyConnection, _operation: Operation) -> list[PlannedStep]:
        payment, _ = await lock_for_payer(connection, viewer, payment_id)
        payer = await connection.fetchrow(_PAYER, payment_id, method)
        if viewer.role is not Role.USER or payer is None or payer["external_id"] != viewer.external_id:
            raise Forbidden("Only the guest may try another way to pay.")
        if not payment.status.can_be_retried or InvoiceStatus(payer["status"]) not in _PAYABLE:
            raise InvalidState("This payment cannot be tried again.", state=payment.status.value)
        if payer["is_saved"]:
            request = pay_invoice(payer["stripe_invoice_id"], payment_method=method, off_session=False)
            return [PlannedStep(PAY_INVOICE, request)]
        if payer["stripe_customer_id"] is None:
            raise InvalidState("Something has changed in the meantime. Please try again.", state="CUSTOMER_GONE")
        return [PlannedStep(ATTACH, attach_payment_method(method, customer=payer["stripe_customer_id"]))]

    reserved = await reserve(services, intent, plan, subject_id=payment_id, arguments=arguments)
    ended = await services.operations.end(services, reserved)
    if record is not None and record["subscription_id"] is not None:
        # A guest who paid what was left unpaid is not to wait for the job; where this fails, the job does it.
        with suppress(OperationInProgress, StripeUnavailable):
            await lift_unpaid(services, record["subscription_id"])
    return await result_of(ended)


class PayInvoice:
    """How paying an invoice goes on: the method is attached if need be, the invoice read again, and paid."""

    name = PAY_INVOICE

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The payment. One by the schedule is made only where Stripe's own retries are certainly off.

        Raises: InvalidState where there is nothing to pay any more; OperationInProgress until Stripe has stopped.
        """
        if PAY_INVOICE in answers.by_step:
            return None
        attached = answers.get(ATTACH)
        invoice = operation.arguments["invoice"]
        if attached is not None and not isinstance(attached, Refusal):
            request = pay_invoice(invoice, payment_method=attached.body["id"], off_session=False)
            return PlannedStep(PAY_INVOICE, request)
        facts = await _as_it_is(services, invoice)
        if facts.status is not InvoiceStatus.OPEN:
            raise InvalidState("This invoice is not open any more.", state=facts.status.value)
        if facts.auto_advance or facts.next_payment_attempt is not None:
            await settle_invoice(services, invoice, actor=operation.caller)
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        method = await services.database.pool.fetchval(
            "SELECT payment_method FROM dunnings WHERE invoice_id = $1", operation.subject_id
        )
        return PlannedStep(PAY_INVOICE, pay_invoice(invoice, payment_method=method, off_session=True))

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what the invoice and its subscription have become, and count a try by the schedule."""
        actor = operation.caller
        invoice = await settle_invoice(services, operation.arguments["invoice"], actor=actor)
        if invoice is None:
            raise LookupError("an invoice was paid that Stripe does not have")
        stripe_id = await services.database.pool.fetchval(
            "SELECT stripe_subscription_id FROM subscriptions WHERE id = $1", invoice.subscription_id
        )
        if stripe_id is not None:
            await settle_as_it_is(services, stripe_id, actor=actor)
        error = _error(answers, invoice)
        async with services.database.transaction() as connection:
            if "retries" in operation.arguments and PAY_INVOICE in answers.by_step:
                await _count(connection, services, operation, answers, invoice)
            await record_answers(connection, [(operation.id, step, answer) for step, answer in answers.by_step.items()])
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)
        services.live.wake()

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The invoice, where it was paid or tried since; the method, where it is attached."""
        if step.step == ATTACH:
            request = retrieve_payment_method(operation.arguments["payment_method"])
            method = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
            return method if method.get("customer") else None
        request = retrieve_invoice(operation.arguments["invoice"])
        body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        facts = InvoiceFacts.parse(body)
        intent = None if facts.payment is None else facts.payment.intent
        if facts.status is not InvoiceStatus.OPEN or intent is None:
            return body
        return None if intent.charge_id == operation.arguments["charge"] else body


async def _as_it_is(services: Services, stripe_invoice_id: str) -> InvoiceFacts:
    response = await services.stripe.send(retrieve_invoice(stripe_invoice_id), priority=Priority.BACKGROUND)
    return InvoiceFacts.parse(response.body)


def _error(answers: Answers, invoice: Invoice) -> DomainError | None:
    """Why it is not paid; None where it is, is under way, or waits for the guest who is there."""
    refusal = next((answer for answer in answers.by_step.values() if isinstance(answer, Refusal)), None)
    if invoice.status is InvoiceStatus.PAID:
        return None
    if refusal is None:
        return answers.error
    if getattr(refusal.error, "code", None) == _ACTION_REQUIRED:
        return None
    return error_of(refusal)


async def _count(
    connection: AnyConnection, services: Services, operation: Operation, answers: Answers, invoice: Invoice
) -> None:
    """Count a try of ours that did not pay, and say when the next is due."""
    assert invoice.subscription_id is not None
    locked = await lock_subscription(connection, invoice.subscription_id)
    await connection.execute("SELECT FROM invoices WHERE id = $1 FOR NO KEY UPDATE", invoice.id)
    dunning = await lock_dunning(connection, invoice.id)
    if dunning is None or dunning.status is not DunningStatus.TRYING:
        return
    if dunning.retries != operation.arguments["retries"]:
        return
    before = facts_of(dunning)
    failing = _failing(answers, dunning)
    if failing is not None:
        failing.put_on(dunning)
    follow_plan(dunning, plan_of(services, dunning).failed(services.clock()))
    changes = ChangeSet(operation.caller, locked.xid)
    await write_dunning(connection, changes, locked.row, dunning, before, "dunning.failed")
    await write_subscription(connection, services.settings, changes, locked)
    await changes.write(connection)
    services.metrics.dunning.labels("retried").inc()


def _failing(answers: Answers, dunning: Dunning) -> Failing | None:
    """What the bank said to this try; None where it has said nothing yet."""
    answer = answers.by_step[PAY_INVOICE]
    if not isinstance(answer, Refusal):
        return None
    error = answer.error
    if not isinstance(error, StripeCardError):
        # There is nothing to pay with, or what there was is gone at Stripe ("Error codes", resource_missing).
        gone = getattr(error, "code", None) == "resource_missing"
        return Failing.by_code(NO_METHOD, dunning.payment_method) if gone else None
    if error.code == _ACTION_REQUIRED:
        return Failing.by_code(CONFIRMATION, dunning.payment_method)
    said = (error.payment_intent or {}).get("last_payment_error") or {
        "code": error.code, "decline_code": error.decline_code, "advice_code": error.advice_code,
    }  # fmt: skip
    failure = FailureFacts.parse(said)
    return None if failure is None else Failing.of(failure, dunning.payment_method)
