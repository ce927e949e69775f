"""Operations on a payment's intent: what they have in common when Stripe has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from models.money import Money
from models.payments import ChargeModel, PaymentStatus
from services.customers import is_customer_gone
from services.dunning.declines import may_be_tried_again
from services.errors import CardDeclined, DomainError, HostNotReady, InvalidInput, InvalidState
from services.lookups import find_made, made_since
from services.operations import Answer, Answers, Refusal
from services.payment_methods.saving import keep_saved
from services.payments.facts import FailureFacts, IntentFacts
from services.payments.settlement import IntentSettlement, OperationEnd, SettledPayment
from services.stripe_gateway import Priority, StripeCardError
from services.stripe_requests import list_payment_intents, retrieve_payment_intent
from services.transfers.release import release_at_once

if TYPE_CHECKING:
    from datetime import datetime

    from models.operations import Operation, OperationStep
    from models.payments import Payment
    from services.core import Services
    from services.stripe_gateway import StripeError

log = structlog.get_logger("payments")

# How often facts may turn out stale before an operation is left to its recovery: each time, somebody else moved on.
STALE_TRIES = 5
_CAPABILITY_CODES = frozenset(
    {"insufficient_capabilities_for_transfer", "account_invalid", "transfers_not_allowed", "platform_account_required"}
)


async def fetch_facts(services: Services, intent_id: str, *, stripe_account: str = "") -> IntentFacts:
    """The payment intent as Stripe has it now, with its latest charge and what was credited for it.

    Args:
        stripe_account: the connected account that a direct charge is made on, '' for the platform.
    """
    request = retrieve_payment_intent(intent_id, stripe_account=stripe_account)
    response = await services.stripe.send(request, priority=Priority.BACKGROUND)
    return IntentFacts.parse(response.body)


async def settle(
    services: Services,
    payment: Payment,
    facts: IntentFacts | None,
    *,
    actor: str,
    ends: OperationEnd | None = None,
    cut_off: bool = False,
    next_attempt_at: datetime | None = None,
) -> SettledPayment:
    """Settle facts about a payment, fetching them again for as long as they turn out stale.

    What hosts are due at once of a payment that was made is sent to them.

    Args:
        payment: as it was before Stripe was asked.
        facts: None where Stripe never made a payment intent and never will, and where they are out of reach.
        cut_off: whether its host has cut the platform off for good, so that what is unpaid stays so.
        next_attempt_at: when to try again by ourselves, where this leaves it failed.

    Raises: StripeError where they have to be fetched again and Stripe cannot be reached.
    """
    for _ in range(STALE_TRIES):
        settled = await services.settlements.submit(
            IntentSettlement(
                payment.id, facts, actor, payment.version, ends=ends, cut_off=cut_off, next_attempt_at=next_attempt_at
            )
        )
        if settled.changed:
            services.live.wake()
        if not settled.stale:
            if facts is not None:
                await keep_saved(services, settled, facts, actor=actor)
            if settled.payment.charge_model is ChargeModel.SEPARATE and settled.payment.status.is_captured:
                priority = Priority.INTERACTIVE if ends is not None else Priority.BACKGROUND
                await release_at_once(services, settled.payment, priority=priority)
            return settled
        payment = settled.payment
        intent_id = payment.stripe_payment_intent_id or (facts.id if facts else None)
        if intent_id is None:
            break
        facts = await fetch_facts(services, intent_id, stripe_account=payment.stripe_account)
    raise RuntimeError(f"payment {payment.id} kept changing while it was settled")


def says_nothing_new(payment: Payment, facts: IntentFacts) -> bool:
    """Whether a payment has settled all that these facts, without their charge, tell."""
    if payment.stripe_payment_intent_id is None:
        return False
    if payment.status.is_captured:
        return facts.status is PaymentStatus.SUCCEEDED and payment.balance_transaction_id is not None
    if payment.status.is_final:
        return facts.status is not PaymentStatus.SUCCEEDED
    return facts.status is payment.status and facts.charge_id == payment.stripe_charge_id


def error_of(refusal: Refusal) -> DomainError:
    """What Stripe's refusal of a payment means for the caller ("Error codes")."""
    error = refusal.error
    if isinstance(error, StripeCardError):
        intent = error.payment_intent or {}
        failure = FailureFacts.parse(
            intent.get("last_payment_error") or {"code": error.code, "decline_code": error.decline_code}
        )
        if failure is None:
            raise RuntimeError("a card error without its code")
        return _declined(failure)
    return _refused_request(error)


def _declined(failure: FailureFacts) -> CardDeclined:
    return CardDeclined(
        failure.message, decline_code=failure.decline_code or failure.code, retryable=failure.retryable
    )


def _is_replayed(answer: Answer | None) -> bool:
    said = answer.error if isinstance(answer, Refusal) else answer
    return bool(getattr(said, "idempotent_replayed", False))


def _code(answer: Answer | None) -> str | None:
    return getattr(answer.error, "code", None) if isinstance(answer, Refusal) else None


def _error_on(payment: Payment, refusal: Refusal) -> DomainError:
    """As `error_of`; a host's account that cannot be charged on says so without any code."""
    error = refusal.error
    if payment.stripe_account and not getattr(error, "code", None) and not getattr(error, "param", None):
        return HostNotReady(requirements=["capability.card_payments"])
    return error_of(refusal)


def _refused_request(error: StripeError) -> DomainError:
    code = getattr(error, "code", None) or ""
    param = getattr(error, "param", None) or ""
    log.warning("payments.refused_by_stripe", code=code, param=param, request_id=error.request_id)
    if code in _CAPABILITY_CODES or param.startswith(("transfer_data", "on_behalf_of")):
        return HostNotReady(requirements=[code or "account_invalid"])
    if is_customer_gone(error):
        return InvalidState("Something has changed in the meantime. Please try again.", state="CUSTOMER_GONE")
    if param.startswith(("payment_method", "customer")) or "payment_method" in code:
        return InvalidInput("paymentMethod", "This payment method cannot be used. Please choose another one.")
    if code in {"amount_too_small", "amount_too_large"}:
        return InvalidInput("quantity", "Stripe does not take a payment of this amount.")
    return InvalidState("Stripe refused the payment. Nothing was charged.", state=(code or "refused").upper())


def intent_of(refusal: Refusal) -> dict[str, Any] | None:
    """The payment intent inside a decline; None where the refusal made none."""
    error = refusal.error
    return error.payment_intent if isinstance(error, StripeCardError) else None


async def find_intent(
    services: Services, payment: Payment, operation: Operation, *, customer: str | None
) -> dict[str, Any] | None:
    """The intent that an operation made, from the list of the customer's intents, which is strongly consistent.

    Args:
        customer: None for a direct charge, which has none: it is among all intents of its account.
    """
    made = list_payment_intents(
        customer=customer, created_gte=made_since(operation), stripe_account=payment.stripe_account
    )
    return await find_made(
        services, made, is_it=lambda intent: _can_be(payment, intent), payment_id=str(payment.id),
        operation_id=str(operation.id),
    )  # fmt: skip


def _can_be(payment: Payment, intent: dict[str, Any]) -> bool:
    """Whether an intent with a payment's ids is what was asked for: hosts can write them on what is their own."""
    if payment.stripe_account and intent.get("application") is None:
        return False
    return Money.from_wire(intent["amount"], intent["currency"]) == payment.amount


async def settle_answer(
    services: Services, operation: Operation, payment: Payment, step: str, answers: Answers, *,
    cut_off_cancels: bool = False, next_attempt_at: datetime | None = None,
) -> SettledPayment:  # fmt: skip
    """Settle an operation of one call on a payment intent, with its recorded error if Stripe refused it.

    A refusal that carries no intent says nothing of its state: it is fetched, so that what is settled is true. So it is
    after a replay, which shows the intent as it was when it was first answered: webhooks may have told more since.

    Args:
        step: the call on the intent; a refusal of one that went before it counts, too.
        cut_off_cancels: whether the payment is canceled where its host has cut the platform off, as nobody can take the
            money for Paydesk any more.
        next_attempt_at: when to try again by ourselves, where the decline allows that.

    Raises: LookupError where the host cut the platform off before it was known what became of the call.
    """
    answer = next((said for said in answers.by_step.values() if isinstance(said, Refusal)), answers.get(step))
    error: DomainError | None = answers.error
    body: dict[str, Any] | None
    cut_off = isinstance(answer, Refusal) and getattr(answer.error, "is_cut_off", False)
    if cut_off and operation.attempts and step in answers.by_step and payment.stripe_payment_intent_id is None:
        raise LookupError(f"the host cut the platform off before {step} was answered")
    if isinstance(answer, Refusal):
        error, body = _error_on(payment, answer), intent_of(answer)
    else:
        body = answer.body if answer else None
    if body is not None:
        facts = IntentFacts.parse(body)
        if _is_replayed(answer) and not facts.status.is_final:
            facts = await fetch_facts(services, facts.id, stripe_account=payment.stripe_account)
    elif payment.stripe_payment_intent_id is not None and not cut_off:
        facts = await fetch_facts(
            services, payment.stripe_payment_intent_id, stripe_account=payment.stripe_account
        )
    else:
        facts = None
    if error is None and facts is not None and facts.failure is not None:
        error = _declined(facts.failure)
    elif facts is not None and _code(answer) == "payment_intent_unexpected_state":
        error = InvalidState("The payment has moved on in the meantime.", state=facts.status.value)
    canceled = cut_off_cancels and cut_off
    ends = OperationEnd(operation.id, list(answers.by_step.items()), None if canceled else error)
    failure = facts.failure if facts is not None else None
    if failure is None or not may_be_tried_again(failure.code, failure.decline_code, failure.advice_code):
        next_attempt_at = None
    return await settle(
        services, payment, facts, actor=operation.caller, ends=ends, cut_off=canceled, next_attempt_at=next_attempt_at
    )


async def intent_now(services: Services, payment: Payment, step: OperationStep) -> dict[str, Any]:
    """The payment's intent as it is, for steps that act on an existing one: what they did shows in its state.

    Raises: LookupError where the payment has no intent, which only a person can explain.
    """
    if payment.stripe_payment_intent_id is None:
        raise LookupError(f"step {step.step} acted on a payment intent that is not known")
    request = retrieve_payment_intent(payment.stripe_payment_intent_id, stripe_account=payment.stripe_account)
    return (await services.stripe.send(request, priority=Priority.BACKGROUND)).body


def amount_in(
    payment: Payment, amount: Money | None, *, path: tuple[str, ...] = ("input", "amount")
) -> Money | None:
    """An optional amount of a payment, in its currency and above zero; `path` is where it was given.

    Raises: InvalidInput.
    """
    if amount is None:
        return None
    if amount.currency != payment.currency:
        text = f"The payment is in {payment.currency}, not in {amount.currency}."
        raise InvalidInput(path=[*path], message=text)
    if amount.minor <= 0:
        raise InvalidInput(path=[*path], message="The amount must be more than zero.")
    return amount
