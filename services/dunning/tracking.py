"""Dunning begins, moves and ends with its invoice, in the transaction that writes the invoice.

What a try of ours comes to is counted by the operation that makes it (services/dunning/paying.py): here it does not
matter who tried, and the same invoice may be told of any number of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.base import new_id, new_row
from models.dunning import Dunning, DunningStatus
from models.invoices import InvoiceStatus
from models.payments import PaymentStatus
from models.sets import insert_rows
from models.subscriptions import BillingSubscriptionStatus
from services.changes import ChangeSet
from services.dunning.declines import CONFIRMATION, NO_METHOD, may_be_tried_again
from services.dunning.rows import CALLER, facts_of, lock_dunning, plan_of, tell, write_dunning
from services.dunning.schedule import Plan
from services.payments.declines import explain
from services.subscriptions.rows import lock_subscription, write_subscription

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from models.invoices import Invoice
    from models.sets import AnyConnection
    from models.subscriptions import BillingSubscription
    from services.core import Services
    from services.invoices.facts import InvoiceFacts
    from services.payments.facts import FailureFacts

_RENEWALS: Final = frozenset({"subscription_cycle", "subscription_threshold"})
# An upgrade that was not paid is dunned where it took effect all the same, which shows in what it made of the status;
# one that waits for its payment ("pending updates") is the guest's to confirm, and falls away by itself.
_OVERDUE: Final = frozenset({BillingSubscriptionStatus.PAST_DUE, BillingSubscriptionStatus.UNPAID})
_NO_METHOD: Final = "There is no payment method to pay your subscription with. Please add one."
_CLOSED: Final = frozenset({InvoiceStatus.VOID, InvoiceStatus.UNCOLLECTIBLE})

_OPEN_OF_USER: Final = """
SELECT d.subscription_id, d.invoice_id, m.stripe_payment_method_id AS method
FROM subscriptions s JOIN dunnings d ON d.subscription_id = s.id AND d.status = 'TRYING' AND NOT d.by_stripe
    JOIN payment_methods m ON m.user_id = s.user_id AND m.is_default
WHERE s.user_id = $1 ORDER BY d.subscription_id, d.invoice_id
"""


@dataclass(frozen=True, slots=True)
class Failing:
    """Why an invoice is not paid: in Stripe's codes, in words for the guest, and whether time alone may help."""

    code: str
    decline_code: str | None
    message: str
    retryable: bool
    method: str | None

    @classmethod
    def of(cls, failure: FailureFacts, method: str | None = None) -> Failing:
        """From a failed payment."""
        again = may_be_tried_again(failure.code, failure.decline_code, failure.advice_code)
        return cls(failure.code, failure.decline_code, failure.message, again, failure.payment_method or method)

    @classmethod
    def by_code(cls, code: str, method: str | None = None) -> Failing:
        """Where nothing was declined, but nothing was paid either."""
        message = _NO_METHOD if code == NO_METHOD else explain(code, None).message
        return cls(code, None, message, may_be_tried_again(code, None), method)

    def put_on(self, dunning: Dunning) -> None:
        """Let a dunning say so."""
        dunning.failure_code, dunning.decline_code = self.code, self.decline_code
        dunning.message, dunning.retryable = self.message, self.retryable


async def track(
    connection: AnyConnection, services: Services, subscription: BillingSubscription, invoice: Invoice,
    facts: InvoiceFacts, changes: ChangeSet,
) -> None:  # fmt: skip
    """Begin, move or end the dunning of an invoice, and set `next_payment_attempt` of its subscription.

    Args:
        connection: the invoice's transaction; subscription and invoice are locked.
        subscription: as it was before this invoice was settled; who calls writes it.
        invoice: as it is being written.
    """
    failing = _failing(facts)
    dunning = await lock_dunning(connection, invoice.id)
    if dunning is None:
        if failing is not None and _begins(subscription, invoice):
            await _begin(connection, services, subscription, invoice, failing, changes)
        return
    before = facts_of(dunning)
    action: str | None = None
    if dunning.status is DunningStatus.TRYING:
        action = _end(services, subscription, invoice, dunning)
        if dunning.status is DunningStatus.TRYING:
            action = _move(services, invoice, dunning, failing)
    elif dunning.status is DunningStatus.EXHAUSTED and invoice.status is InvoiceStatus.PAID:
        # What was left unpaid is paid for; that Stripe collects again is up to `lift_unpaid`, which ends the dunning.
        subscription.unpaid_since = None
        if dunning.ended_as != "unpaid":
            action = _became(services, dunning, DunningStatus.RECOVERED)
    await write_dunning(connection, changes, subscription, dunning, before, action)


async def new_default(services: Services, user_id: UUID) -> None:
    """Make the guest's open dunnings due at once: a new default method has come, or the old one has changed.

    Whatever the bank said of the method before is forgotten. The try counts only where one was due by the schedule, and
    leaves the rest of the schedule as it is.
    """
    for record in await services.database.pool.fetch(_OPEN_OF_USER, user_id):
        async with services.database.transaction() as connection:
            locked = await lock_subscription(connection, record["subscription_id"])
            await connection.execute("SELECT FROM invoices WHERE id = $1 FOR NO KEY UPDATE", record["invoice_id"])
            dunning = await lock_dunning(connection, record["invoice_id"])
            if dunning is None or dunning.status is not DunningStatus.TRYING:
                continue
            before = facts_of(dunning)
            dunning.payment_method, dunning.retryable = record["method"], True
            dunning.next_attempt_at = services.clock()
            changes = ChangeSet(CALLER, locked.xid)
            await write_dunning(connection, changes, locked.row, dunning, before, "dunning.new_method")
            await write_subscription(connection, services.settings, changes, locked)
            await changes.write(connection)
        services.live.wake()


def _failing(facts: InvoiceFacts) -> Failing | None:
    """Why an open invoice is not paid; None where it was not tried, or the outcome is not known yet."""
    payment = facts.payment
    if facts.attempt_count == 0 or facts.status is not InvoiceStatus.OPEN:
        return None
    if payment is None or payment.intent is None:
        return Failing.by_code(NO_METHOD)
    if facts.needs_action:
        return Failing.by_code(CONFIRMATION, payment.payment_method)
    if facts.failure is not None:
        return Failing.of(facts.failure, payment.payment_method)
    if payment.intent.status is PaymentStatus.PENDING and payment.payment_method is None:
        return Failing.by_code(NO_METHOD)
    return None


def _begins(subscription: BillingSubscription, invoice: Invoice) -> bool:
    """Whether an invoice that failed is dunned: not the one that begins a subscription, which Stripe gives 23 hours."""
    if subscription.status.is_final:
        return False
    if invoice.billing_reason == "subscription_update":
        return subscription.status in _OVERDUE
    return invoice.billing_reason in _RENEWALS


async def _begin(
    connection: AnyConnection, services: Services, subscription: BillingSubscription, invoice: Invoice,
    failing: Failing, changes: ChangeSet,
) -> None:  # fmt: skip
    # Stripe tries as soon as an invoice is final, and says of failed tries neither when nor, reliably, how many.
    first = invoice.attempt_count == 1 and invoice.finalized_at is not None
    failed_at: datetime = invoice.finalized_at if first and invoice.finalized_at else services.clock()
    by_stripe = services.settings.dunning_by == "stripe"
    plan = Plan.begin(services.settings.dunning_days, failed_at)
    dunning = new_row(
        Dunning,
        id=new_id(), invoice_id=invoice.id, subscription_id=subscription.id, first_failed_at=failed_at,
        last_failed_at=failed_at, ends_at=None if by_stripe else plan.ends_at, by_stripe=by_stripe,
        next_attempt_at=plan.next_attempt_at if failing.retryable else None, payment_method=failing.method,
    )  # fmt: skip
    failing.put_on(dunning)
    if by_stripe:
        _mirror(dunning, invoice)
    await insert_rows(connection, Dunning, [dunning])
    services.metrics.dunning.labels("begun").inc()
    await tell(connection, changes, subscription, dunning, None, "dunning.failed")


def _end(
    services: Services, subscription: BillingSubscription, invoice: Invoice, dunning: Dunning
) -> str | None:
    """End a dunning where there is nothing left to try for; the audit entry's action."""
    if invoice.status is InvoiceStatus.PAID:
        return _became(services, dunning, DunningStatus.RECOVERED)
    if invoice.status in _CLOSED or subscription.status.is_final:
        return _became(services, dunning, DunningStatus.CLOSED)
    if dunning.by_stripe and subscription.status is BillingSubscriptionStatus.UNPAID:
        return _became(services, dunning, DunningStatus.EXHAUSTED)
    return None


def _became(services: Services, dunning: Dunning, status: DunningStatus) -> str:
    dunning.status, dunning.next_attempt_at = status, None
    services.metrics.dunning.labels(status.value.lower()).inc()
    return f"dunning.{status.value.lower()}"


def _move(services: Services, invoice: Invoice, dunning: Dunning, failing: Failing | None) -> str | None:
    """Follow why the payment failed, where the method is the one that is tried; the audit entry's action.

    A method that the guest tried by hand says nothing of the one that the schedule tries.
    """
    known = (dunning.failure_code, dunning.decline_code)
    others = failing is None or failing.method not in {None, dunning.payment_method}
    if failing is not None and (dunning.by_stripe or not others) and (failing.code, failing.decline_code) != known:
        failing.put_on(dunning)
    retries = dunning.retries
    if dunning.by_stripe:
        _mirror(dunning, invoice)
        if dunning.retries > retries:
            dunning.last_failed_at = services.clock()
            return "dunning.failed"
    elif not dunning.retryable:
        dunning.next_attempt_at = None
    elif dunning.next_attempt_at is None:
        dunning.next_attempt_at = plan_of(services, dunning).due_at
    return None


def _mirror(dunning: Dunning, invoice: Invoice) -> None:
    """Stripe's own retries: `attempt_count` has the first try and each of theirs ("The Invoice object")."""
    dunning.retries = max(dunning.retries, invoice.attempt_count - 1)
    dunning.next_attempt_at = invoice.next_payment_attempt
