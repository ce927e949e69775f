"""Operations on subscriptions: what they have in common when Stripe has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.base import from_record
from models.payments import Payment, PaymentStatus
from models.subscriptions import BillingSubscription
from services.customers import is_customer_gone
from services.errors import CardDeclined, DomainError, InvalidInput, InvalidState
from services.invoices.settlement import settle_invoice
from services.operations import Refusal
from services.payments import intents
from services.payments.settlement import OperationEnd
from services.stripe_gateway import Priority, StripeCardError, StripeResponse
from services.subscriptions.facts import SubscriptionFacts
from services.subscriptions.settlement import fetch_subscription, settle_subscription

if TYPE_CHECKING:
    from models.operations import Operation
    from services.core import Services
    from services.operations import Answers

_UNPAID = """
SELECT p.* FROM payments p JOIN invoices i ON i.id = p.invoice_id
WHERE i.stripe_invoice_id = $1 AND i.status = 'OPEN' ORDER BY p.id DESC LIMIT 1
"""


def refusal_in(answers: Answers) -> Refusal | None:
    """The step that Stripe refused, which is the last."""
    return next((answer for answer in answers.by_step.values() if isinstance(answer, Refusal)), None)


async def settle_answers(services: Services, operation: Operation, answers: Answers) -> None:
    """Settle a subscription that is at Stripe as the operation's calls have left it, and end the operation.

    An invoice that they made is settled before, so that what is answered says whether it is paid. What was refused,
    replayed, or answered with something else than the subscription says nothing of how it is now: it is fetched.

    Raises: StripeError where Stripe cannot be asked.
    """
    actor, id_ = operation.caller, operation.subject_id
    row = answers.subject
    if not isinstance(row, BillingSubscription):
        row = await BillingSubscription.get(id=id_)
    seen, facts = row.version, _told(answers)
    if facts is None:
        facts = await fetch_subscription(services, _stripe_id(row, answers), priority=Priority.INTERACTIVE)
    refusal = refusal_in(answers)
    error = answers.error if refusal is None else error_of(refusal, row)
    if facts.latest_invoice is not None and facts.latest_invoice not in operation.arguments.get("settled", []):
        # First of all our row knows its subscription: invoices are found by it.
        await settle_subscription(services, facts, actor=actor, subscription_id=id_, seen_version=seen)
        await settle_invoice(services, facts.latest_invoice or "", actor=actor)
        error = error or await _declined(services, facts.latest_invoice)
        seen = (await BillingSubscription.get(id=id_)).version
        facts = await fetch_subscription(services, facts.id, priority=Priority.INTERACTIVE)
    ends = OperationEnd(operation.id, list(answers.by_step.items()), error)
    await settle_subscription(services, facts, actor=actor, subscription_id=id_, seen_version=seen, ends=ends)


def error_of(refusal: Refusal, subscription: BillingSubscription) -> DomainError:
    """What Stripe's refusal of a call about a subscription means for the caller ("Error codes")."""
    error = refusal.error
    if isinstance(error, StripeCardError):
        return intents.error_of(refusal)
    code = getattr(error, "code", None) or ""
    param = getattr(error, "param", None) or ""
    if is_customer_gone(error):
        return InvalidState("Something has changed in the meantime. Please try again.", state="CUSTOMER_GONE")
    if "payment_method" in param or "payment_method" in code:
        return InvalidInput("paymentMethod", "This payment method cannot be used. Please choose another one.")
    if param.startswith("items"):
        return InvalidState("The plan's price has just changed. Please look at it again.", state="PRICE_CHANGED")
    if param == "currency":
        return InvalidInput("currency", "You pay in another currency already: all of them are paid in one.")
    return InvalidState("Stripe refused this. Nothing was charged.", state=(code or subscription.status.value).upper())


async def _declined(services: Services, stripe_invoice_id: str | None) -> CardDeclined | None:
    """Why an invoice is not paid; None where it is, and while the guest has to confirm."""
    record = await services.database.pool.fetchrow(_UNPAID, stripe_invoice_id)
    if record is None:
        return None
    payment = from_record(Payment, record)
    if payment.status is not PaymentStatus.FAILED or payment.failure_code is None:
        return None
    return CardDeclined(
        payment.failure_message or "The payment was declined.",
        decline_code=payment.failure_decline_code or payment.failure_code,
        retryable=bool(payment.failure_retryable),
    )


def _told(answers: Answers) -> SubscriptionFacts | None:
    """What the last call said of the subscription; None where it says nothing of how it is now."""
    last = list(answers.by_step.values())[-1] if answers.by_step else None
    if not isinstance(last, StripeResponse) or last.idempotent_replayed or not _is_subscription(last.body):
        return None
    return SubscriptionFacts.parse(last.body)


def _stripe_id(row: BillingSubscription, answers: Answers) -> str:
    """Stripe's id of the subscription: the row's, or that of the answer which made it.

    Raises: LookupError where it is not known, which only a person can explain.
    """
    if row.stripe_subscription_id is not None:
        return row.stripe_subscription_id
    for answer in answers.by_step.values():
        if isinstance(answer, StripeResponse) and _is_subscription(answer.body):
            return str(answer.body["id"])
    raise LookupError("a subscription was settled that Stripe never made")


def _is_subscription(body: dict[str, Any]) -> bool:
    return body.get("object") == "subscription"
