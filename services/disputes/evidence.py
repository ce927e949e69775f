"""Evidence that gathers itself: what Paydesk knows of a disputed payment, in the words and fields of Stripe.

Only what is known is said ("Dispute evidence", "Respond to disputes"): who the guest is, what was booked and for when,
what was paid and given back, the refund policy as the settings have it, and what the platform has noted.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import orjson

from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from models.disputes import Dispute
    from services.core import Services
    from settings import Settings

TEXT_MAX: Final = 20_000
"""Characters of one text ("Update a dispute", evidence)."""
TEXTS_MAX: Final = 150_000
"""Characters of all texts together."""
TEXTS: Final = (
    "access_activity_log", "billing_address", "cancellation_policy_disclosure", "cancellation_rebuttal",
    "customer_email_address", "customer_name", "customer_purchase_ip", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "refund_policy_disclosure", "refund_refusal_explanation",
    "service_date", "uncategorized_text",
)  # fmt: skip
"""The texts that can be given here; what is shipped has others."""

_KNOWN: Final = """
SELECT p.id, p.created_at, p.amount_minor, p.captured_minor, p.refunded_minor, p.currency, p.payment_method,
    p.stripe_charge_id, payer.name AS guest, payer.email, host.name AS host,
    a.title, a.starts_at, a.ends_at, a.canceled_at, r.quantity, r.status AS rsvp,
    plan.name AS plan, i.period_start, i.period_end,
    (SELECT min(t.stripe_created_at) FROM payment_attempts t WHERE t.payment_id = p.id AND t.status = 'succeeded')
        AS paid_at
FROM payments p JOIN users payer ON payer.id = p.payer_id LEFT JOIN users host ON host.id = p.host_id
LEFT JOIN activities a ON a.id = p.activity_id LEFT JOIN rsvps r ON r.id = p.rsvp_id
LEFT JOIN invoices i ON i.id = p.invoice_id LEFT JOIN subscriptions s ON s.id = p.subscription_id
LEFT JOIN plans plan ON plan.id = s.plan_id
WHERE p.id = ANY($1)
"""
_REFUNDS: Final = """
SELECT payment_id, amount_minor, currency, created_at, stripe_refund_id FROM refunds
WHERE payment_id = ANY($1) AND status = 'SUCCEEDED' ORDER BY id
"""
# For one who says that they paid twice: the other payment to the same host, who is shown it, and what it was for.
_OTHER: Final = """
SELECT DISTINCT ON (p.id) p.id, o.stripe_charge_id, o.created_at, o.captured_minor, o.currency, a.title FROM payments p
JOIN payments o ON o.payer_id = p.payer_id AND o.id <> p.id AND o.captured_minor > o.refunded_minor
    AND o.host_id IS NOT DISTINCT FROM p.host_id AND o.stripe_account = p.stripe_account
    AND o.stripe_charge_id IS NOT NULL
LEFT JOIN activities a ON a.id = o.activity_id
WHERE p.id = ANY($1)
ORDER BY p.id, o.activity_id IS NOT DISTINCT FROM p.activity_id DESC,
    abs(extract(epoch FROM o.created_at - p.created_at))
"""


async def gathered_evidence(services: Services, disputes: Sequence[Dispute]) -> dict[UUID, dict[str, str]]:
    """What is known of disputed payments, by the dispute's id and Stripe's names of the texts.

    Nothing is empty, or too long.
    """
    pool = services.database.pool
    payment_ids = [dispute.payment_id for dispute in disputes]
    known = {record["id"]: record for record in await pool.fetch(_KNOWN, payment_ids)}
    refunds: defaultdict[UUID, list[Any]] = defaultdict(list)
    for record in await pool.fetch(_REFUNDS, payment_ids):
        refunds[record["payment_id"]].append(record)
    twice = [dispute.payment_id for dispute in disputes if dispute.reason == "duplicate"]
    others = {record["id"]: record for record in await pool.fetch(_OTHER, twice)} if twice else {}
    return {
        dispute.id: _gathered(
            services.settings, dispute, known[dispute.payment_id], refunds[dispute.payment_id],
            others.get(dispute.payment_id) if dispute.reason == "duplicate" else None,
        )
        for dispute in disputes
    }  # fmt: skip


def _gathered(settings: Settings, dispute: Dispute, known: Any, refunds: list[Any], other: Any) -> dict[str, str]:
    evidence = {
        "customer_name": known["guest"],
        "customer_email_address": known["email"],
        "product_description": _product(known),
        "service_date": _service_date(known),
        "refund_refusal_explanation": _refusal(known, refunds),
        **_policy(settings),
        "uncategorized_text": _story(known, refunds, dispute),
    }
    if other is not None:
        evidence |= {"duplicate_charge_id": other["stripe_charge_id"], "duplicate_charge_explanation": _told(other)}
    return {name: text[:TEXT_MAX] for name, text in evidence.items() if text}


def _product(known: Mapping[str, Any]) -> str:
    if known["title"] is None:
        return f"The subscription “{known['plan']}”." if known["plan"] else ""
    return f"{_seats(known['quantity'])} of the activity “{known['title']}”, hosted by {known['host']}."


def _service_date(known: Mapping[str, Any]) -> str:
    if known["starts_at"] is not None:
        until = f" to {_at(known['ends_at'])}" if known["ends_at"] is not None else ""
        return f"{_at(known['starts_at'])}{until}"
    if known["period_start"] is None:
        return ""
    return f"{_on(known['period_start'])} to {_on(known['period_end'])}"


def _policy(settings: Settings) -> dict[str, str]:
    """What guests are told of refunds, as the platform says; it stands for cancellations, too."""
    parts = [settings.refund_policy, settings.refund_policy_url]
    text = "\n".join(part for part in parts if part)
    return {"refund_policy_disclosure": text, "cancellation_policy_disclosure": text}


def _refusal(known: Mapping[str, Any], refunds: list[Any]) -> str:
    given = sum(refund["amount_minor"] for refund in refunds)
    what = f"{Money(given, known['currency'])} of {_captured(known)}" if given else "Nothing"
    said = f"{what} was given back."
    if known["rsvp"] == "CONFIRMED":
        return f"{said} The guest has not canceled this booking."
    return said if given else ""


def _story(known: Mapping[str, Any], refunds: list[Any], dispute: Dispute) -> str:
    """The receipt and what happened after it, in order, and what the platform has noted."""
    happened: list[tuple[datetime, str]] = []
    what = known["title"] or known["plan"]
    if what is not None:
        happened.append((known["created_at"], f"{known['guest']} ordered “{what}” (payment {known['id']})."))
    if known["paid_at"] is not None:
        with_ = f" with {_method(known['payment_method'])}" if known["payment_method"] else ""
        happened.append((known["paid_at"], f"{_captured(known)} was paid{with_} (charge {known['stripe_charge_id']})."))
    for refund in refunds:
        amount = Money(refund["amount_minor"], refund["currency"])
        happened.append((refund["created_at"], f"{amount} was given back (refund {refund['stripe_refund_id']})."))
    if known["canceled_at"] is not None:
        happened.append((known["canceled_at"], "The activity was called off."))
    lines = [f"{_at(at)}: {text}" for at, text in sorted(happened, key=lambda entry: entry[0])]
    notes = [f"{note['at']}, {note['author']}: {note['text']}" for note in dispute.notes]
    if notes:
        lines += ["", "Messages and notes:", *notes]
    return "\n".join(lines)


def _told(other: Mapping[str, Any]) -> str:
    amount = Money(other["captured_minor"], other["currency"])
    for_ = f" for “{other['title']}”" if other["title"] else ""
    return (
        f"The other payment, of {amount} on {_at(other['created_at'])}{for_}, was made for an order of its own; this"
        " one does not replace it."
    )


def _captured(known: Mapping[str, Any]) -> str:
    return str(Money(known["captured_minor"], known["currency"]))


def _method(method: Any) -> str:
    """ "visa ending in 4242", as far as it is known."""
    method = orjson.loads(method)
    brand, last4 = method.get("brand") or method.get("type") or "a payment method", method.get("last4")
    return f"{brand} ending in {last4}" if last4 else str(brand)


def _seats(quantity: int | None) -> str:
    return "1 seat" if quantity in {None, 1} else f"{quantity} seats"


def _on(at: datetime) -> str:
    return f"{at.day} {at:%B %Y}"


def _at(at: datetime) -> str:
    return f"{at.day} {at:%B %Y, %H:%M} UTC"
