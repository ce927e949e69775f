"""What Stripe's events say of refunds ("Types of events": refund.*, charge.refunded).

Those of a connected account are about direct charges there, and known by Stripe's ids alone (services/payments/events).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from models.payments import Payment
from models.refunds import Refund
from services.errors import OperationInProgress
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

_RETRY_AFTER_S = 2
# Only while somebody is at it: what is parked may wait for a person for days, and holds up nothing else of its host.
_UNBORN = """
SELECT EXISTS (
    SELECT FROM payments p JOIN operations o ON o.subject_id = p.id AND o.status = 'RUNNING'
    WHERE p.stripe_account = $1 AND p.stripe_payment_intent_id IS NULL AND p.status = 'PENDING'
)
"""
_UNDER_WAY = """
SELECT EXISTS (SELECT FROM refunds WHERE payment_id = $1 AND stripe_refund_id IS NULL AND status = 'PENDING')
"""


async def refund_changed(services: Services, event: WebhookEvent) -> None:
    """Settle a refund as Stripe has it now; one that was made in Stripe's dashboard comes in this way."""
    seen = event.payload["data"]["object"]
    payment = await captured_payment_of(services, seen, event)
    if payment is None:
        return
    known = await _known(services, payment, seen)
    if known is None and _is_release(payment, seen):
        return
    if known is not None and known.stripe_refund_id is not None and _same(known, RefundFacts.parse(seen)):
        return
    # Refund events overtake one another, and a refund that succeeded can still fail: ask for its state of now.
    request = retrieve_refund(seen["id"], stripe_account=payment.stripe_account)
    response = await services.stripe.send(request, priority=Priority.BACKGROUND)
    await settle_refund(
        services, payment.id, known.id if known else None, RefundFacts.parse(response.body),
        actor=event.actor,
    )  # fmt: skip


async def charge_refunded(services: Services, event: WebhookEvent) -> None:
    """Take in the refunds of a charge; the event itself names only their sum.

    An authorization that is let go counts as refunded, too, though nothing was taken: that is passed over.
    """
    charge = event.payload["data"]["object"]
    payment = await captured_payment_of(services, charge, event)
    if payment is None:
        return
    request = list_refunds(payment_intent=charge["payment_intent"], stripe_account=payment.stripe_account)
    refunds = [refund async for refund in services.stripe.list_all(request, priority=Priority.BACKGROUND)]
    for refund in reversed(refunds):  # in the order in which they were made
        known = await _known(services, payment, refund)
        if known is None and _is_release(payment, refund):
            continue
        if known is None or known.stripe_refund_id is None or not _same(known, RefundFacts.parse(refund)):
            await settle_refund(
                services, payment.id, known.id if known else None, RefundFacts.parse(refund),
                actor=event.actor,
            )  # fmt: skip


async def captured_payment_of(services: Services, thing: dict[str, Any], event: WebhookEvent) -> Payment | None:
    """The captured payment of a refund, dispute or charge, settled first where that overtook its success.

    Raises: OperationInProgress while the answer that names the intent of a direct charge on that account is awaited.
    """
    intent_id = thing.get("payment_intent")
    if intent_id is None:
        return None
    payment = await Payment.get_or_none(stripe_payment_intent_id=intent_id)
    if payment is not None and payment.stripe_account != event.account:
        return None
    if payment is None and event.account:
        if await services.database.pool.fetchval(_UNBORN, event.account):
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        return None
    if payment is None:
        # It may be one of ours whose intent is not known yet: the refund overtook the answer that makes it known.
        request = retrieve_payment_intent(intent_id)
        intent = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        payment = await payment_of(services, intent_id, intent, event)
    if payment is None:
        log.info("refunds.event_of_no_payment", object=thing["id"])
        return None
    if not payment.status.is_captured:
        facts = await fetch_facts(services, intent_id, stripe_account=payment.stripe_account)
        settled = await settle(services, payment, facts, actor=event.actor)
        payment = settled.payment
    return payment if payment.status.is_captured else None


async def _known(services: Services, payment: Payment, refund: dict[str, Any]) -> Refund | None:
    """Our row of it: by Stripe's id, or by our metadata where its event came before Stripe's answer did.

    Raises: OperationInProgress where it may be one of a direct charge whose answer is still to come: hosts can write
        any metadata, so that only the answer tells.
    """
    known = await Refund.get_or_none(stripe_refund_id=refund["id"])
    if known is not None:
        return known
    if payment.stripe_account:
        if await services.database.pool.fetchval(_UNDER_WAY, payment.id):
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        return None
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
