"""The review of billing: what we have of each live subscription compared with what Stripe has, and put right.

Webhooks and the gap sweeper keep subscriptions true from minute to minute. What they cannot know of is found here:
rows that were broken, events older than the thirty days for which Stripe lists them, and subscriptions that Stripe has
and we have not. A review goes through our subscriptions page by page in the order of their ids, and notes after each
page how far it came, so that whoever goes on with it does so from there.
"""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from models.base import from_record, new_id
from models.billing_reviews import BillingReview
from models.invoices import Invoice
from models.subscriptions import BillingSubscription
from services.changes import ChangeSet
from services.exclusive import exclusively
from services.invoices.facts import InvoiceFacts
from services.invoices.rows import invoice_columns, take_over
from services.invoices.settlement import settle_invoice
from services.payment_methods.settlement import settle_methods
from services.review_requests import list_invoices, list_subscriptions_of_all, retrieve_with_customer
from services.stripe_gateway import Priority, StripeInvalidRequest, StripeNotSent, StripeUnknownOutcome
from services.subscriptions.facts import SubscriptionFacts
from services.subscriptions.settlement import settle_as_it_is, settle_subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.core import Services

log = structlog.get_logger("billing_review")

ACTOR: Final = "system:billing_review"
_PAGE: Final = 50
_AT_ONCE: Final = 4
"""Subscriptions that are compared at the same time: guests at Stripe's door come first."""

_JUST_MADE_S: Final = 600
"""For so long a subscription that is not known here may be one that is being made."""

_LIVE: Final = "status NOT IN ('CANCELED', 'INCOMPLETE_EXPIRED') AND stripe_subscription_id IS NOT NULL"
_NEXT: Final = f"SELECT * FROM subscriptions WHERE {_LIVE} AND id > $1 ORDER BY id LIMIT $2"
_BEGIN: Final = f"""
INSERT INTO billing_reviews (id, total, checked, repaired, failed)
VALUES ($1, (SELECT count(*) FROM subscriptions WHERE {_LIVE}), 0, 0, 0) RETURNING *
"""
_NOTE: Final = """
UPDATE billing_reviews SET checked = checked + $2, repaired = repaired + $3, failed = failed + $4,
    after = coalesce($5, after), finished_at = $6, updated_at = now() WHERE id = $1 RETURNING *
"""
_DEFAULT: Final = """
SELECT u.stripe_customer_id, m.stripe_payment_method_id FROM users u
LEFT JOIN payment_methods m ON m.user_id = u.id AND m.is_default WHERE u.id = $1
"""
_KNOWN: Final = f"""
SELECT stripe_subscription_id, {_LIVE} AS live FROM subscriptions WHERE stripe_subscription_id = ANY($1)
"""
_CUSTOMERS: Final = "SELECT stripe_customer_id FROM users WHERE stripe_customer_id = ANY($1)"


class ReviewUnderWayError(Exception):
    """Another process is at it."""


@dataclass(slots=True)
class _Tally:
    """What came of a page."""

    checked: int = 0
    repaired: int = 0
    failed: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    """What could not be put right, for the audit trail."""

    def give_up(self, subject: str, reason: str) -> None:
        """Something is wrong that a person has to look at."""
        self.failed += 1
        self.findings.append({"subject": subject, "reason": reason})
        log.error("billing_review.not_repaired", subject=subject, reason=reason)


async def review_if_due(services: Services) -> BillingReview | None:
    """Go on with the review that was broken off, or begin one where the last was finished long enough ago.

    Returns: the finished review; None where none was due, or another process is at it.
    Raises: StripeNotSent, StripeUnknownOutcome where Stripe cannot be reached: the next call goes on.
    """
    newest = await BillingReview.all().order_by("-id").first()
    every = timedelta(seconds=services.settings.billing_review_every_s)
    if newest is not None and newest.finished_at is not None and services.clock() - newest.finished_at < every:
        return None
    try:
        return await review(services)
    except ReviewUnderWayError:
        return None


async def review(
    services: Services, *, progress: Callable[[BillingReview], None] = lambda review: None, page: int = _PAGE
) -> BillingReview:
    """Go on with the review that was broken off, or begin one, and go through with it.

    Args:
        progress: told of the review as it begins and after each page.
        page: how many subscriptions are compared before it is noted how far the review came.

    Raises: ReviewUnderWayError; StripeNotSent, StripeUnknownOutcome where Stripe cannot be reached: the next call goes
        on where this one ended.
    """
    async with exclusively(services.database, "paydesk:billing_review") as mine:
        if not mine:
            raise ReviewUnderWayError
        found = await BillingReview.filter(finished_at=None).first() or await _begin(services)
        _show(services, found, progress)
        while rows := await _page(services, found.after, page):
            tally = await _compare_all(services, rows)
            found = await _note(services, found, tally, after=rows[-1].id)
            _show(services, found, progress)
        found = await _note(services, found, await _compare_list(services), finished=True)
        _show(services, found, progress)
        log.info(
            "billing_review.finished", checked=found.checked, repaired=found.repaired, failed=found.failed
        )
        return found


async def _begin(services: Services) -> BillingReview:
    return from_record(BillingReview, await services.database.pool.fetchrow(_BEGIN, new_id()) or {})


async def _page(services: Services, after: UUID | None, limit: int) -> list[BillingSubscription]:
    records = await services.database.pool.fetch(_NEXT, after or UUID(int=0), limit)
    return [from_record(BillingSubscription, record) for record in records]


async def _note(
    services: Services, review_: BillingReview, tally: _Tally, *, after: UUID | None = None, finished: bool = False
) -> BillingReview:
    """Keep what came of a page, how far the review is, and what a person has to look at, in one transaction."""
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(
            _NOTE, review_.id, tally.checked, tally.repaired, tally.failed, after,
            services.clock() if finished else None,
        )  # fmt: skip
        if record is None:
            raise RuntimeError(f"review {review_.id} is gone")
        changes = ChangeSet(ACTOR, await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        for finding in tally.findings:
            changes.audit("billing_review.not_repaired", "BILLING_REVIEW", review_.id, before=None, after=finding)
        await changes.write(connection)
    services.metrics.billing_review_repaired.inc(tally.repaired)
    services.metrics.billing_review_failed.inc(tally.failed)
    return from_record(BillingReview, record)


def _show(services: Services, review_: BillingReview, progress: Callable[[BillingReview], None]) -> None:
    services.metrics.billing_review_total.set(review_.total)
    services.metrics.billing_review_checked.set(review_.checked)
    progress(review_)


async def _compare_all(services: Services, rows: Sequence[BillingSubscription]) -> _Tally:
    """Compare subscriptions, some at a time; what goes wrong with one keeps none of the others from it.

    Raises: StripeNotSent, StripeUnknownOutcome, once all that are under way have ended.
    """
    tally, room = _Tally(checked=len(rows)), asyncio.Semaphore(_AT_ONCE)

    async def compare(row: BillingSubscription) -> None:
        async with room:
            try:
                repaired = await _compare(services, row, tally)
                tally.repaired += repaired
            except (StripeNotSent, StripeUnknownOutcome):
                raise
            except Exception as error:
                # A bug with one subscription must not keep the others from being compared.
                services.metrics.job_failures.labels("billing_review").inc()
                log.exception("billing_review.failed", subscription=str(row.id))
                tally.give_up(str(row.id), f"{type(error).__name__}: {error}"[:200])

    outcomes = await asyncio.gather(*(compare(row) for row in rows), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return tally


async def _compare(services: Services, row: BillingSubscription, tally: _Tally) -> bool:
    """Compare one subscription, its invoices and what it is paid with; whether anything had to be put right."""
    stripe_id = row.stripe_subscription_id or ""
    try:
        response = await services.stripe.send(retrieve_with_customer(stripe_id), priority=Priority.BACKGROUND)
    except StripeInvalidRequest as error:
        if error.code != "resource_missing":
            raise
        tally.give_up(str(row.id), f"Stripe has no {stripe_id}.")
        return False
    repaired = await _settle_default(services, row.user_id, response.body["customer"])
    facts = SubscriptionFacts.parse(response.body)
    settled = await settle_subscription(
        services, facts, actor=ACTOR, subscription_id=row.id, seen_version=row.version
    )
    repaired |= settled is not None and settled.version != row.version
    return await _settle_invoices(services, row) or repaired


async def _settle_default(services: Services, user_id: UUID, customer: Any) -> bool:
    """Put right what a guest's invoices are paid with by default."""
    if not isinstance(customer, dict) or customer.get("deleted"):
        return False
    wanted = (customer.get("invoice_settings") or {}).get("default_payment_method")
    before = await services.database.pool.fetchrow(_DEFAULT, user_id)
    if before is None or before["stripe_customer_id"] != customer["id"] or before["stripe_payment_method_id"] == wanted:
        return False
    await settle_methods(services, user_id, customer["id"], actor=ACTOR, priority=Priority.BACKGROUND)
    after = await services.database.pool.fetchrow(_DEFAULT, user_id)
    return bool(after != before)


async def _settle_invoices(services: Services, row: BillingSubscription) -> bool:
    """Put right the newest of a subscription's invoices, and all that can still change."""
    request = list_invoices(subscription=row.stripe_subscription_id or "")
    listed = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body["data"]
    records = await services.database.pool.fetch("SELECT * FROM invoices WHERE subscription_id = $1", row.id)
    ours = {record["stripe_invoice_id"]: from_record(Invoice, record) for record in records}
    theirs = {body["id"]: InvoiceFacts.parse(body) for body in listed}
    changeable = [id_ for id_, invoice in ours.items() if not invoice.status.is_final and id_ not in theirs]
    repaired = False
    for id_ in [id_ for id_, facts in reversed(theirs.items()) if _differs(ours.get(id_), facts)] + changeable:
        known = ours.get(id_)
        settled = await settle_invoice(services, id_, actor=ACTOR)
        repaired |= settled is not None and (known is None or settled.version != known.version)
    return repaired


def _differs(invoice: Invoice | None, facts: InvoiceFacts) -> bool:
    if invoice is None:
        return True
    as_stripe_has_it = copy(invoice)
    take_over(as_stripe_has_it, facts)
    return invoice_columns(as_stripe_has_it) != invoice_columns(invoice)


async def _compare_list(services: Services) -> _Tally:
    """Look for subscriptions of our guests that Stripe has and we have not, or hold to have ended.

    One that bears our metadata is adopted, as its event would have been; any other is told of. Stripe's list is asked
    for a hundred at a time, and from the beginning where a review was broken off in it.
    """
    tally, page = _Tally(), list[dict[str, Any]]()
    async for body in services.stripe.list_all(list_subscriptions_of_all()):
        page.append(body)
        if len(page) == 100:
            await _compare_page(services, page, tally)
            page.clear()
    await _compare_page(services, page, tally)
    return tally


async def _compare_page(services: Services, page: Sequence[Mapping[str, Any]], tally: _Tally) -> None:
    pool = services.database.pool
    known = {record["stripe_subscription_id"]: record["live"] for record in await pool.fetch(
        _KNOWN, [body["id"] for body in page]
    )}  # fmt: skip
    customers = {record[0] for record in await pool.fetch(_CUSTOMERS, [str(body["customer"]) for body in page])}
    just_made = services.clock().timestamp() - _JUST_MADE_S
    for body in page:
        if known.get(body["id"]) or body["customer"] not in customers or body["created"] > just_made:
            continue
        if body["status"] == "incomplete_expired":
            continue
        settled = await settle_as_it_is(services, body["id"], actor=ACTOR)
        if settled is None:
            tally.give_up(body["id"], "Stripe has a subscription of a guest that was not asked for here.")
        elif settled.status.is_final and body["status"] != "canceled":
            tally.give_up(str(settled.id), f"It has ended here, and is {body['status']} at Stripe.")
        else:
            await _settle_invoices(services, settled)
            tally.repaired += 1
