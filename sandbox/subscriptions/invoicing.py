"""A subscription's invoices: made of what it is charged, and paid as the request says ("Subscription invoices")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import clocks
from sandbox.errors import ApiError, Json
from sandbox.invoices import close, collect, draft, finalize, items, lines, payments
from sandbox.operations import new_metadata
from sandbox.subscriptions import bodies, charges
from sandbox.subscriptions import items as subscribed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.subscriptions.changing import Outcome
    from sandbox.subscriptions.charges import Charge
    from sandbox.work import Work


def bill(work: Work, subscription: Json, outcome: Outcome, *, auto_advance: bool = True) -> Json | None:
    """Keep what a change costs: prorations as invoice items, and a draft of what is billed at once, if anything is.

    Args:
        subscription: the stored one, as it is now.
    """
    # The newest come first on an invoice: what is given back before what is charged.
    for charge in reversed(outcome.prorations):
        item = charges.as_invoice_item(work, subscription, charge)
        if not charge.is_credit:
            charges.note_debit(subscription, charge, invoice_item=item["id"])
    if not outcome.is_billed_now:
        return None
    return new_invoice(work, subscription, outcome.charges, "subscription_update", auto_advance=auto_advance)


def new_invoice(
    work: Work, subscription: Json, lines_to_be: Sequence[Charge], reason: str, *,
    period: tuple[int, int] | None = None, auto_advance: bool = True,
) -> Json | None:  # fmt: skip
    """A draft with these lines and all that waits for the subscription's next invoice; None where that is nothing.

    Args:
        reason: the invoice's `billing_reason`.
        period: that of the invoice; this second where it is not given.
    """
    customer, currency = subscription["customer"], subscription["currency"]
    if not lines_to_be and not items.pending(work, customer, currency, subscription["id"]):
        return None
    made = [(charge, charges.as_line(work, subscription, charge)) for charge in lines_to_be]
    own = charges.discounts_on(work, subscription) if subscription["discounts"] else None
    settings = subscription["payment_settings"]
    invoice = draft.new_invoice(
        work, customer=customer, currency=currency, billing_reason=reason, lines=[line for _, line in made],
        period=period or (work.now, work.now), subscription=subscription["id"],
        collection_method=subscription["collection_method"], days_until_due=subscription["days_until_due"],
        auto_advance=auto_advance, discounts=None if own is None else [work.get("discount", id_) for id_ in own],
        on_behalf_of=subscription["on_behalf_of"], transfer_data=subscription["transfer_data"],
        application_fee_percent=subscription["application_fee_percent"],
        payment_settings={name: settings[name] for name in ("payment_method_options", "payment_method_types")},
    )  # fmt: skip
    for charge, line in made:
        charges.note_debit(subscription, charge, invoice=invoice["id"], line=line["id"])
    subscription["latest_invoice"] = invoice["id"]
    return invoice


def add_items(work: Work, subscription: Json, wanted: Sequence[Json] | None) -> None:
    """What else is to go on the next invoice (`add_invoice_items`).

    Raises: ApiError for a price that is recurring, or not in the subscription's currency.
    """
    start, end = work.now, bodies.period_end(subscription)
    for index, entry in enumerate(wanted or ()):
        param = f"add_invoice_items[{index}]"
        bodies.not_built_in(entry, "tax_rates", "discounts")
        quantity = 1 if entry.get("quantity") is None else entry["quantity"]
        price = entry.get("price")
        if entry.get("price_data"):
            price = subscribed.inline_price(work, entry["price_data"], f"{param}[price_data]")["id"]
        amount, _ = lines.priced_amount(work, price or "", subscription["currency"], quantity, f"{param}[price]")
        product = work.find("product", (work.any(price) or {}).get("product") or "") if price else None
        items.new_item(
            work, customer=subscription["customer"], currency=subscription["currency"], amount=amount,
            description=product["name"] if product is not None else None,
            period=_span(entry.get("period"), subscription, (start, end)), price=price, quantity=quantity,
            subscription=subscription["id"], discountable=entry.get("discountable", True),
            metadata=new_metadata(entry),
        )  # fmt: skip


def _span(wanted: Json | None, subscription: Json, default: tuple[int, int]) -> tuple[int, int]:
    if wanted is None:
        return default[0], default[0]
    starts = [item["current_period_start"] for item in bodies.items_of(subscription)]
    known = {"now": default[0], "max_item_period_start": max(starts), "min_item_period_end": default[1]}
    start = wanted["start"].get("timestamp") or known.get(wanted["start"]["type"], default[0])
    end = wanted["end"].get("timestamp") or known.get(wanted["end"]["type"], default[1])
    return bodies.moment(start, "add_invoice_items"), bodies.moment(end, "add_invoice_items")


def pay_in_an_hour(work: Work, invoice: Json) -> None:
    """Leave a draft alone for an hour, as Stripe does with what no request waits for."""
    draft.schedule_finalization(work, invoice, work.now + draft.HOUR)


def pay_now(work: Work, subscription: Json, invoice: Json, behavior: str, *, off_session: bool) -> bool:
    """Finalize a draft of this request's, and try to have it paid as `payment_behavior` says.

    Returns: whether it is paid, or as good as: nothing was due, a bill was sent, or a debit is under way.

    Raises: ApiError where there is nothing to pay with; card_error for `error_if_incomplete`, and nothing stays then.
    """
    if subscription["collection_method"] == "send_invoice":
        pay_in_an_hour(work, invoice)
        return True
    if subscription["pause_collection"] is not None:
        set_aside(work, subscription, invoice)
        return True
    finalize.finalize(work, invoice)
    if invoice["status"] == "paid":
        return True
    if behavior == "default_incomplete":
        return False
    if bodies.default_method(work, subscription) is None:
        raise no_method()
    try:
        collect.collect(work, invoice, off_session=off_session, raises=behavior == "error_if_incomplete")
    except ApiError as refusal:
        refusal.keeps_changes = False
        raise
    return invoice["status"] == "paid" or is_processing(work, invoice)


def pay_last(work: Work, subscription: Json, invoice: Json) -> None:
    """Finalize and collect the draft of a subscription that makes no more, whatever comes of it."""
    if subscription["collection_method"] == "send_invoice":
        pay_in_an_hour(work, invoice)
        return
    finalize.finalize(work, invoice)
    if invoice["status"] == "open":
        collect.collect(work, invoice)


def set_aside(work: Work, subscription: Json, invoice: Json) -> None:
    """Do with a draft what is to be done while collection is paused ("Pause payment collection")."""
    behavior = (subscription["pause_collection"] or {}).get("behavior")
    invoice["auto_advance"] = False
    if behavior == "keep_as_draft":
        return
    finalize.finalize(work, invoice)
    if invoice["status"] == "open":
        close.void(work, invoice) if behavior == "void" else close.mark_uncollectible(work, invoice)


def is_processing(work: Work, invoice: Json) -> bool:
    """Whether a bank has yet to answer a debit that pays the invoice."""
    intent = payments.default_intent(work, invoice)
    return intent is not None and intent["status"] == "processing"


def no_method() -> ApiError:
    """What Stripe says where there is nothing to pay with."""
    return ApiError(
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method. For more information, visit "
        "https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.",
        code="resource_missing",
    )  # fmt: skip


def drop_prorations(work: Work, subscription: Json) -> None:
    """Remove prorations that are on no invoice yet."""
    for item in items.pending(work, subscription["customer"], subscription["currency"], subscription["id"]):
        details = (item["parent"] or {}).get("subscription_details") or {}
        if item["proration"] and details.get("subscription") == subscription["id"]:
            work.emit("invoiceitem.deleted", item)
            work.remove("invoiceitem", item["id"])


def in_time(work: Work, subscription: Json) -> int:
    """Let a request happen in the time of the subscription's customer; which that is."""
    return clocks.enter(work, subscription["customer"])
