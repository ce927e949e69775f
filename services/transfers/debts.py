"""What hosts owe the platform, and setting it off against what the platform owes them.

A host comes to owe where a refund or a lost dispute takes back what was sent, and Stripe does not reverse it. That is
an allocation whose `owed` is below zero, but for what may still come back by itself. What the host is due of another
payment in the same currency pays it: as though it were sent there, and given back here, which moves nothing at Stripe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.base import from_record, new_id
from models.ledger import LedgerTransactionKind
from models.money import Money
from models.payments import ChargeModel, Payment
from services.ledger import LedgerBatch, host_balance, host_owed
from services.transfers.holds import held, state_of
from services.transfers.parts import HostParts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services
    from services.transfers.parts import HostPart

# Of a direct charge that failed to be refunded the host keeps the fee until the next refund: that is no debt yet.
INDEBTED: Final = """
    FROM payment_allocations a JOIN payments p ON p.id = a.payment_id
    WHERE a.owed_minor < 0 AND p.charge_model <> 'DIRECT'
    AND NOT EXISTS (SELECT FROM transfers t WHERE t.allocation_id = a.id AND t.status = 'PLANNED')
"""
MINOR: Final = """
    -a.owed_minor - coalesce((SELECT sum(r.covers_minor) FROM transfer_reversals r
        WHERE r.allocation_id = a.id AND r.status = 'PLANNED'), 0)::bigint
"""
SINCE: Final = """
    coalesce((SELECT min(r.updated_at) FROM transfer_reversals r
        WHERE r.allocation_id = a.id AND r.status = 'REFUSED'), a.created_at)
"""
_DEBTS: Final = f"""
SELECT d.host_id, d.currency, sum(d.minor)::bigint AS minor, min(d.since) AS since,
    (array_agg(d.payment_id ORDER BY d.id))[1:100] AS payments
FROM (SELECT a.id, a.host_id, a.currency, a.payment_id, {MINOR} AS minor, {SINCE} AS since {INDEBTED}
    AND a.host_id = ANY($1)) d
WHERE d.minor > 0 GROUP BY d.host_id, d.currency ORDER BY d.host_id, d.currency
"""
DEBTS_AT_ONCE: Final = 50
"""Debts that are locked together: a host whose activity was called off can have thousands."""
_DEBTORS: Final = f"""
SELECT DISTINCT payment_id FROM (
    SELECT a.payment_id {INDEBTED} AND {MINOR} > 0 AND (a.host_id, a.currency) IN (
        SELECT c.host_id, c.currency FROM payment_allocations c
        WHERE c.payment_id = $1 AND c.owed_minor > 0 AND c.release_at <= $2)
    ORDER BY a.id LIMIT $3
) oldest
"""
_LOCK: Final = "SELECT p.* FROM payments p WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True)
class Debt:
    """What a host owes the platform in one currency, since when, and for which payments."""

    host_id: UUID
    amount: Money
    since: datetime
    payment_ids: Sequence[UUID]
    """No more than a hundred."""
    is_recovered: bool
    """Whether it is kept from what the host is paid next."""

    @property
    def explanation(self) -> str:
        """Why, and what becomes of it, fit for the host."""
        why = (
            "Refunds or disputes of payments took back what you had been sent, and your balance at Stripe did not have "
            "it any more."
        )
        if self.is_recovered:
            return f"{why} It is kept from what you are paid next."
        return f"{why} It is not kept from what you are paid next: the platform will ask you for it."


async def debts_of(services: Services, host_ids: Sequence[UUID]) -> list[Debt]:
    """What these hosts owe, those who owe nothing left out."""
    return [
        Debt(
            record["host_id"], Money(record["minor"], record["currency"]), record["since"], record["payments"],
            services.settings.recover_debts,
        )  # fmt: skip
        for record in await services.database.pool.fetch(_DEBTS, host_ids)
    ]


async def set_off(services: Services, payment_id: UUID, *, at_once: int = DEBTS_AT_ONCE) -> None:
    """Pay what hosts owe out of what of this payment is due to them now, if anything is, some debts at a time."""
    if not services.settings.recover_debts:
        return
    now = services.clock()
    while debtors := await _debtors_of(services, payment_id, now, at_once):
        async with services.database.transaction() as connection:
            locked = await lock_parts(connection, [payment_id, *debtors])
            creditor = locked.pop(payment_id)
            state = await state_of(connection, payment_id)
            if held(creditor.payment, state, services.settings, now) is not None:
                return
            due = [part for part in creditor.parts if part.allocation.release_at and part.allocation.release_at <= now]
            ledger = LedgerBatch()
            pay_debts(creditor.payment, due, list(locked.values()), ledger, now)
            if not ledger.transactions:  # somebody else has paid them meanwhile
                return
            for parts in (creditor, *locked.values()):
                await parts.write(connection)
            await ledger.write(connection)


async def _debtors_of(services: Services, payment_id: UUID, now: datetime, limit: int) -> list[UUID]:
    """The payments of the oldest debts of hosts who are due something of this payment, in the same currency."""
    records = await services.database.pool.fetch(_DEBTORS, payment_id, now, limit)
    return [record["payment_id"] for record in records]


async def lock_parts(connection: AnyConnection, payment_ids: Sequence[UUID]) -> dict[UUID, HostParts]:
    """Lock payments in the order in which everybody does, and read their hosts' parts."""
    records = await connection.fetch(_LOCK, sorted(set(payment_ids)))
    return {record["id"]: await HostParts.read(connection, from_record(Payment, record)) for record in records}


def pay_debts(
    payment: Payment, due: Sequence[HostPart], debtors: Sequence[HostParts], ledger: LedgerBatch, now: datetime
) -> None:
    """Pay hosts' debts, the oldest first, out of what they are due of a payment; all of these are locked."""
    for part in due:
        for parts in sorted(debtors, key=lambda parts: parts.payment.id):
            for debt in parts.parts:
                if _is_payable(parts, debt, part):
                    _pay(payment, part, parts.payment, debt, ledger, now)


def _is_payable(parts: HostParts, debt: HostPart, part: HostPart) -> bool:
    same_host = debt.allocation.host_id == part.allocation.host_id
    same_currency = debt.allocation.currency == part.allocation.currency
    return same_host and same_currency and parts.payment.charge_model is not ChargeModel.DIRECT


def _pay(
    payment: Payment, part: HostPart, indebted: Payment, debt: HostPart, ledger: LedgerBatch, now: datetime
) -> None:
    """What is due is sent, and given back for the debt: two movements, one of each payment, and none at Stripe."""
    minor = min(part.allocation.owed_minor, debt.debt)
    if minor <= 0:
        return
    due, owing, paid = part.allocation, debt.allocation, Money(minor, payment.currency)
    due.owed_minor -= minor
    due.transferred_minor += minor
    if not due.owed_minor:
        due.release_at = None
    owing.owed_minor += minor
    owing.reversed_minor += minor
    id_, host = new_id(), due.host_id
    ledger.move(
        LedgerTransactionKind.DEBT_RECOVERY, f"debt_recovery:{id_}:paid",
        [(host_owed(host), -paid), (host_balance(host), paid)], occurred_at=now, payment_id=payment.id,
    )  # fmt: skip
    ledger.move(
        LedgerTransactionKind.DEBT_RECOVERY, f"debt_recovery:{id_}:taken",
        [(host_balance(host), -paid), (host_owed(host), paid)], occurred_at=now, payment_id=indebted.id,
    )  # fmt: skip
