"""What Stripe's events say of payments ("Types of events": payment_intent.*, charge.*)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from models.base import from_record
from models.money import Money
from models.payments import Payment, PaymentAttempt
from models.sets import insert_rows
from services.payments.facts import ChargeFacts, IntentFacts
from services.payments.intents import fetch_facts, says_nothing_new, settle
from services.payments.settlement import attempt_of

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("payments.events")

_BY_INTENT = "SELECT * FROM payments WHERE stripe_payment_intent_id = $1"


async def payment_intent_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the payment that this payment intent belongs to; events of intents that are not ours are passed over."""
    intent = event.payload["data"]["object"]
    payment = await payment_of(services, intent["id"], intent)
    if payment is None:
        log.info("payments.event_of_no_payment", event_type=event.type, intent=intent["id"])
        return
    if says_nothing_new(payment, IntentFacts.parse(intent)):
        return
    await _settle_as_it_is(services, payment, intent["id"], event)


async def charge_changed(services: Services, event: WebhookEvent) -> None:
    """Settle what a charge tells beyond its payment intent: its balance transaction, which can come late."""
    charge = event.payload["data"]["object"]
    if charge.get("payment_intent") is None:
        return
    payment = await payment_of(services, charge["payment_intent"], charge)
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
    facts = await fetch_facts(services, intent_id)
    await settle(services, payment, facts, actor=f"stripe:{event.stripe_event_id}")


async def payment_of(services: Services, intent_id: str, thing: dict[str, Any]) -> Payment | None:
    """The payment of an intent: by its id, or by our metadata where its event came before Stripe's answer did.

    Args:
        thing: the intent, or a charge of it, which has a copy of the intent's metadata.
    """
    # Several events follow each payment: this is read by hand, at a third of the ORM's cost.
    record = await services.database.pool.fetchrow(_BY_INTENT, intent_id)
    if record is not None:
        return from_record(Payment, record)
    try:
        id_ = UUID(thing["metadata"].get("payment_id", ""))
    except ValueError:
        return None
    payment = await Payment.get_or_none(id=id_)
    if payment is None or payment.stripe_payment_intent_id not in {None, intent_id}:
        return None
    if Money.from_wire(thing["amount"], thing["currency"]) != payment.amount:
        log.error("payments.metadata_of_another_amount", payment=str(payment.id), intent=intent_id)
        return None
    return payment
