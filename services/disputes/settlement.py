"""Settling disputes: apply one as Stripe has it now, post what it moved, and derive what it holds of its payment.

Events of a dispute overtake one another, a dispute can be decided more than once, and its money moves at other times
than its status. So none is believed for what it says: the dispute is fetched, and everything follows from its status
and its balance transactions as they are then. What was fetched before another change was settled is fetched again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.base import from_record, new_id
from models.disputes import Dispute
from models.money import Money
from models.payments import ChargeModel, Payment
from models.refunds import Refund
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.dispute_requests import retrieve_dispute
from services.disputes.facts import DisputeFacts
from services.disputes.funds import Borne, Funds, Posted, bearers_of
from services.disputes.history import record_change, snapshot
from services.disputes.hosts import give_again, take_back, taken_of
from services.errors import OperationInProgress, StripeUnavailable
from services.ledger import LedgerBatch
from services.operations import finish, record_answers
from services.payments import history as payment_history
from services.stripe_gateway import Priority
from services.transfers.take_back import taken_by_allocation
from services.transfers.times import look_at_payment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.errors import DomainError
    from services.operations import Answers, Reserved

_STALE_TRIES: Final = 5
_RETRY_AFTER_S: Final = 2
_LOCK: Final = """
SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE
"""
_COLUMNS: Final = (
    "status", "reason", "network_reason_code", "amount_minor", "withdrawn_minor", "fee_minor", "host_minor",
    "evidence_due_by", "evidence", "submission_count", "is_charge_refundable", "closed_at", "version", "position",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ending:
    """The operation that a settlement ends: the answers to its steps, its recorded error, and what else it writes."""

    operation: Operation
    answers: Answers
    error: DomainError | None
    write: Callable[[AnyConnection, Dispute], Awaitable[None]] | None = None


class _StaleError(Exception):
    """Something else was settled since Stripe was asked."""


async def settle_dispute(
    services: Services, payment: Payment, stripe_dispute_id: str, *, actor: str, ends: Ending | None = None
) -> Dispute:
    """Fetch a dispute of a payment and settle it as it is now; a new one comes in this way.

    Where it was lost, the operation that takes the hosts' part back is reserved in the same transaction, and run.

    Raises: StripeError where Stripe cannot be reached; OperationInProgress where the hosts' part cannot be taken back
        yet: all else is settled then, unless there is an operation to end, which goes on by itself.
    """
    for _ in range(_STALE_TRIES):
        seen: int = await services.database.pool.fetchval(
            "SELECT coalesce(max(version), 0) FROM disputes WHERE stripe_dispute_id = $1", stripe_dispute_id
        )
        request = retrieve_dispute(stripe_dispute_id, stripe_account=payment.stripe_account)
        facts = DisputeFacts.parse((await services.stripe.send(request, priority=Priority.BACKGROUND)).body)
        settling = _Settling(services, payment.id, facts, actor, ends)
        try:
            dispute = await settling.run(seen)
        except _StaleError:
            continue
        services.live.wake()
        await _go_on(services, settling.begun)
        if settling.waits:
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        return dispute
    raise RuntimeError(f"dispute {stripe_dispute_id} kept changing while it was settled")


async def _go_on(services: Services, begun: Reserved | None) -> None:
    """Run what was reserved; where Stripe is away, its recovery does."""
    if begun is not None:
        with suppress(StripeUnavailable, OperationInProgress):
            await services.operations.end(services, begun)


class _Settling:
    """One settlement: the locked rows, and what it writes."""

    def __init__(
        self, services: Services, payment_id: UUID, facts: DisputeFacts, actor: str, ends: Ending | None
    ) -> None:
        self._services = services
        self._payment_id = payment_id
        self._facts = facts
        self._actor = actor
        self._ends = ends
        self._ledger = LedgerBatch()
        self.begun: Reserved | None = None
        self.waits = False
        """Whether the hosts' part is still to be taken back."""

    async def run(self, seen: int) -> Dispute:
        """Settle in one transaction.

        Args:
            seen: the dispute's version before Stripe was asked, 0 where there was none.

        Raises: _StaleError.
        """
        async with self._services.database.transaction() as connection:
            record: Any = await connection.fetchrow(_LOCK, self._payment_id)
            payment, xid = from_record(Payment, record), record["xid"]
            rows = await connection.fetch("SELECT * FROM disputes WHERE payment_id = $1 ORDER BY id", payment.id)
            disputes = [from_record(Dispute, row) for row in rows]
            known = next((one for one in disputes if one.stripe_dispute_id == self._facts.id), None)
            if (known.version if known else 0) != seen:
                raise _StaleError
            dispute = known or _new(payment, self._facts)
            before = None if known is None else snapshot(known)
            others = [one for one in disputes if one is not dispute]
            await self._apply(connection, payment, dispute, others)
            changes = ChangeSet(self._actor, xid)
            await self._write(connection, payment, dispute, others, before, changes)
            if self._ends is not None:
                await self._end(connection, dispute, self._ends)
        return dispute

    async def _apply(
        self, connection: AnyConnection, payment: Payment, dispute: Dispute, others: list[Dispute]
    ) -> None:
        facts, now = self._facts, self._services.clock()
        posted = await Posted.read(connection, facts.id)
        currency = facts.amount.currency
        # Of what has been done before the ledger and the operations are believed, not the row, which they restore.
        hosts = Money(sum((await taken_of(connection, facts.id)).values()), currency)
        borne = Borne(Money(posted.given, currency), Money(posted.fee, currency), hosts)
        funds = Funds(payment, facts, posted, self._ledger, now)
        held = funds.withdraw()
        _take_over(dispute, facts, held, now)
        funds.give(held)
        records = await connection.fetch("SELECT * FROM refunds WHERE payment_id = $1", payment.id)
        refunds = [from_record(Refund, record) for record in records]
        fee, host = bearers_of(payment, dispute, refunds, others, held=held, before=borne)
        funds.give_up_fee(fee)
        dispute.fee_minor = fee.minor
        dispute.host_minor = await self._charge_hosts(connection, payment, dispute, hosts, host)

    async def _charge_hosts(
        self, connection: AnyConnection, payment: Payment, dispute: Dispute, taken: Money, due: Money
    ) -> int:
        """Let the hosts bear so much of it: take the difference back, or give it again; what they bear then."""
        more = due - taken
        if payment.charge_model in {ChargeModel.DIRECT, ChargeModel.PLATFORM}:
            return due.minor
        if more.minor < 0:
            await give_again(connection, payment, dispute, -more, self._ledger, self._services.clock())
            return due.minor
        if more:
            try:
                async with connection.transaction():
                    self.begun = await take_back(self._services, connection, payment, dispute, more)
            except OperationInProgress:
                if self._ends is not None:
                    raise
                self.waits = True
        begun = {} if self.begun is None else taken_by_allocation(self.begun.claimed.operation)
        return taken.minor + sum(begun.values())

    async def _write(
        self,
        connection: AnyConnection,
        payment: Payment,
        dispute: Dispute,
        others: list[Dispute],
        before: dict[str, Any] | None,
        changes: ChangeSet,
    ) -> None:
        if snapshot(dispute) != before:
            record_change(changes, dispute, payment, f"dispute.{dispute.status.value.lower()}", before)
            if before is None:
                await insert_rows(connection, Dispute, [dispute])
            else:
                await update_rows(connection, Dispute, [dispute], _COLUMNS)
        payment_before = payment_history.snapshot(payment)
        payment.disputed_minor = sum(one.holds.minor for one in [*others, dispute])
        if payment_history.snapshot(payment) != payment_before:
            payment_history.record_change(changes, payment, "payment.disputed", payment_before)
            await update_rows(connection, Payment, [payment], ("disputed_minor", "version", "position"))
        if not dispute.status.is_open:
            await look_at_payment(connection, payment.id, self._services.clock())
        await self._ledger.write(connection)
        await changes.write(connection)

    async def _end(self, connection: AnyConnection, dispute: Dispute, ends: Ending) -> None:
        if ends.write is not None:
            await ends.write(connection, dispute)
        answers = ends.answers.by_step.items()
        await record_answers(connection, [(ends.operation.id, name, answer) for name, answer in answers])
        errors = {ends.operation.id: ends.error} if ends.error else None
        await finish(connection, [ends.operation.id], errors=errors)


def _new(payment: Payment, facts: DisputeFacts) -> Dispute:
    return Dispute(
        id=new_id(), payment_id=payment.id, stripe_dispute_id=facts.id, stripe_charge_id=facts.charge_id,
        stripe_account=payment.stripe_account, status=facts.status, reason=facts.reason,
        amount_minor=facts.amount.minor, currency=facts.amount.currency, stripe_created_at=facts.created_at,
    )  # fmt: skip


def _take_over(dispute: Dispute, facts: DisputeFacts, held: Money, now: datetime) -> None:
    dispute.status = facts.status
    dispute.reason = facts.reason
    dispute.network_reason_code = facts.network_reason_code
    dispute.amount_minor = facts.amount.minor
    dispute.withdrawn_minor = max(0, held.minor)
    dispute.evidence_due_by = facts.due_by
    dispute.evidence = facts.evidence
    dispute.submission_count = facts.submission_count
    dispute.is_charge_refundable = facts.is_charge_refundable
    dispute.closed_at = None if facts.status.is_open else dispute.closed_at or now
