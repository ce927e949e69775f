"""Recovering what hosts owe from money that they were sent later: part of such a transfer is reversed.

Hosts whose charges reach them at once are owed nothing that a debt could be set off against. So each payment that they
were sent after the debt came about is tried once, ever (its operation is known by its allocation): one look at the
balance, and a reversal of as much as they owe, as far as that has it. What it brings is owed to the host for that
payment, and set off against the debt in the same transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from models.money import Money
from services.errors import DomainError, OperationInProgress, StripeUnavailable
from services.exclusive import exclusively
from services.ledger import LedgerBatch
from services.operations import Answers, Intent, PlannedAtReserve, PlannedStep, finish, record_answers, reserve
from services.stripe_gateway import Priority, StripeError
from services.stripe_requests import retrieve_balance
from services.transfers.debts import DEBTS_AT_ONCE, INDEBTED, MINOR, SINCE, lock_parts, pay_debts, set_off
from services.transfers.parts import HostParts
from services.transfers.take_back import find_reversal, plan_reversals, settle_take_back, steps_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services

log = structlog.get_logger("transfers")

RECOVER: Final = "recover_debt"
_CALLER: Final = "system:debts"
_AT_ONCE: Final = 20
"""Transfers of one host that one look tries at most."""

_OWING: Final = f"""
SELECT d.host_id, d.currency, sum(d.minor)::bigint AS minor, min(d.since) AS since
FROM (SELECT a.host_id, a.currency, {MINOR} AS minor, {SINCE} AS since {INDEBTED}) d
WHERE d.minor > 0 AND (d.host_id, d.currency) > ($1, $2)
GROUP BY d.host_id, d.currency ORDER BY d.host_id, d.currency LIMIT $3
"""
_SENT_LATER: Final = """
SELECT a.id, a.payment_id, a.currency, a.stripe_account_id FROM payment_allocations a
JOIN payments p ON p.id = a.payment_id
WHERE a.host_id = $1 AND a.currency = $2 AND a.created_at > $3 AND a.owed_minor >= 0 AND a.stripe_account_id <> ''
AND a.transferred_minor > a.reversed_minor AND p.disputed_minor = 0 AND p.refund_pending_minor = 0
AND p.charge_model IN ('SEPARATE', 'DESTINATION')
AND NOT EXISTS (SELECT FROM operations o WHERE o.caller = $4 AND o.idempotency_key = a.id::text)
ORDER BY a.id LIMIT $5
"""
_DEBTORS: Final = f"""
SELECT DISTINCT payment_id FROM (
    SELECT a.payment_id {INDEBTED} AND {MINOR} > 0 AND a.host_id = $1 AND a.currency = $2 ORDER BY a.id LIMIT $3
) oldest
"""
_OWED_NOW: Final = f"SELECT coalesce(sum({MINOR}), 0)::bigint {INDEBTED} AND a.host_id = $1 AND a.currency = $2"


async def recover_debts(services: Services) -> None:
    """Try what hosts in debt were sent since; one process does it for all."""
    if not services.settings.recover_debts:
        return
    async with exclusively(services.database, "paydesk:debts") as mine:
        if mine:
            await recover_all(services)


async def recover_all(services: Services, *, limit: int = 200) -> int:
    """Look at each host in debt once.

    Returns: how many transfers were tried.
    """
    tried = 0
    after: tuple[Any, str] = (UUID(int=0), "")
    while True:
        found = await services.database.pool.fetch(_OWING, *after, limit)
        for record in found:
            tried += await _recover_from(services, record)
        if len(found) < limit:
            return tried
        after = found[-1]["host_id"], found[-1]["currency"]


async def _recover_from(services: Services, debt: Mapping[str, Any]) -> int:
    host_id, currency = debt["host_id"], debt["currency"]
    sent = await services.database.pool.fetch(
        _SENT_LATER, host_id, currency, debt["since"], _CALLER, _AT_ONCE
    )
    tried = 0
    try:
        left: int = debt["minor"]
        for record in sent:
            if left <= 0:
                break
            await _try(services, host_id, record)
            await set_off(services, record["payment_id"])  # what is beyond the debts that were locked with it
            tried += 1
            left = await services.database.pool.fetchval(_OWED_NOW, host_id, currency)
    except (OperationInProgress, StripeUnavailable, StripeError) as error:
        log.info("transfers.recovery_waits", host=str(host_id), error=str(error))
    except DomainError as error:
        log.warning("transfers.recovery_moved_on", host=str(host_id), error=error.code)
    except Exception:
        # A bug with one host must not keep the others' debts.
        log.exception("transfers.recovery_failed", host=str(host_id))
    return tried


async def _try(services: Services, host_id: UUID, sent: Mapping[str, Any]) -> None:
    """Reverse of one transfer what the host owes and has."""
    has = await _balance(services, sent["stripe_account_id"], sent["currency"])
    intent = Intent(_CALLER, str(sent["id"]), RECOVER, {"allocation_id": str(sent["id"])})

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        parts = (await lock_parts(connection, [sent["payment_id"]]))[sent["payment_id"]]
        part = parts.part(sent["id"])
        its = part.allocation
        owed: int = await connection.fetchval(_OWED_NOW, host_id, sent["currency"])
        minor = min(owed, its.transferred_minor - its.reversed_minor - part.coming_back)
        if has is not None:
            minor = min(minor, has)
        if minor <= 0:
            return []
        ledger = LedgerBatch()
        due = {its.id: minor}
        rows = await plan_reversals(connection, parts, due, operation, ledger)
        await parts.write(connection)
        await ledger.write(connection)
        return steps_of(rows)

    arguments = {"host_id": str(host_id), "payment_id": str(sent["payment_id"]), "currency": sent["currency"]}
    reserved = await reserve(services, intent, plan, subject_id=sent["id"], arguments=arguments)
    if reserved.claimed.new:
        await services.operations.complete(
            services, reserved.claimed.operation, planned=reserved.steps, priority=Priority.BACKGROUND
        )


async def _balance(services: Services, account: str, currency: str) -> int | None:
    """What a host has at Stripe in a currency; None where it is kept in another, and nobody can compare."""
    body = (await services.stripe.send(retrieve_balance(account), priority=Priority.BACKGROUND)).body
    parts = [part for kind in ("available", "pending") for part in body[kind]]
    here = [Money.from_wire(part["amount"], part["currency"]).minor for part in parts
            if part["currency"].upper() == currency]  # fmt: skip
    if not here and any(part["amount"] > 0 for part in parts):
        return None
    return sum(here)


class RecoverDebt(PlannedAtReserve):
    """How recovering a debt from a later transfer goes on: one reversal, and what it brings is set off."""

    name = RECOVER

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Count what came back, and pay the debt with it."""
        host_id, currency = operation.arguments["host_id"], operation.arguments["currency"]
        now, ledger = services.clock(), LedgerBatch()
        async with services.database.transaction() as connection:
            records = await connection.fetch(_DEBTORS, host_id, currency, DEBTS_AT_ONCE)
            debtors = [record["payment_id"] for record in records]
            payment_id = UUID(operation.arguments["payment_id"])
            locked = await lock_parts(connection, [payment_id, *debtors])
            await settle_take_back(connection, locked[payment_id].payment, answers, operation, ledger)
            locked = {id_: await HostParts.read(connection, parts.payment) for id_, parts in locked.items()}
            creditor = locked.pop(payment_id)
            due = [creditor.part(operation.subject_id)]
            pay_debts(creditor.payment, due, list(locked.values()), ledger, now)
            for parts in (creditor, *locked.values()):
                await parts.write(connection)
            await ledger.write(connection)
            await record_answers(
                connection, [(operation.id, name, answer) for name, answer in answers.by_step.items()]
            )
            await finish(connection, [operation.id])

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The reversal among those of its transfer."""
        return await find_reversal(services, step)
