"""Settle: apply what Stripe says of payment intents, whoever heard it first, for many payments in one transaction.

Applying the same facts again changes nothing, and an older state never overwrites a newer one: a final state wins over
any other, and a passing one is believed only where nothing has changed since it was asked for (`seen_version`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from models.activities import PayoutTiming
from models.base import from_record, new_id, new_row
from models.operations import Operation
from models.payments import Payment, PaymentAllocation, PaymentAttempt, PaymentStatus
from models.rsvps import Rsvp, RsvpStatus
from models.sets import Writes, from_joined, joined_columns
from services.changes import ChangeSet
from services.ledger import LedgerBatch
from services.operations import Answer, Ended, add_answers, add_ends
from services.payments.captures import take_in
from services.payments.history import record_change, snapshot
from services.transfers.times import release_times

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from services.errors import DomainError
    from services.payments.facts import ChargeFacts, IntentFacts
    from settings import Settings

_CHANGED = (
    "status", "version", "position", "captured_minor", "refunded_minor", "platform_fee_minor", "host_amount_minor",
    "settlement_currency", "settlement_minor", "settlement_exchange_rate", "balance_transaction_id",
    "host_credit_currency", "host_credit_minor", "fee_credit_currency", "fee_credit_minor", "capture_before",
    "stripe_payment_intent_id", "stripe_charge_id", "client_secret", "next_action", "payment_method",
    "failure_code", "failure_decline_code", "failure_message", "failure_retryable", "next_attempt_at",
)  # fmt: skip

_LOCK = """
SELECT p.*, pg_current_xact_id()::text::bigint AS xid, now() AS now FROM payments p
WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE
"""
_RELEASE = """
UPDATE activities a SET seats_taken = a.seats_taken - v.seats, updated_at = now()
FROM (SELECT id, sum(seats)::int AS seats FROM unnest($1::uuid[], $2::int[]) AS r(id, seats) GROUP BY id) AS v
WHERE a.id = v.id
"""


@dataclass(frozen=True, slots=True)
class OperationEnd:
    """The operation that a settlement ends: the answers to its steps, and its recorded error."""

    operation_id: UUID
    answers: Sequence[tuple[str, Answer]]
    error: DomainError | None = None


@dataclass(frozen=True, slots=True)
class IntentSettlement:
    """Facts about one payment; none where Stripe never made a payment intent for it, and never will."""

    payment_id: UUID
    facts: IntentFacts | None
    actor: str
    seen_version: int
    """The payment's version before Stripe was asked: a passing state is stale where it has moved on since."""
    ends: OperationEnd | None = None
    next_attempt_at: datetime | None = None
    """When to try again by ourselves where this left the payment failed, if its seats are still held then."""
    cut_off: bool = False
    """Whether the intent is out of reach for good, so that what is unpaid stays so: its host cut the platform off."""


@dataclass(frozen=True, slots=True)
class SettledPayment:
    """The payment as it is now; `stale` where the facts were passed over and should be fetched again."""

    payment: Payment
    changed: bool
    stale: bool
    operation: Operation | None = None
    """The operation, where this settlement ended it."""

    @property
    def ended(self) -> Ended | None:
        """The operation and the payment as they are now, where this settlement ended it."""
        return None if self.operation is None else Ended(self.operation, self.payment)


class SettleIntents:
    """The batch of `services.settlements`."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self.settings = settings
        self.clock = clock

    async def __call__(
        self, connection: AnyConnection, items: Sequence[IntentSettlement]
    ) -> list[SettledPayment | Exception]:
        """Settle each in turn against the locked rows; several facts of one payment fold into one write."""
        batch = await self._locked(connection, items)
        outcomes = [batch.apply(item) for item in items]
        ends = [item.ends for item, outcome in zip(items, outcomes, strict=True) if item.ends and not outcome.stale]
        ended = await batch.write(connection, ends)
        return [
            replace(outcome, operation=ended.get(item.ends.operation_id)) if item.ends else outcome
            for item, outcome in zip(items, outcomes, strict=True)
        ]

    async def _locked(self, connection: AnyConnection, items: Sequence[IntentSettlement]) -> _Batch:
        ids = sorted({item.payment_id for item in items})
        ends = sorted(
            {item.payment_id for item in items if item.facts is None or item.facts.status is PaymentStatus.CANCELED}
        )
        if ends:
            # Activities are locked before payments, everywhere.
            await connection.execute(
                """
                SELECT FROM activities WHERE id IN (SELECT activity_id FROM payments WHERE id = ANY($1))
                ORDER BY id FOR NO KEY UPDATE
                """,
                ends,
            )
        payments = await connection.fetch(_LOCK, ids)
        # Read once the payments are locked: who held them may have changed these.
        theirs = await connection.fetch(_theirs(), ids)
        rsvps = (from_joined(Rsvp, record, "r") for record in theirs)
        allocations: dict[UUID, list[PaymentAllocation]] = {}
        for record in theirs:
            allocation = from_joined(PaymentAllocation, record, "a")
            if allocation is not None:
                allocations.setdefault(allocation.payment_id, []).append(allocation)
        later = [record["id"] for record in payments if record["payout_timing"] == PayoutTiming.AFTER_ACTIVITY]
        now = self.clock()
        return _Batch(
            now,
            timedelta(seconds=self.settings.hold_s),
            payments[0]["xid"],
            {record["id"]: from_record(Payment, record) for record in payments},
            {rsvp.id: rsvp for rsvp in rsvps if rsvp is not None},
            allocations,
            await release_times(connection, self.settings, later, now) if later else {},
            written_at=payments[0]["now"],
        )


@cache
def _theirs() -> str:
    return f"""
    SELECT {joined_columns(Rsvp, "r")}, {joined_columns(PaymentAllocation, "a")} FROM payments p
    LEFT JOIN rsvps r ON r.id = p.rsvp_id LEFT JOIN payment_allocations a ON a.payment_id = p.id
    WHERE p.id = ANY($1)
    """


class _Batch:
    """The locked rows of one batch, and what it changes of them."""

    def __init__(
        self,
        now: datetime,
        hold: timedelta,
        xid: int,
        payments: dict[UUID, Payment],
        rsvps: dict[UUID, Rsvp],
        allocations: dict[UUID, list[PaymentAllocation]],
        releases: dict[UUID, datetime],
        *,
        written_at: datetime,
    ) -> None:
        self.now = now
        self.written_at = written_at
        self.hold = hold
        self.payments = payments
        self.rsvps = rsvps
        self.allocations = allocations
        self.releases = releases
        self.changes = ChangeSet("stripe", xid)
        self.ledger = LedgerBatch()
        self.touched: dict[UUID, Payment] = {}
        self.touched_rsvps: dict[UUID, Rsvp] = {}
        self.touched_allocations: dict[UUID, PaymentAllocation] = {}
        self.attempts: dict[str, PaymentAttempt] = {}
        self.released: list[Rsvp] = []

    def apply(self, item: IntentSettlement) -> SettledPayment:
        """Apply one set of facts."""
        payment = self.payments[item.payment_id]
        before, columns = snapshot(payment), _columns(payment)
        status = self._next_status(payment, item)
        if status is None:
            return SettledPayment(payment, changed=False, stale=True)
        facts = item.facts
        if facts is not None and (facts.status is status or payment.stripe_payment_intent_id is None):
            self._take_over(payment, facts)
        if status is not payment.status:
            self._move(payment, status, item)
        elif facts is not None and facts.charge is not None and payment.status.is_captured:
            self._settlement(payment, facts.charge)
        self._schedule(payment, item)
        changed = snapshot(payment) != before
        if changed:
            record_change(self.changes, payment, f"payment.{status.value.lower()}", before, actor=item.actor)
        if _columns(payment) != columns:
            payment.updated_at = self.written_at
            self.touched[payment.id] = payment
        return SettledPayment(payment, changed=changed, stale=False)

    def _next_status(self, payment: Payment, item: IntentSettlement) -> PaymentStatus | None:
        """The status that follows from the facts; None where they are stale."""
        if item.facts is None:
            never_paid = payment.stripe_payment_intent_id is None or item.cut_off
            return PaymentStatus.CANCELED if never_paid and payment.status.can_be_canceled else payment.status
        new = item.facts.status
        if payment.status.is_final or new is payment.status:
            return payment.status
        if new.is_final or new is PaymentStatus.AUTHORIZED:
            return new
        if payment.version != item.seen_version:
            return None
        return new if payment.status.may_become(new) else payment.status

    def _take_over(self, payment: Payment, facts: IntentFacts) -> None:
        """What does not depend on the move: ids, secrets, the method, the last failure."""
        payment.stripe_payment_intent_id = facts.id
        payment.client_secret = facts.client_secret or payment.client_secret
        payment.next_action = facts.next_action if facts.status is PaymentStatus.REQUIRES_ACTION else None
        failure = facts.failure
        payment.failure_code = failure.code if failure else None
        payment.failure_decline_code = failure.decline_code if failure else None
        payment.failure_message = failure.message if failure else None
        payment.failure_retryable = failure.retryable if failure else None
        if facts.charge_id is not None:
            payment.stripe_charge_id = facts.charge_id
        charge = facts.charge
        if charge is None:
            return
        payment.payment_method = charge.payment_method or payment.payment_method
        payment.capture_before = charge.capture_before
        self.attempts[charge.id] = attempt_of(payment, charge, failure.decline_code if failure else None)

    def _move(self, payment: Payment, status: PaymentStatus, item: IntentSettlement) -> None:
        was = payment.status
        payment.status = status
        facts = item.facts
        if status.is_captured and facts is not None:
            allocations = self.allocations.get(payment.id, [])
            release_at = self.releases.get(payment.id, self.now)
            take_in(payment, allocations, facts, self.ledger, now=self.now, release_at=release_at)
            self.touched_allocations.update({allocation.id: allocation for allocation in allocations})
            if facts.charge is not None:
                self._settlement(payment, facts.charge)
        rsvp = self.rsvps.get(payment.rsvp_id) if payment.rsvp_id else None
        if rsvp is None:
            return
        if status.is_captured:
            rsvp.status, rsvp.hold_expires_at = RsvpStatus.CONFIRMED, None
        elif status is PaymentStatus.CANCELED:
            ran_out = facts is not None and facts.ran_out
            self._give_back(rsvp, RsvpStatus.EXPIRED if ran_out else RsvpStatus.CANCELED)
        elif status is PaymentStatus.PROCESSING:
            rsvp.hold_expires_at = None
        elif status is PaymentStatus.AUTHORIZED:
            rsvp.hold_expires_at = payment.capture_before
        elif was is PaymentStatus.PROCESSING:
            # The bank said no after days: the guest gets a fresh hold to try another way.
            rsvp.hold_expires_at = self.now + self.hold
        self.touched_rsvps[rsvp.id] = rsvp

    def _schedule(self, payment: Payment, item: IntentSettlement) -> None:
        """Say when a payment is tried again by itself: while it has failed and its seats are held, and else never."""
        if payment.status is not PaymentStatus.FAILED:
            payment.next_attempt_at = None
        elif item.next_attempt_at is not None:
            rsvp = self.rsvps.get(payment.rsvp_id) if payment.rsvp_id else None
            held_until = rsvp.hold_expires_at if rsvp else None
            is_held = held_until is not None and item.next_attempt_at < held_until
            payment.next_attempt_at = item.next_attempt_at if is_held else None

    def _give_back(self, rsvp: Rsvp, status: RsvpStatus) -> None:
        if rsvp.status.takes_seats:
            self.released.append(rsvp)
        rsvp.status, rsvp.hold_expires_at = status, None

    def _settlement(self, payment: Payment, charge: ChargeFacts) -> None:
        """What Stripe credited, once its balance transactions are there."""
        balance = charge.balance
        if balance is not None and payment.balance_transaction_id is None:
            payment.balance_transaction_id = balance.id
            payment.settlement_currency = balance.amount.currency
            payment.settlement_minor = balance.amount.minor
            payment.settlement_exchange_rate = balance.exchange_rate
        for allocation in self.allocations.get(payment.id, ()):
            if charge.transfer_id not in {None, allocation.stripe_transfer_id}:
                allocation.stripe_transfer_id = charge.transfer_id
                self.touched_allocations[allocation.id] = allocation
        if charge.transfer_amount is not None:
            payment.host_credit_currency = charge.transfer_amount.currency
            payment.host_credit_minor = charge.transfer_amount.minor
        if charge.application_fee is not None:
            payment.fee_credit_currency = charge.application_fee.currency
            payment.fee_credit_minor = charge.application_fee.minor

    async def write(self, connection: AnyConnection, ends: Sequence[OperationEnd]) -> dict[UUID, Operation]:
        """Write what changed, and end these operations, in one statement; those that ended now, by id."""
        writes = Writes()
        if self.released:
            writes.add(
                "released", _RELEASE, [rsvp.activity_id for rsvp in self.released],
                [rsvp.quantity for rsvp in self.released],
            )  # fmt: skip
        writes.update(Payment, list(self.touched.values()), _CHANGED)
        writes.update(Rsvp, list(self.touched_rsvps.values()), ("status", "hold_expires_at"))
        writes.update(
            PaymentAllocation, list(self.touched_allocations.values()),
            ("amount_minor", "transferred_minor", "stripe_transfer_id", "owed_minor", "release_at"),
        )  # fmt: skip
        attempts = sorted(self.attempts.values(), key=lambda attempt: attempt.stripe_charge_id)
        writes.insert(
            PaymentAttempt, attempts,
            conflict="ON CONFLICT (stripe_charge_id) DO UPDATE SET status = excluded.status,"
            " failure_code = excluded.failure_code, decline_code = excluded.decline_code",
        )  # fmt: skip
        self.ledger.add_to(writes)
        self.changes.add_to(writes)
        if not ends:
            await writes.run(connection)
            return {}
        add_answers(writes, [(end.operation_id, step, answer) for end in ends for step, answer in end.answers])
        errors = {end.operation_id: end.error for end in ends if end.error is not None}
        add_ends(writes, [end.operation_id for end in ends], errors=errors)
        records = await writes.run(connection, "SELECT * FROM ended")
        return {record["id"]: from_record(Operation, record) for record in records}


def _columns(payment: Payment) -> tuple[Any, ...]:
    return tuple(getattr(payment, name) for name in _CHANGED)


def attempt_of(payment: Payment, charge: ChargeFacts, decline_code: str | None = None) -> PaymentAttempt:
    """The row of one of Stripe's charges."""
    return new_row(
        PaymentAttempt,
        id=new_id(), payment_id=payment.id, stripe_charge_id=charge.id, status=charge.status,
        amount_minor=charge.amount.minor, currency=charge.amount.currency, payment_method=charge.payment_method,
        failure_code=charge.failure_code, decline_code=charge.decline_code or decline_code,
        stripe_created_at=charge.created_at,
    )  # fmt: skip
