"""What a subscription will be billed next ("Create a preview invoice")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.errors import ApiError
from sandbox.subscriptions import bodies, cancelling, changing, charges, creating, pausing, phases, updating

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.subscriptions.charges import Charge
    from sandbox.work import Work


@dataclass(slots=True)
class Upcoming:
    """The next invoice of a subscription as far as the subscription decides it.

    Attributes:
        lines: as `sandbox.invoices.draft.line` makes them; pending invoice items are not among them.
        period: first and last second of the invoice.
        currency: in small letters.
        billing_reason: "upcoming", or what an invoice at once would say.
        discounts: ids of the subscription's discounts, those that are asked for included.
    """

    lines: list[Json]
    period: tuple[int, int]
    currency: str
    billing_reason: str = "upcoming"
    discounts: list[str] = field(default_factory=list)


def upcoming_lines(work: Work, customer: str | None, subscription: str | None, changes: Json) -> Upcoming:
    """What the next invoice of a subscription, or of one that is yet to be made, has on it.

    Args:
        work: is thrown away afterwards, for the changes are tried on what it holds.
        customer: whose subscription would be made, where there is none yet.
        subscription: the id of one that exists.
        changes: `subscription_details` of the request.

    Raises: ApiError for changes that the subscription would refuse, and invoice_upcoming_none.
    """
    if subscription is None:
        return _of_new(work, customer or "", changes)
    body = work.edit("subscription", subscription)
    if body["status"] in bodies.ENDED:
        raise none_upcoming(body)
    if changes.get("cancel_now"):
        none = changes.get("proration_behavior") == "none"
        found = [] if none else cancelling.credits_for(work, body, changes.get("proration_date") or work.now)
        return _at_once(work, body, found, "subscription_update")
    if changes.get("pause"):
        return _of_pause(work, body, changes["pause"])
    if changes.get("resume_at"):
        outcome = pausing.resumption(work, body, changes)
        return _at_once(work, body, outcome.prorations + outcome.charges, "subscription_update")
    if body["status"] not in bodies.RUNNING:
        raise none_upcoming(body)
    return _of_change(work, body, changes)


def none_upcoming(subscription: Json) -> ApiError:
    """There is nothing that the subscription will be billed."""
    return ApiError(
        f"No upcoming invoices for customer: {subscription['customer']}", status=404, code="invoice_upcoming_none"
    )


def _of_new(work: Work, customer: str, changes: Json) -> Upcoming:
    anchor = (changes.get("billing_cycle_anchor") or {}).get("timestamp")
    params = {
        **changes, "customer": customer, "billing_cycle_anchor": anchor, "backdate_start_date": _past(work, changes),
    }  # fmt: skip
    subscription = creating.draft(work, params, work.now)
    lines = creating.begin(work, subscription, params, work.now)
    return _at_once(work, subscription, lines, "subscription_create")


def _past(work: Work, changes: Json) -> int | None:
    start = changes.get("start_date")
    return start if start is not None and start < work.now else None


def _of_pause(work: Work, subscription: Json, pause: Json) -> Upcoming:
    unused = ((pause.get("bill_for") or {}).get("unused_time_from") or {}).get("type", "now")
    found = pausing.unused_time(work, subscription, unused)
    if pause.get("invoicing_behavior") != "invoice" or not found:
        raise none_upcoming(subscription)
    return _at_once(work, subscription, found, "subscription_update")


def _of_change(work: Work, subscription: Json, changes: Json) -> Upcoming:
    wanted = updating.change_of(work, subscription, changes)
    outcome = changing.Outcome() if wanted.is_nothing else changing.change(work, subscription, wanted)
    if outcome.is_billed_now:
        return _at_once(work, subscription, outcome.prorations + outcome.charges, "subscription_update")
    end = bodies.period_end(subscription)
    stop = subscription["cancel_at"]
    period = (bodies.items_of(subscription)[0]["current_period_start"], end)
    lines = list(outcome.prorations)
    if stop is None or stop > end:
        lines += _renewal(work, subscription, end)
    return _upcoming(work, subscription, lines, "upcoming", period)


def _renewal(work: Work, subscription: Json, end: int) -> list[Charge]:
    """What the periods cost that begin when the current ones end."""
    before, work.now = work.now, max(end, work.now)
    phases.enter_due(work, subscription)
    work.now = before
    if subscription["status"] in bodies.ENDED:
        return []
    nets = charges.net_amounts(work, subscription)
    return [
        changing.next_period(work, subscription, item, end, nets) for item in bodies.items_of(subscription)
        if item["current_period_end"] <= end
    ]  # fmt: skip


def _at_once(work: Work, subscription: Json, found: list[Charge], reason: str) -> Upcoming:
    return _upcoming(work, subscription, found, reason, (work.now, work.now))


def _upcoming(work: Work, subscription: Json, found: list[Charge], reason: str, period: tuple[int, int]) -> Upcoming:
    return Upcoming(
        [charges.as_line(work, subscription, charge) for charge in found], period, subscription["currency"], reason,
        charges.discounts_on(work, subscription),
    )  # fmt: skip
