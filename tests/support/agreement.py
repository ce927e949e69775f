"""What must hold at every moment, and what must hold between Paydesk and Stripe once nothing is under way."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from models.money import Money
from models.payments import Payment, PaymentAttempt, PaymentStatus
from models.refunds import Refund
from models.rsvps import Rsvp, RsvpStatus
from services.ledger_check import check_ledger

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

# Where our status may stand for each of a payment intent's.
AGREES = {
    "requires_payment_method": {PaymentStatus.FAILED, PaymentStatus.PENDING},
    "requires_confirmation": {PaymentStatus.PENDING},
    "requires_action": {PaymentStatus.REQUIRES_ACTION},
    "processing": {PaymentStatus.PROCESSING},
    "requires_capture": {PaymentStatus.AUTHORIZED},
    "succeeded": {PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED},
    "canceled": {PaymentStatus.CANCELED},
}

_BREACHES = """
SELECT 'oversold: ' || seats_taken || ' of ' || capacity AS breach FROM activities WHERE seats_taken > capacity
UNION ALL
SELECT 'postings of ' || currency || ' sum to ' || sum(amount_minor) FROM ledger_postings GROUP BY currency
HAVING sum(amount_minor) <> 0
UNION ALL
SELECT 'payment out of bounds: ' || to_jsonb(p)::text FROM payments p
WHERE captured_minor NOT BETWEEN 0 AND amount_minor OR refunded_minor < 0 OR refund_pending_minor < 0
    OR refunded_minor + refund_pending_minor > captured_minor
    OR fee_refunded_minor NOT BETWEEN 0 AND platform_fee_minor
    OR platform_fee_minor + host_amount_minor <> CASE WHEN captured_minor > 0 THEN captured_minor ELSE amount_minor END
    OR (captured_minor > 0) <> (status IN ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED'))
UNION ALL
SELECT 'events of payment ' || p.id || ' at ' || p.version || ': ' || array_agg(e.version ORDER BY e.version)::text
FROM payments p LEFT JOIN events e ON e.subject_id = p.id GROUP BY p.id, p.version
HAVING array_agg(e.version ORDER BY e.version) <> (SELECT array_agg(v) FROM generate_series(1, p.version) v)
UNION ALL
SELECT 'event goes back: ' || id FROM (
    SELECT id, position, lag(position) OVER (PARTITION BY subject_id ORDER BY version) AS before FROM events
) e WHERE position < before
UNION ALL
SELECT 'RSVP of another mind: ' || r.status || ' while ' || p.status FROM rsvps r JOIN payments p ON p.rsvp_id = r.id
WHERE CASE
    WHEN p.status IN ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED') THEN r.status NOT IN ('CONFIRMED', 'CANCELED')
    WHEN p.status = 'CANCELED' THEN r.status NOT IN ('CANCELED', 'EXPIRED')
    ELSE r.status <> 'HELD' END
"""


async def assert_always(pool: Any, sandbox: Sandbox) -> None:
    """Of the ledger, the seats, every payment's amounts and events, and of Stripe: nobody pays or is paid twice."""
    async with pool.acquire() as connection:
        assert (await check_ledger(connection)).findings == []
    assert [record["breach"] for record in await pool.fetch(_BREACHES)] == []
    intents, charges, refunds = await asyncio.gather(
        *(sandbox.every(f"/v1/{kind}") for kind in ("payment_intents", "charges", "refunds"))
    )
    payment_of = {intent["id"]: intent["metadata"]["payment_id"] for intent in intents}
    live = Counter(payment_of[intent["id"]] for intent in intents if intent["status"] != "canceled")
    taken = Counter(payment_of[charge["payment_intent"]] for charge in charges if charge["status"] == "succeeded")
    given = Counter(refund["metadata"]["refund_id"] for refund in refunds if "refund_id" in refund["metadata"])
    for what, counted in {"intents": live, "charges": taken, "refunds": given}.items():
        assert {id_: count for id_, count in counted.items() if count > 1} == {}, what


async def assert_agreement(pool: Any, sandbox: Sandbox) -> None:
    """Of every payment, charge and refund between us and Stripe, and of operations and RSVPs, when all is at rest."""
    unfinished = await pool.fetch("SELECT kind, status, error FROM operations WHERE status IN ('RUNNING', 'PARKED')")
    assert unfinished == []
    unhandled = await pool.fetch(
        "SELECT type, last_error FROM webhook_events WHERE status NOT IN ('PROCESSED', 'IGNORED')"
    )
    assert unhandled == []
    kinds = ("payment_intents", "charges", "refunds", "application_fees", "transfers")
    intents, charges, refunds, fees, transfers = await asyncio.gather(*(sandbox.every(f"/v1/{kind}") for kind in kinds))
    payments = await Payment.all()
    by_intent = {payment.stripe_payment_intent_id: payment for payment in payments}
    assert {intent["id"] for intent in intents} == {id_ for id_ in by_intent if id_ is not None}
    for intent in intents:
        _assert_payment(by_intent[intent["id"]], intent)
    for payment in payments:
        if payment.stripe_payment_intent_id is None:
            assert payment.status is PaymentStatus.CANCELED
    assert {(a.stripe_charge_id, a.status) for a in await PaymentAttempt.all()} == {
        (charge["id"], charge["status"]) for charge in charges
    }
    await _assert_refunds(refunds, by_intent)
    await _assert_parts(pool, payments, fees, transfers)
    await _assert_rsvps(pool, payments)


def _assert_payment(payment: Payment, intent: dict[str, Any]) -> None:
    assert payment.status in AGREES[intent["status"]], (payment.status, intent["status"])
    assert payment.amount.wire == intent["amount"]
    assert payment.captured.wire == intent["amount_received"]
    if payment.status is PaymentStatus.FAILED:
        assert payment.failure_code == intent["last_payment_error"]["code"]


async def _assert_refunds(theirs: list[dict[str, Any]], by_intent: dict[Any, Payment]) -> None:
    # What was authorized and let go is listed among the refunds, too; it moves no balance.
    theirs = [refund for refund in theirs if refund["balance_transaction"]]
    ours = await Refund.filter(stripe_refund_id__not_isnull=True)
    assert {(r.stripe_refund_id, r.payment_id, r.amount.wire, r.status.value.lower()) for r in ours} == {
        (r["id"], by_intent[r["payment_intent"]].id, r["amount"], r["status"]) for r in theirs
    }
    sums: defaultdict[tuple[Any, str], int] = defaultdict(int)
    for refund in theirs:
        sums[by_intent[refund["payment_intent"]].id, refund["status"]] += refund["amount"]
    for payment in by_intent.values():
        assert payment.refunded.wire == sums[payment.id, "succeeded"]
        assert Money(payment.refund_pending_minor, payment.currency).wire == sums[payment.id, "pending"]
    never_made = await Refund.filter(stripe_refund_id=None)
    assert {refund.status.value for refund in never_made} <= {"FAILED"}


async def _assert_parts(
    pool: Any, payments: list[Payment], fees: list[dict[str, Any]], transfers: list[dict[str, Any]]
) -> None:
    """What the platform and the host have of each captured payment, by its refunds and by the ledger too.

    Of what was paid in another currency than it is transferred in, only that there is a transfer.
    """
    fee_of = {fee["originating_transaction"]: fee for fee in fees}
    transfer_of = {transfer["source_transaction"]: transfer for transfer in transfers}
    pots = await pool.fetch(
        """
        SELECT t.payment_id, a.kind, sum(p.amount_minor)::bigint AS minor FROM ledger_postings p
        JOIN ledger_transactions t ON t.id = p.transaction_id JOIN ledger_accounts a ON a.id = p.account_id
        GROUP BY 1, 2
        """
    )
    held = {(pot["payment_id"], pot["kind"]): pot["minor"] for pot in pots}
    for payment in payments:
        if not payment.captured_minor:
            continue
        transfer = transfer_of[payment.stripe_charge_id]
        if transfer["currency"] != payment.currency.lower():
            continue
        fee = fee_of.get(payment.stripe_charge_id) or {"amount": 0, "amount_refunded": 0}
        refunds = await Refund.filter(payment_id=payment.id)
        assert (payment.platform_fee.wire, payment.captured.wire) == (fee["amount"], transfer["amount"])
        assert sum(refund.application_fee_refunded_minor for refund in refunds) == fee["amount_refunded"]
        assert sum(refund.transfer_reversed_minor for refund in refunds) == transfer["amount_reversed"]
        left = transfer["amount"] - transfer["amount_reversed"] - fee["amount"] + fee["amount_refunded"]
        assert held.get((payment.id, "HOST_BALANCE"), 0) == left


async def _assert_rsvps(pool: Any, payments: list[Payment]) -> None:
    rsvps: dict[Any, Rsvp] = {rsvp.id: rsvp for rsvp in await Rsvp.all()}
    given_up = {record["subject_id"] for record in await pool.fetch(
        "SELECT subject_id FROM audit_entries WHERE action = 'rsvp.canceled'"
    )}  # fmt: skip
    for payment in payments:
        rsvp = rsvps[payment.rsvp_id]
        confirmed = payment.status.is_captured and rsvp.id not in given_up
        assert (rsvp.status is RsvpStatus.CONFIRMED) == confirmed, (rsvp.status, payment.status)
