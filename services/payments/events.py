"""What Stripe's events say of payments ("Types of events": payment_intent.*, charge.*).

The platform's events tell of its own charges, those of a connected account of direct charges there, and of whatever
else its host sells. A payment is found by (account, intent): the metadata counts on the platform's own events alone,
since hosts can write any on theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from models.base import from_record
from models.invoices import Invoice
from models.money import Money
from models.payments import Payment, PaymentAttempt
from models.sets import insert_rows
from services.errors import OperationInProgress
from services.invoice_requests import list_invoice_payments
from services.invoices.settlement import settle_invoice
from services.payments.facts import ChargeFacts, IntentFacts, id_of
from services.payments.intents import fetch_facts, says_nothing_new, settle
from services.payments.settlement import attempt_of
from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("payments.events")

_BY_INTENT = "SELECT * FROM payments WHERE stripe_payment_intent_id = $1"
_NO_INTENT_YET = """
SELECT EXISTS (
    SELECT FROM payments p JOIN operations o ON o.subject_id = p.id AND o.status = 'RUNNING'
    WHERE p.id = $1 AND p.stripe_account = $2 AND p.stripe_payment_intent_id IS NULL AND p.status = 'PENDING'
)
"""
_RETRY_AFTER_S = 2
_IS_GUEST = "SELECT EXISTS (SELECT FROM users WHERE stripe_customer_id = $1)"


async def payment_intent_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the payment that this payment intent belongs to; events of intents that are not ours are passed over."""
    intent = event.payload["data"]["object"]
    payment = await payment_of(services, intent["id"], intent, event)
    if payment is None:
        log.info("payments.event_of_no_payment", event_type=event.type, intent=intent["id"])
        return
    if says_nothing_new(payment, IntentFacts.parse(intent)):
        return
    if payment.invoice_id is None:
        await _settle_as_it_is(services, payment, intent["id"], event)
    else:
        # What has become of the invoice by this is part of it.
        invoice = await Invoice.get(id=payment.invoice_id)
        await settle_invoice(services, invoice.stripe_invoice_id, actor=event.actor)


async def charge_changed(services: Services, event: WebhookEvent) -> None:
    """Settle what a charge tells beyond its payment intent: its balance transaction, which can come late."""
    charge = event.payload["data"]["object"]
    if charge.get("payment_intent") is None:
        return
    payment = await payment_of(services, charge["payment_intent"], charge, event)
    if payment is None:
        return
    if charge["status"] == "failed":
        await _keep_failed_attempt(services, payment, charge)
    if not charge.get("balance_transaction"):
        return  # the payment intent's own event tells the rest
    if payment.balance_transaction_id is None:
        await _settle_as_it_is(services, payment, charge["payment_intent"], event)


async def _keep_failed_attempt(services: Services, payment: Payment, charge: dict[str, Any]) -> None:
    """Keep a charge that failed, for good: a payment intent names only its latest one."""
    facts = ChargeFacts.parse(charge)
    if facts is not None:
        await insert_rows(
            services.database.pool, PaymentAttempt, [attempt_of(payment, facts)], conflict="ON CONFLICT DO NOTHING"
        )


async def _settle_as_it_is(services: Services, payment: Payment, intent_id: str, event: WebhookEvent) -> None:
    # An event is a snapshot of then, and snapshots overtake one another: what counts is what Stripe says now.
    facts = await fetch_facts(services, intent_id, stripe_account=payment.stripe_account)
    await settle(services, payment, facts, actor=event.actor)


async def payment_of(
    services: Services, intent_id: str, thing: dict[str, Any], event: WebhookEvent
) -> Payment | None:
    """The payment of an intent: by its id; by our metadata where its event came before Stripe's answer did; or by the
    invoice that it pays, which is settled then, where that is not known yet and its customer is a guest of ours.

    Of a connected account's intents by the id alone.

    Args:
        thing: the intent, or a charge of it, which has a copy of the intent's metadata.

    Raises: StripeError where the invoice has to be fetched and Stripe cannot be reached; OperationInProgress where it
        may be a direct charge whose intent is not known yet, so that the event has to come again.
    """
    # Several events follow each payment: this is read by hand, at a third of the ORM's cost.
    record = await services.database.pool.fetchrow(_BY_INTENT, intent_id)
    if record is not None:
        return from_record(Payment, record) if record["stripe_account"] == event.account else None
    named = _named_payment(thing)
    if event.account:
        # Not believed, but a reason to look again: Stripe's answer will tell whose intent it is.
        if named is not None and await services.database.pool.fetchval(_NO_INTENT_YET, named, event.account):
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        return None
    if "payment_id" not in (thing.get("metadata") or {}):
        return await _payment_of_invoice(services, intent_id, id_of(thing.get("customer")), event.actor)
    if named is None:
        return None
    payment = await Payment.get_or_none(id=named)
    if payment is None or payment.stripe_account or payment.stripe_payment_intent_id not in {None, intent_id}:
        return None
    if Money.from_wire(thing["amount"], thing["currency"]) != payment.amount:
        log.error("payments.metadata_of_another_amount", payment=str(payment.id), intent=intent_id)
        return None
    return payment


def _named_payment(thing: dict[str, Any]) -> UUID | None:
    """The payment that the metadata names."""
    try:
        return UUID(str((thing.get("metadata") or {}).get("payment_id")))
    except ValueError:
        return None


async def _payment_of_invoice(
    services: Services, intent_id: str, customer: str | None, actor: str
) -> Payment | None:
    """The payment of the invoice that an intent pays; none where Stripe's customer is nobody's here."""
    if customer is None or not await services.database.pool.fetchval(_IS_GUEST, customer):
        return None
    request = list_invoice_payments(payment_intent=intent_id)
    async for paid in services.stripe.list_all(request, priority=Priority.BACKGROUND):
        await settle_invoice(services, id_of(paid["invoice"]) or "", actor=actor)
    record = await services.database.pool.fetchrow(_BY_INTENT, intent_id)
    return None if record is None else from_record(Payment, record)
