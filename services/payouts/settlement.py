"""Settling payouts: what Stripe says of one becomes its row, its event and its movements of money.

A payout can fail for days after it was paid ("Payouts", failed payouts). An older state never overwrites a newer one,
and each movement is posted once, whatever came in first: out of the balance, into the bank, back into the balance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from models.base import from_record, new_id
from models.events import EventSubject
from models.ledger import LedgerTransactionKind
from models.payouts import Payout, PayoutStatus
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.ledger import PLATFORM, LedgerBatch, bank, host_balance, payouts_in_transit
from services.operations import finish, record_answers

if TYPE_CHECKING:
    from datetime import datetime

    from models.connect_accounts import ConnectAccount
    from models.operations import Operation
    from models.sets import AnyConnection
    from services.core import Services
    from services.errors import DomainError
    from services.operations import Answers
    from services.payouts.facts import PayoutFacts

_COLUMNS = (
    "stripe_payout_id", "status", "arrival_date", "failure_code", "failure_message", "fee_minor", "destination",
    "balance_transaction_id", "failure_balance_transaction_id", "stripe_created_at", "version", "position",
)  # fmt: skip
_LOCK = "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payouts p WHERE {} FOR NO KEY UPDATE"


def snapshot(payout: Payout) -> dict[str, Any]:
    """What of a payout can change, and how much it is."""
    return {
        "status": payout.status.value,
        "stripe_payout_id": payout.stripe_payout_id,
        "amount_minor": payout.amount_minor,
        "currency": payout.currency,
        "instant": payout.instant,
        "automatic": payout.automatic,
        "arrival_date": None if payout.arrival_date is None else payout.arrival_date.isoformat(),
        "failure_code": payout.failure_code,
    }


def record_creation(changes: ChangeSet, payout: Payout, account: ConnectAccount | None) -> None:
    """Record a payout that is new here."""
    after = snapshot(payout)
    changes.record(
        EventSubject.PAYOUT, payout, "payout.requested" if payout.stripe_payout_id is None else "payout.seen",
        previous_status=None, status=after["status"], before=None, after=after,
        host_id=None if account is None else account.user_id,
    )  # fmt: skip


async def settle_payout(
    services: Services,
    account: ConnectAccount | None,
    facts: PayoutFacts,
    *,
    actor: str,
    operation: Operation | None = None,
    answers: Answers | None = None,
) -> Payout:
    """Apply facts to a payout of an account (None: of the platform) in one transaction, which also ends the operation
    that made it.

    One that was made at Stripe, by a schedule or in a dashboard, comes in this way.
    """
    async with services.database.transaction() as connection:
        xid: int = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        changes = ChangeSet(actor, xid)
        payout = await _lock(connection, account, facts, operation)
        if payout is None:
            payout = await _take_in(connection, account, facts, changes)
        if payout is None:  # somebody else has taken it in meanwhile
            payout = await _lock(connection, account, facts, operation)
            assert payout is not None
        before = snapshot(payout)
        if _is_news(payout, facts):
            _apply(payout, facts)
            if snapshot(payout) != before:
                _record(changes, payout, account, before)
            await update_rows(connection, Payout, [payout], _COLUMNS)
        await _post(connection, payout, account, facts, services.clock())
        await changes.write(connection)
        if operation is not None and answers is not None:
            await _end(connection, operation, answers, None)
    services.live.wake()
    return payout


async def refuse_payout(
    services: Services, account: ConnectAccount, operation: Operation, answers: Answers, *, code: str,
    error: DomainError,
) -> None:  # fmt: skip
    """End a payout that Stripe refused to make, and its operation: nothing has left the balance."""
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_LOCK.format("id = $1"), operation.subject_id)
        if record is None:
            raise LookupError(f"no payout {operation.subject_id}")
        payout = from_record(Payout, record)
        if payout.status is PayoutStatus.PENDING and payout.stripe_payout_id is None:
            changes = ChangeSet(operation.caller, record["xid"])
            before = snapshot(payout)
            payout.status = PayoutStatus.FAILED
            payout.failure_code = code
            _record(changes, payout, account, before)
            await update_rows(connection, Payout, [payout], ("status", "failure_code", "version", "position"))
            await changes.write(connection)
        await _end(connection, operation, answers, error)
    services.live.wake()


async def _end(
    connection: AnyConnection, operation: Operation, answers: Answers, error: DomainError | None
) -> None:
    await record_answers(connection, [(operation.id, name, answer) for name, answer in answers.by_step.items()])
    await finish(connection, [operation.id], errors={operation.id: error} if error else None)


async def _lock(
    connection: AnyConnection, account: ConnectAccount | None, facts: PayoutFacts, operation: Operation | None
) -> Payout | None:
    """The payout's locked row: by Stripe's id, or the one that asked for it, where Stripe's answer is not in yet."""
    stripe_account = "" if account is None else account.stripe_account_id or ""
    record = await connection.fetchrow(
        _LOCK.format("stripe_payout_id = $1 AND stripe_account = $2"), facts.id, stripe_account
    )
    asked_by = operation.subject_id if operation is not None else _parsed(facts.our_id)
    if record is None and asked_by is not None:
        # The metadata is the host's to write: it can only mean a payout of this very account, and of this amount.
        record = await connection.fetchrow(
            _LOCK.format(
                "id = $1 AND stripe_account = $2 AND amount_minor = $3 AND currency = $4 AND status = 'PENDING'"
                " AND (stripe_payout_id IS NULL OR stripe_payout_id = $5)"
            ),
            asked_by, stripe_account, facts.amount.minor, facts.amount.currency, facts.id,
        )  # fmt: skip
    return None if record is None else from_record(Payout, record)


def _parsed(id_: str | None) -> UUID | None:
    try:
        return None if id_ is None else UUID(id_)
    except ValueError:
        return None


async def _take_in(
    connection: AnyConnection, account: ConnectAccount | None, facts: PayoutFacts, changes: ChangeSet
) -> Payout | None:
    """Make the row of a payout that was made at Stripe; None where it has one meanwhile."""
    payout = Payout(
        id=new_id(), connect_account_id=None if account is None else account.id,
        stripe_account="" if account is None else account.stripe_account_id, stripe_payout_id=facts.id,
        amount_minor=facts.amount.minor, currency=facts.amount.currency, status=facts.status, instant=facts.instant,
        automatic=facts.automatic, requested_by="stripe",
    )  # fmt: skip
    _apply(payout, facts)
    news = ChangeSet(changes.actor, changes.xid)
    record_creation(news, payout, account)
    made = await insert_rows(
        connection, Payout, [payout], conflict="ON CONFLICT (stripe_payout_id) DO NOTHING RETURNING id"
    )
    if not made:
        return None
    changes.events += news.events
    changes.entries += news.entries
    return payout


def _is_news(payout: Payout, facts: PayoutFacts) -> bool:
    """Whether the facts are no older than what is known: of the same state the later word counts."""
    return payout.status is facts.status or payout.status.may_become(facts.status)


def _apply(payout: Payout, facts: PayoutFacts) -> None:
    payout.stripe_payout_id = facts.id
    payout.status = facts.status
    payout.arrival_date = facts.arrival_date
    payout.failure_code = facts.failure_code
    payout.failure_message = facts.failure_message
    payout.balance_transaction_id = facts.balance_transaction_id
    payout.failure_balance_transaction_id = facts.failure_balance_transaction_id
    payout.stripe_created_at = facts.created_at
    if facts.fee is not None:
        payout.fee_minor = facts.fee.minor
    if facts.destination is not None:
        payout.destination = facts.destination


def _record(changes: ChangeSet, payout: Payout, account: ConnectAccount | None, before: dict[str, Any]) -> None:
    changes.record(
        EventSubject.PAYOUT, payout, f"payout.{payout.status.value.lower()}", previous_status=before["status"],
        status=payout.status.value, before=before, after=snapshot(payout),
        host_id=None if account is None else account.user_id,
    )  # fmt: skip


async def _post(
    connection: AnyConnection, payout: Payout, account: ConnectAccount | None, facts: PayoutFacts, now: datetime
) -> None:
    """Post what of its movements has not been posted yet."""
    owner = None if account is None else account.user_id
    here = PLATFORM if owner is None else host_balance(owner)
    transit, there, amount = payouts_in_transit(owner), bank(owner), payout.amount
    made, paid, returned = (f"{cause}:{facts.id}" for cause in ("payout", "payout_paid", "payout_failed"))
    records = await connection.fetch(
        "SELECT reference FROM ledger_transactions WHERE reference = ANY($1)", [made, paid, returned]
    )
    posted = {record["reference"] for record in records}
    ledger = LedgerBatch()
    common: dict[str, Any] = {
        "payment_id": None, "stripe_object_id": facts.id, "stripe_account": payout.stripe_account,
    }  # fmt: skip
    if made not in posted:
        ledger.move(
            LedgerTransactionKind.PAYOUT, made, [(here, -amount), (transit, amount)],
            occurred_at=facts.created_at, **common,
        )  # fmt: skip
    if payout.status is PayoutStatus.PAID and paid not in posted:
        arrived = min(payout.arrival_date or now, now)
        ledger.move(
            LedgerTransactionKind.PAYOUT_PAID, paid, [(transit, -amount), (there, amount)],
            occurred_at=max(arrived, facts.created_at), **common,
        )  # fmt: skip
    if payout.status in {PayoutStatus.FAILED, PayoutStatus.CANCELED} and returned not in posted:
        source = there if paid in posted else transit
        ledger.move(
            LedgerTransactionKind.PAYOUT_FAILED, returned, [(source, -amount), (here, amount)],
            occurred_at=facts.failed_at or facts.created_at, **common,
        )  # fmt: skip
    await ledger.write(connection)
