"""What Stripe's events say of refunds ("Types of events": refund.*, charge.refunded)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from models.payments import Payment
from models.refunds import Refund
from services.payments.events import payment_of
from services.payments.intents import fetch_facts, settle
from services.refunds.facts import RefundFacts
from services.refunds.settlement import settle_refund
from services.stripe_gateway import Priority
from services.stripe_requests import list_refunds, retrieve_payment_intent, retrieve_refund

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("refunds.events")


async def refund_changed(services: Services, event: WebhookEvent) -> None:
    """Settle a refund as Stripe has it now; one that was made in Stripe's dashboard comes in this way."""
    seen = event.payload["data"]["object"]
    payment = await _payment_of(services, seen, event)
    if payment is None:
        return
    known = await _known(seen)
    if known is None and _is_release(payment, seen):
        return
    if known is not None and known.stripe_refund_id is not None and _same(known, RefundFacts.parse(seen)):
        return
    # Refund events overtake one another, and a refund that succeeded can still fail: ask for its state of now.
    response = await services.stripe.send(retrieve_refund(seen["id"]), priority=Priority.BACKGROUND)
    await settle_refund(
        services, payment.id, known.id if known else None, RefundFacts.parse(response.body),
        actor=event.actor,
    )  # fmt: skip


async def charge_refunded(services: Services, event: WebhookEvent) -> None:
    """Take in the refunds of a charge; the event itself names only their sum.

    An authorization that is let go counts as refunded, too, though nothing was taken: that is passed over.
    """
    charge = event.payload["data"]["object"]
    payment = await _payment_of(services, charge, event)
    if payment is None:
        return
    request = list_refunds(payment_intent=charge["payment_intent"])
    refunds = [refund async for refund in services.stripe.list_all(request, priority=Priority.BACKGROUND)]
    for refund in reversed(refunds):  # in the order in which they were made
        known = await _known(refund)
        if known is None and _is_release(payment, refund):
            continue
        if known is None or known.stripe_refund_id is None or not _same(known, RefundFacts.parse(refund)):
            await settle_refund(
                services, payment.id, known.id if known else None, RefundFacts.parse(refund),
                actor=event.actor,
            )  # fmt: skip


async def _payment_of(services: Services, thing: dict[str, Any], event: WebhookEvent) -> Payment | None:
    """The captured payment of a refund or charge, settled first where its refund overtook its success."""
    intent_id = thing.get("payment_intent")
    if intent_id is None:
        return None
    payment = await Payment.get_or_none(stripe_payment_intent_id=intent_id)
    if payment is None:
        # It may be one of ours whose intent is not known yet: the refund overtook the answer that makes it known.
        request = retrieve_payment_intent(intent_id)
        intent = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        payment = await payment_of(services, intent_id, intent, actor=event.actor)
    if payment is None:
        log.info("refunds.event_of_no_payment", object=thing["id"])
        return None
    if not payment.status.is_captured:
        facts = await fetch_facts(services, intent_id)
        settled = await settle(services, payment, facts, actor=event.actor)
        payment = settled.payment
    return payment if payment.status.is_captured else None


async def _known(refund: dict[str, Any]) -> Refund | None:
    """Our row of it: by Stripe's id, or by our metadata where its event came before Stripe's answer did."""
    known = await Refund.get_or_none(stripe_refund_id=refund["id"])
    if known is not None:
        return known
    try:
        id_ = UUID((refund.get("metadata") or {}).get("refund_id", ""))
    except ValueError:
        return None
    known = await Refund.get_or_none(id=id_)
    if known is None or known.stripe_refund_id is not None or known.amount != RefundFacts.parse(refund).amount:
        return None
    return known


def _is_release(payment: Payment, refund: dict[str, Any]) -> bool:
    """Whether this is no refund, but what was authorized and not captured: Stripe lists it among the refunds.

    It moves no balance ("Place a hold on a payment method": any additional amount is automatically refunded).
    """
    released = payment.amount - payment.captured
    return not refund.get("balance_transaction") and bool(released) and RefundFacts.parse(refund).amount == released


def _same(refund: Refund, facts: RefundFacts) -> bool:
    return refund.status is facts.status
