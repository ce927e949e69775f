"""Settling subscriptions: what Stripe says of one becomes its row, its event and its audit entry.

Applying the same facts again changes nothing. A final state wins over any other; a passing one is believed only where
nothing has changed since it was asked for (`seen_version`), and is fetched again otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from models.base import from_record
from models.payments import Payment
from services.changes import ChangeSet
from services.operations import finish, record_answers
from services.stripe_gateway import Priority
from services.subscription_requests import retrieve_subscription
from services.subscriptions.facts import SubscriptionFacts, status_of
from services.subscriptions.rows import lock_subscription, write_subscription

if TYPE_CHECKING:
    from datetime import datetime

    from models.sets import AnyConnection
    from models.subscriptions import BillingSubscription
    from services.core import Services
    from services.payments.settlement import OperationEnd
    from services.subscriptions.facts import Confirmation

log = structlog.get_logger("subscriptions")

# How often facts may turn out stale before this is left to a later try: each time, somebody else moved on.
_TRIES = 5

_BY_METADATA = """
SELECT s.id FROM subscriptions s JOIN users u ON u.id = s.user_id
WHERE s.id = $1 AND s.user_id = $2 AND s.stripe_subscription_id IS NULL AND u.stripe_customer_id = $3
"""
_MAY_BE_OURS = """
SELECT EXISTS (SELECT FROM users WHERE stripe_customer_id = $1)
    OR EXISTS (SELECT FROM subscriptions WHERE stripe_subscription_id = $2)
    OR EXISTS (SELECT FROM invoices WHERE stripe_invoice_id = $3)
"""
_WAITING = """
SELECT p.* FROM payments p JOIN invoices i ON i.id = p.invoice_id
WHERE i.stripe_invoice_id = $1 AND p.status = 'REQUIRES_ACTION' ORDER BY p.id DESC LIMIT 1
"""


async def fetch_subscription(
    services: Services, stripe_id: str, *, priority: Priority = Priority.BACKGROUND
) -> SubscriptionFacts:
    """The subscription as Stripe has it now, with what its guest has to confirm and its schedule."""
    response = await services.stripe.send(retrieve_subscription(stripe_id), priority=priority)
    return SubscriptionFacts.parse(response.body)


async def settle_subscription(
    services: Services,
    facts: SubscriptionFacts,
    *,
    actor: str,
    subscription_id: UUID | None = None,
    seen_version: int | None = None,
    ends: OperationEnd | None = None,
) -> BillingSubscription | None:
    """Apply facts to our row, derive what follows from them, and end the operation, in one transaction.

    Args:
        subscription_id: our row, where it is known; else it is found by Stripe's id, or by our metadata.
        seen_version: the row's version before Stripe was asked. Without it, facts that are not final are taken for old
            and fetched again.

    Returns: the row as it is now; None for a subscription that is not ours.
    Raises: StripeError where they have to be fetched again and Stripe cannot be reached.
    """
    id_ = subscription_id or await known_subscription(services, facts)
    if id_ is None:
        log.info("subscriptions.not_ours", subscription=facts.id)
        return None
    for _ in range(_TRIES):
        settled = await _settle(services, id_, facts, seen_version, actor, ends)
        if settled is not None:
            services.live.wake()
            return settled
        seen_version = await services.database.pool.fetchval("SELECT version FROM subscriptions WHERE id = $1", id_)
        facts = await fetch_subscription(services, facts.id)
    raise RuntimeError(f"subscription {id_} kept changing while it was settled")


async def settle_as_it_is(services: Services, stripe_id: str, *, actor: str) -> BillingSubscription | None:
    """Fetch a subscription and settle it; None for one that is not ours.

    Raises: StripeError where Stripe cannot be reached.
    """
    seen = await services.database.pool.fetchrow(
        "SELECT id, version FROM subscriptions WHERE stripe_subscription_id = $1", stripe_id
    )
    facts = await fetch_subscription(services, stripe_id)
    if seen is None:
        return await settle_subscription(services, facts, actor=actor)
    return await settle_subscription(
        services, facts, actor=actor, subscription_id=seen["id"], seen_version=seen["version"]
    )


async def may_be_ours(
    services: Services, *, customer: str | None, subscription: str | None = None, invoice: str | None = None
) -> bool:
    """Whether something at Stripe can be a guest's of ours, before it is fetched: the account may serve others, too."""
    return bool(await services.database.pool.fetchval(_MAY_BE_OURS, customer, subscription, invoice))


async def known_subscription(services: Services, facts: SubscriptionFacts) -> UUID | None:
    """Our row of it: by Stripe's id, or by our metadata where its event came before Stripe's answer did.

    Metadata counts only on a customer of ours, and for a subscription that Stripe has not made yet as far as we know.
    """
    pool = services.database.pool
    id_: UUID | None = await pool.fetchval("SELECT id FROM subscriptions WHERE stripe_subscription_id = $1", facts.id)
    if id_ is not None:
        return id_
    try:
        named = UUID(facts.metadata.get("subscription_id", "")), UUID(facts.metadata.get("user_id", ""))
    except ValueError:
        return None
    made: UUID | None = await pool.fetchval(_BY_METADATA, *named, facts.customer)
    return made


async def _settle(
    services: Services,
    subscription_id: UUID,
    facts: SubscriptionFacts,
    seen_version: int | None,
    actor: str,
    ends: OperationEnd | None,
) -> BillingSubscription | None:
    """Settle in one transaction; None where the facts are stale."""
    async with services.database.transaction() as connection:
        locked = await lock_subscription(connection, subscription_id)
        row = locked.row
        if not facts.is_final and row.version != seen_version:
            return None
        if row.stripe_subscription_id not in {None, facts.id}:
            raise LookupError(f"subscription {row.id} is {row.stripe_subscription_id}, not {facts.id}")
        if facts.is_final or row.stripe_status is None or not status_of(row.stripe_status).is_final:
            await _apply(connection, row, facts, services.clock())
        changes = ChangeSet(actor, locked.xid)
        await write_subscription(connection, services.settings, changes, locked)
        await changes.write(connection)
        await _end(connection, ends)
        return row


async def _apply(connection: AnyConnection, row: BillingSubscription, facts: SubscriptionFacts, now: datetime) -> None:
    row.stripe_subscription_id, row.stripe_item_id = facts.id, facts.item_id
    row.stripe_status, row.latest_invoice = facts.stripe_status, facts.latest_invoice
    row.default_payment_method = facts.default_payment_method
    row.current_period_start, row.current_period_end = facts.current_period_start, facts.current_period_end
    row.trial_end, row.ended_at, row.canceled_at = facts.trial_end, facts.ended_at, facts.canceled_at
    row.cancel_at, row.cancel_at_period_end = facts.cancel_at, facts.cancel_at_period_end
    # Stripe keeps no time of a pause in collection: it is when it was first seen.
    row.paused_at = (facts.paused_at or row.paused_at or now) if facts.is_paused else None
    row.resumes_at = facts.resumes_at
    row.stripe_schedule_id = facts.schedule_id
    await _take_prices(connection, row, facts)
    if facts.is_final:
        row.client_secret = row.next_action = row.next_payment_attempt = None
    elif facts.confirmation_known:
        await _take_confirmation(connection, row, facts.confirmation)


async def _take_prices(connection: AnyConnection, row: BillingSubscription, facts: SubscriptionFacts) -> None:
    wanted = [price for price in (facts.price_id, facts.next_price_id) if price is not None]
    records = await connection.fetch(
        "SELECT id, plan_id, stripe_price_id FROM plan_prices WHERE stripe_price_id = ANY($1)", wanted
    )
    known = {record["stripe_price_id"]: record for record in records}
    for price in wanted:
        if price not in known:
            log.error("subscriptions.price_unknown", subscription=str(row.id), price=price)
    billed = known.get(facts.price_id)
    if billed is not None:
        row.price_id, row.plan_id = billed["id"], billed["plan_id"]
    if facts.is_final:
        row.next_price_id = None
    elif facts.schedule_known:
        following = known.get(facts.next_price_id)
        row.next_price_id = following["id"] if following is not None and following["id"] != row.price_id else None


async def _take_confirmation(
    connection: AnyConnection, row: BillingSubscription, confirmation: Confirmation | None
) -> None:
    row.client_secret = None if confirmation is None else confirmation.client_secret
    row.next_action = None if confirmation is None else confirmation.next_action
    if confirmation is not None and confirmation.next_action is None:
        waiting = await connection.fetchrow(_WAITING, row.latest_invoice)
        row.next_action = None if waiting is None else from_record(Payment, waiting).next_action


async def _end(connection: AnyConnection, ends: OperationEnd | None) -> None:
    if ends is None:
        return
    answers = [(ends.operation_id, step, answer) for step, answer in ends.answers]
    await record_answers(connection, answers)
    await finish(
        connection, [ends.operation_id], errors={ends.operation_id: ends.error} if ends.error is not None else None
    )
