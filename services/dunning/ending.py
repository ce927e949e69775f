"""The end of dunning: what becomes of the subscription whose invoice nobody paid, and the way back from there.

- `cancel` ends the subscription; what is open of it is given up as uncollectible, so that the ledger shows it.
- `unpaid` keeps the invoice open and the subscription without features; Stripe leaves further invoices as drafts. Once
  the invoice is paid this is lifted: the draft of the period under way is collected, those of the past are not.
- `pause` gives up what is open and pauses the collection, until the guest resumes the subscription.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from models.dunning import DunningStatus
from models.invoices import InvoiceStatus
from models.payments import PaymentStatus
from models.subscriptions import BillingSubscription
from services.changes import ChangeSet
from services.dunning.rows import CALLER, facts_of, lock_dunning, write_dunning
from services.dunning_requests import advance_invoice, keep_drafts, mark_uncollectible
from services.errors import InvalidState, OperationInProgress
from services.invoice_requests import retrieve_invoice
from services.invoices.facts import InvoiceFacts
from services.invoices.settlement import settle_invoice
from services.operations import Answers, Intent, PlannedStep, Refusal, reserve
from services.stripe_gateway import Priority
from services.subscription_requests import (
    cancel_subscription,
    pause_collection,
    resume_collection,
    retrieve_subscription,
)
from services.subscriptions.answers import settle_answers
from services.subscriptions.rows import lock_subscription, write_subscription
from settings import DunningEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.stripe_requests import StripeRequest

END_DUNNING: Final = "end_dunning"
LIFT_UNPAID: Final = "lift_unpaid"
_END: Final = "end"
_GIVE_UP: Final = "give_up:"
_RESUME: Final = "resume"
_ADVANCE: Final = "advance"
_RETRY_AFTER_S: Final = 60

_BUSY = "SELECT EXISTS (SELECT FROM operations WHERE subject_id = $1 AND id <> $2 AND status = 'RUNNING')"
_OPEN = """
SELECT stripe_invoice_id FROM invoices WHERE subscription_id = $1 AND status = 'OPEN' ORDER BY stripe_created_at, id
"""
_LEFT_UNPAID = """
SELECT d.invoice_id, i.status FROM dunnings d JOIN invoices i ON i.id = d.invoice_id
WHERE d.subscription_id = $1 AND d.status = 'EXHAUSTED' AND d.ended_as = 'unpaid' ORDER BY d.invoice_id
"""


async def end_dunning(services: Services, subscription_id: UUID, invoice_id: UUID) -> None:
    """Do with a subscription what `dunning_end` says, as the last try at its invoice has failed.

    Raises: InvalidState where it is not at its end; OperationInProgress, also while another operation acts on the
        subscription; StripeUnavailable.
    """
    as_ = services.settings.dunning_end
    row = await BillingSubscription.get(id=subscription_id)
    intent = Intent(CALLER, f"dunning:{invoice_id}:end", END_DUNNING, {"invoice_id": str(invoice_id)})
    arguments = {"invoice_id": str(invoice_id), "as": as_.value, "latest_invoice": row.latest_invoice}

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        locked = await lock_subscription(connection, subscription_id)
        if await connection.fetchval(_BUSY, subscription_id, operation.id):
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        await connection.execute("SELECT FROM invoices WHERE id = $1 FOR NO KEY UPDATE", invoice_id)
        dunning = await lock_dunning(connection, invoice_id)
        if dunning is None or dunning.status is not DunningStatus.TRYING or dunning.ends_at is None:
            raise InvalidState("This invoice is not dunned any more.", state="MOVED_ON")
        if dunning.next_attempt_at is not None or dunning.ends_at > services.clock():
            raise InvalidState("This invoice is still tried.", state=dunning.status.value)
        before = facts_of(dunning)
        dunning.status, dunning.ended_as = DunningStatus.EXHAUSTED, as_.value
        changes = ChangeSet(CALLER, locked.xid)
        await write_dunning(connection, changes, locked.row, dunning, before, "dunning.exhausted")
        await write_subscription(connection, services.settings, changes, locked)
        await changes.write(connection)
        return []

    reserved = await reserve(services, intent, plan, subject_id=subscription_id, arguments=arguments)
    if reserved.claimed.new:
        services.metrics.dunning.labels("exhausted").inc()
    await services.operations.end(services, reserved)


async def lift_unpaid(services: Services, subscription_id: UUID) -> None:
    """Let Stripe collect again where all that was left unpaid is paid; nothing happens where it is not.

    Raises: OperationInProgress, also while another operation acts on the subscription; StripeUnavailable.
    """
    left = await services.database.pool.fetch(_LEFT_UNPAID, subscription_id)
    if not left or any(record["status"] == InvoiceStatus.OPEN for record in left):
        return
    row = await BillingSubscription.get(id=subscription_id)
    if row.status.is_final or row.stripe_subscription_id is None:
        return
    request = resume_collection(row.stripe_subscription_id)
    newest = left[-1]["invoice_id"]
    intent = Intent(CALLER, f"dunning:{newest}:lift", LIFT_UNPAID, {"subscription_id": str(subscription_id)})

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        await lock_subscription(connection, subscription_id)
        if await connection.fetchval(_BUSY, subscription_id, operation.id):
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        return [PlannedStep(_RESUME, request)]

    reserved = await reserve(
        services, intent, plan, subject_id=subscription_id, arguments={"latest_invoice": row.latest_invoice}
    )
    await services.operations.end(services, reserved)


class EndDunning:
    """How the end goes on: what is paid in the last moment is left alone; else the subscription, then its invoices."""

    name = END_DUNNING

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The call about the subscription, and one for each invoice that is given up.

        Raises: InvalidState where the invoice is not open any more.
        """
        row = await BillingSubscription.get(id=operation.subject_id)
        as_ = DunningEnd(operation.arguments["as"])
        if not answers.by_step:
            await _still_open(services, operation)
            if not row.status.is_final:
                return PlannedStep(_END, _ending(as_, row.stripe_subscription_id or ""))
        if as_ is DunningEnd.UNPAID:
            return None
        for record in await services.database.pool.fetch(_OPEN, row.id):
            step = f"{_GIVE_UP}{record['stripe_invoice_id']}"
            if step not in answers.by_step:
                return PlannedStep(step, mark_uncollectible(record["stripe_invoice_id"]))
        return None

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle the invoices, then the subscription with the operation's end."""
        own = await services.database.pool.fetchval(
            "SELECT stripe_invoice_id FROM invoices WHERE id = $1", UUID(operation.arguments["invoice_id"])
        )
        given_up = [step.removeprefix(_GIVE_UP) for step in answers.by_step if step.startswith(_GIVE_UP)]
        for invoice in dict.fromkeys([own, *given_up]):
            await settle_invoice(services, invoice, actor=operation.caller)
        ended = answers.get(_END)
        if operation.arguments["as"] == DunningEnd.UNPAID and ended is not None and not isinstance(ended, Refusal):
            await _leave_unpaid(services, operation)
        await settle_answers(services, operation, answers)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The subscription, where it has ended or is paused; the invoice, where it is given up."""
        if step.step.startswith(_GIVE_UP):
            request = retrieve_invoice(step.step.removeprefix(_GIVE_UP))
            body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
            return None if body["status"] == "open" else body
        return await _found(services, operation, lambda body: bool(body["pause_collection"] or body["ended_at"]))


class LiftUnpaid:
    """How the way back goes on: Stripe collects again, and the draft of the period under way is made final."""

    name = LIFT_UNPAID

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The draft of the current period, if there is one: it goes the way of every renewal from now on."""
        resumed = answers.get(_RESUME)
        if resumed is None or isinstance(resumed, Refusal) or _ADVANCE in answers.by_step:
            return None
        latest = resumed.body.get("latest_invoice")
        if not isinstance(latest, dict) or latest["status"] != "draft":
            return None
        return PlannedStep(_ADVANCE, advance_invoice(latest["id"], by_itself=True))

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """End the dunnings, then settle the subscription."""
        async with services.database.transaction() as connection:
            locked = await lock_subscription(connection, operation.subject_id)
            changes = ChangeSet(operation.caller, locked.xid)
            for record in await connection.fetch(_LEFT_UNPAID, operation.subject_id):
                await connection.execute("SELECT FROM invoices WHERE id = $1 FOR NO KEY UPDATE", record["invoice_id"])
                dunning = await lock_dunning(connection, record["invoice_id"])
                if dunning is None or record["status"] == InvoiceStatus.OPEN:
                    continue
                before = facts_of(dunning)
                dunning.status = DunningStatus.RECOVERED
                services.metrics.dunning.labels("recovered").inc()
                await write_dunning(connection, changes, locked.row, dunning, before, "dunning.recovered")
            locked.row.unpaid_since = None
            await write_subscription(connection, services.settings, changes, locked)
            await changes.write(connection)
        await settle_answers(services, operation, answers)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The subscription, where nothing is paused; an invoice, where it is no draft."""
        if step.step == _ADVANCE:
            request = retrieve_invoice(step.path.rsplit("/", 1)[-1])
            body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
            return body if body["auto_advance"] or body["status"] != "draft" else None
        return await _found(services, operation, lambda body: body["pause_collection"] is None)


def _ending(as_: DunningEnd, subscription: str) -> StripeRequest:
    match as_:
        case DunningEnd.CANCEL:
            return cancel_subscription(subscription)
        case DunningEnd.UNPAID:
            return keep_drafts(subscription)
        case DunningEnd.PAUSE:
            return pause_collection(subscription, resumes_at=None)


async def _still_open(services: Services, operation: Operation) -> None:
    """Read the invoice once more: it may have been paid in the last moment, or its payment be under way.

    Raises: InvalidState where it is not open; OperationInProgress while a bank has yet to answer.
    """
    stripe_id = await services.database.pool.fetchval(
        "SELECT stripe_invoice_id FROM invoices WHERE id = $1", UUID(operation.arguments["invoice_id"])
    )
    response = await services.stripe.send(retrieve_invoice(stripe_id), priority=Priority.BACKGROUND)
    facts = InvoiceFacts.parse(response.body)
    if facts.status is not InvoiceStatus.OPEN:
        raise InvalidState("This invoice is not open any more.", state=facts.status.value)
    intent = None if facts.payment is None else facts.payment.intent
    if intent is not None and intent.status is PaymentStatus.PROCESSING:
        raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)


async def _leave_unpaid(services: Services, operation: Operation) -> None:
    """The features end now, whatever grace there is left."""
    async with services.database.transaction() as connection:
        locked = await lock_subscription(connection, operation.subject_id)
        locked.row.unpaid_since = locked.row.unpaid_since or services.clock()
        changes = ChangeSet(operation.caller, locked.xid)
        await write_subscription(connection, services.settings, changes, locked)
        await changes.write(connection)


async def _found(
    services: Services, operation: Operation, happened: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    """The subscription, where it shows that a call about it took effect."""
    row = await BillingSubscription.get(id=operation.subject_id)
    request = retrieve_subscription(row.stripe_subscription_id or "")
    body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
    return body if happened(body) else None
