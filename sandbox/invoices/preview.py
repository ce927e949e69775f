"""What an invoice will be before it is made ("Create a preview invoice"); nothing of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import clocks, discounts
from sandbox.errors import ApiError, Json, missing_object, missing_param
from sandbox.invoices import draft, items, parts, totals
from sandbox.resources.accounts import own
from sandbox.subscriptions.upcoming import Upcoming, upcoming_lines
from sandbox.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.operations import Call

_BILLED: Sequence[str] = ("active", "trialing", "past_due")


def preview(call: Call) -> Json:
    """The next invoice of a subscription, or of a customer, with what the request would change.

    Raises: ApiError invoice_upcoming_none where there is none; what a subscription would refuse.
    """
    # All that is made on the way goes with this.
    work = _scratch(call.work)
    subscription, customer = _subject(call, work)
    clocks.enter(work, customer["id"], modifies=False)
    changes = dict(call.given("subscription_details") or {})
    if subscription is None and not changes.get("items"):
        subscription = _next_billed(work, customer["id"])
    coming = None
    if subscription is not None or changes.get("items"):
        coming = upcoming_lines(work, customer["id"], subscription, changes)
    currency = coming.currency if coming is not None else _currency(call, work, customer)
    _put_items(call, work, customer, currency, subscription)
    is_next = call.param("preview_mode", "next") == "next"
    waiting = items.pending(work, customer["id"], currency, subscription) if is_next else []
    if not waiting and (coming is None or not coming.lines):
        raise ApiError(
            f"No upcoming invoices for customer: {customer['id']}", status=404, code="invoice_upcoming_none"
        )
    coming = coming or Upcoming([], (work.now, work.now), currency, discounts=draft.discount_ids(customer, None))
    return _invoice(call, work, customer, subscription, coming, waiting)


def _scratch(work: Work) -> Work:
    return Work(
        store=work.store, platform=work.platform, account=work.account, now=work.now, wall=work.wall,
        base_url=work.base_url, async_delay_s=work.async_delay_s, origin=work.origin,
    )  # fmt: skip


def _subject(call: Call, work: Work) -> tuple[str | None, Json]:
    id_, customer_id = call.given("subscription"), call.given("customer")
    if id_ is None and customer_id is None:
        raise missing_param("customer")
    if id_ is not None:
        found = work.get("subscription", id_, "subscription")
        if customer_id not in (None, found["customer"]):
            raise missing_object("subscription", id_, "subscription")
        customer_id = found["customer"]
    return id_, work.get("customer", customer_id or "", "customer")


def _next_billed(work: Work, customer: str) -> str | None:
    """The subscription of a customer that is billed first."""
    billed = [
        (min(item["current_period_end"] for item in found["items"]["data"]), found["id"])
        for found in work.listed("subscription", link=("customer", customer))
        if found["status"] in _BILLED and found["items"]["data"] and not found["cancel_at_period_end"]
    ]
    return min(billed)[1] if billed else None


def _currency(call: Call, work: Work, customer: Json) -> str:
    return str(call.given("currency") or customer["currency"] or own(work, work.account)["default_currency"])


def _put_items(call: Call, work: Work, customer: Json, currency: str, subscription: str | None) -> None:
    """The invoice items that the request adds, or changes, in the preview."""
    for index, wanted in enumerate(call.given("invoice_items") or ()):
        param = f"invoice_items[{index}]"
        if wanted.get("invoiceitem"):
            work.get("invoiceitem", wanted["invoiceitem"], f"{param}[invoiceitem]")
            parts.change(work, work.edit("invoiceitem", wanted["invoiceitem"]), wanted, param)
        else:
            parts.make(work, {"currency": currency, **wanted}, customer["id"], param, subscription=subscription)


def _invoice(
    call: Call, work: Work, customer: Json, subscription: str | None, coming: Upcoming, waiting: list[Json]
) -> Json:
    invoice = draft.invoice_body(
        work, customer, coming.currency, coming.billing_reason, coming.period, subscription
    )
    chosen = coming.discounts
    if "discounts" in call.params:
        redeemed = discounts.redeem_all(
            work, call.params["discounts"], customer=customer["id"], invoice=invoice["id"], currency=coming.currency
        )
        chosen = [discount["id"] for discount in redeemed]
    at = max(work.now, coming.period[1]) if coming.billing_reason == "upcoming" else work.now
    invoice.update(id=f"upcoming_{invoice['id']}", auto_advance=True, created=at, discounts=chosen)
    invoice.update(webhooks_delivered_at=None, next_payment_attempt=at + draft.HOUR)
    found = work.find("subscription", subscription or "") or {}
    invoice["collection_method"] = found.get("collection_method", "charge_automatically")
    if invoice["collection_method"] == "send_invoice":
        invoice.update(next_payment_attempt=None, due_date=at + (found.get("days_until_due") or 0) * draft.DAY)
    invoice["_lines"] = [items.line_of(work, item) for item in waiting] + coming.lines
    totals.refresh(work, invoice)
    invoice["ending_balance"] = min(0, invoice["starting_balance"] + invoice["total"])
    return invoice
