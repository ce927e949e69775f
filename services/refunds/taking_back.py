"""Taking the hosts' part of a refund back by calls of our own, where Stripe does not do it with the refund.

That is so for charges whose transfers are made separately ("Create separate charges and transfers": a refund of the
charge does not touch them). It is an operation of its own, whoever made the refund: it is claimed in the transaction
in which the refund becomes known, so that neither is there without the other, and a guest's refund does not wait for
what comes back of the hosts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from models.base import from_record
from models.operations import OperationStep
from models.payments import ChargeModel, Payment
from models.refunds import RefundOrigin
from models.sets import insert_rows
from services.changes import ChangeSet
from services.ledger import LedgerBatch
from services.operations import Intent, PlansOn, Reserved, claim, finish, keep_arguments, new_step, record_answers
from services.transfers.parts import HostParts
from services.transfers.take_back import (
    find_reversal,
    plan_reversals,
    remember,
    require_known,
    reversals_of,
    settle_take_back,
    steps_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.money import Money
    from models.operations import Operation
    from models.refunds import Refund
    from models.sets import AnyConnection
    from services.core import Services
    from services.operations import Answers, PlannedStep
    from services.refunds.facts import RefundFacts

log = structlog.get_logger("refunds")

TAKE_BACK: Final = "take_back_refund"
_CALLER: Final = "system:refunds"
_WAITS: Final = "due"
_LOCK: Final = "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE"
_REVERSED_APART: Final = """
SELECT EXISTS (SELECT FROM transfer_reversals WHERE payment_id = $1 AND transfer_id IS NULL AND status <> 'REFUSED')
"""


async def is_planned_apart(connection: AnyConnection, payment: Payment) -> bool:
    """Whether a refund of this payment takes the hosts' part back by calls of its own.

    A destination charge's does so where its transfer was reversed without a refund, for a lost dispute or a debt:
    Stripe works out what it takes with a refund as though that were part of it.
    """
    if payment.charge_model is ChargeModel.SEPARATE:
        return True
    if payment.charge_model is not ChargeModel.DESTINATION:
        return False
    return bool(await connection.fetchval(_REVERSED_APART, payment.id))


def is_apart(parts: HostParts, refund: Refund, facts: RefundFacts) -> bool:
    """Whether the hosts' part of a refund that Stripe has made is still to be taken back."""
    if parts.payment.charge_model is ChargeModel.SEPARATE:
        return True
    reversed_apart = any(row.transfer_id is None for part in parts.parts for row in part.reversals)
    return reversed_apart and facts.transfer_reversed is None and refund.origin is RefundOrigin.PAYDESK


async def begin_take_back(
    services: Services, connection: AnyConnection, parts: HostParts, refund: Refund, taken: Mapping[UUID, Money],
    ledger: LedgerBatch,
) -> Reserved | None:  # fmt: skip
    """Claim the operation that reverses what of a refund's hosts' part was sent; None where all of it is held.

    Args:
        parts: of the locked payment; the caller writes them afterwards, and the ledger.
        taken: what `HostParts.lower` took for the refund.
    """
    due = parts.to_reverse(taken)
    if not due:
        return None
    claimed = await claim(
        connection, Intent(_CALLER, f"take_back:{refund.id}", TAKE_BACK, {"refund_id": str(refund.id)}),
        subject_id=refund.id, leased_until=services.clock() + services.operations.lease,
        arguments={"refund_id": str(refund.id), "payment_id": str(refund.payment_id)},
    )  # fmt: skip
    operation = claimed.operation
    await remember(connection, operation, taken, due)
    if any(parts.part(allocation_id).under_way for allocation_id in due):
        # A transfer has no answer yet, and the guest's refund does not wait for it.
        waiting = {str(allocation_id): minor for allocation_id, minor in due.items()}
        await keep_arguments(connection, operation, {_WAITS: waiting})
        return Reserved(claimed, [])
    rows = await plan_reversals(connection, parts, due, operation, ledger, refund_id=refund.id)
    steps = [new_step(operation.id, planned) for planned in steps_of(rows)]
    await insert_rows(connection, OperationStep, steps)
    return Reserved(claimed, steps)


class TakeBackRefund(PlansOn):
    """How taking back a refund's hosts' part goes on: a call for each transfer, planned as soon as all are known."""

    name = TAKE_BACK

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """What was not planned when the refund became known.

        Raises: OperationInProgress while a transfer is under way.
        """
        if _WAITS not in operation.arguments:
            return None
        async with services.database.transaction() as connection:
            rows = await reversals_of(connection, operation)
            if operation.arguments[_WAITS]:
                rows = await _plan_late(connection, operation)
        return next((step for step in steps_of(rows) if answers.get(step.name) is None), None)

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Apply what came back, and what Stripe refused."""
        async with services.database.transaction() as connection:
            record: Any = await connection.fetchrow(_LOCK, UUID(operation.arguments["payment_id"]))
            payment = from_record(Payment, record)
            ledger = LedgerBatch()
            taken = await settle_take_back(connection, payment, answers, operation, ledger)
            await ledger.write(connection)
            changes = ChangeSet(operation.caller, record["xid"])
            changes.audit(
                "refund.taken_back", "REFUND", operation.subject_id, before=None,
                after={
                    "currency": payment.currency, "held_minor": taken.held.minor,
                    "reversed_minor": taken.reversed.minor, "refused_minor": taken.refused.minor,
                },
            )  # fmt: skip
            await changes.write(connection)
            await record_answers(
                connection, [(operation.id, name, answer) for name, answer in answers.by_step.items()]
            )
            await finish(connection, [operation.id])
        if taken.refused:
            log.warning("refunds.hosts_owe", payment=str(payment.id), amount=str(taken.refused))

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The reversal among those of its transfer."""
        return await find_reversal(services, step)


async def _plan_late(connection: AnyConnection, operation: Operation) -> list[Any]:
    """Plan what waited for a transfer to be answered; what came back by itself meanwhile is not taken.

    Raises: OperationInProgress while one is under way.
    """
    record: Any = await connection.fetchrow(_LOCK, UUID(operation.arguments["payment_id"]))
    payment = from_record(Payment, record)
    parts = await HostParts.read(connection, payment)
    waiting = {UUID(id_): minor for id_, minor in operation.arguments[_WAITS].items()}
    due = parts.to_reverse({id_: parts.money(minor) for id_, minor in waiting.items()})
    require_known(parts, due)
    ledger = LedgerBatch()
    refund_id = UUID(operation.arguments["refund_id"])
    rows = await plan_reversals(connection, parts, due, operation, ledger, refund_id=refund_id)
    await parts.write(connection)
    await ledger.write(connection)
    await keep_arguments(connection, operation, {_WAITS: {}})
    return rows
