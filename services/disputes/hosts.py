"""What a lost dispute takes of the hosts, and what they are given again where it is won after all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.base import from_record, new_id
from models.ledger import LedgerTransactionKind
from models.operations import Operation, OperationStep
from models.payments import Payment
from models.sets import insert_rows
from services.ledger import PLATFORM, LedgerBatch, host_owed
from services.operations import (
    Answers,
    Intent,
    PlannedAtReserve,
    Reserved,
    claim,
    finish,
    keep_arguments,
    new_step,
    record_answers,
)
from services.transfers.parts import HostParts
from services.transfers.take_back import find_reversal, plan_take_back, settle_take_back, taken_by_allocation

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from models.disputes import Dispute
    from models.money import Money
    from models.sets import AnyConnection
    from services.core import Services

SETTLE_LOST: Final = "settle_lost_dispute"
_GIVEN: Final = "given_again"
_LOCK: Final = "SELECT * FROM payments WHERE id = $1 FOR NO KEY UPDATE"


def _caller(stripe_dispute_id: str) -> str:
    """Whose operations they are: by it those of one dispute are found."""
    return f"system:dispute:{stripe_dispute_id}"


async def _operations_of(connection: AnyConnection, stripe_dispute_id: str) -> list[Operation]:
    records = await connection.fetch(
        "SELECT * FROM operations WHERE caller = $1 ORDER BY id", _caller(stripe_dispute_id)
    )
    return [from_record(Operation, record) for record in records]


def _net(operations: list[Operation]) -> dict[UUID, int]:
    taken: dict[UUID, int] = {}
    for operation in operations:
        given = operation.arguments.get(_GIVEN, {})
        for id_, minor in taken_by_allocation(operation).items():
            taken[id_] = taken.get(id_, 0) + minor - given.get(str(id_), 0)
    return taken


async def taken_of(connection: AnyConnection, stripe_dispute_id: str) -> dict[UUID, int]:
    """What a dispute took of each allocation and did not give again, in minor units of the payment's currency."""
    return _net(await _operations_of(connection, stripe_dispute_id))


async def take_back(
    services: Services, connection: AnyConnection, payment: Payment, dispute: Dispute, part: Money
) -> Reserved | None:
    """Reserve an operation that takes this much of the hosts' part of a locked payment back, as far as it is left.

    What could not be reversed is owed by the host. Whatever is beyond what is left, the platform bears.

    Raises: OperationInProgress while a transfer of the payment is under way.
    """
    part = min(part, (await HostParts.read(connection, payment)).left)
    if not part:
        return None
    arguments = {"dispute_id": str(dispute.id), "payment_id": str(payment.id)}
    intent = Intent(_caller(dispute.stripe_dispute_id), str(new_id()), SETTLE_LOST, {**arguments, "part": str(part)})
    claimed = await claim(
        connection, intent, subject_id=dispute.id, leased_until=services.clock() + services.operations.lease,
        arguments=arguments,
    )  # fmt: skip
    planned = await plan_take_back(connection, payment, part, claimed.operation, dispute_id=dispute.id)
    steps = [new_step(claimed.operation.id, step) for step in planned]
    await insert_rows(connection, OperationStep, steps)
    return Reserved(claimed, steps)


async def give_again(
    connection: AnyConnection, payment: Payment, dispute: Dispute, part: Money, ledger: LedgerBatch, now: datetime
) -> None:
    """Owe the hosts of a locked payment again what a dispute took of them: to each what was taken of theirs.

    What is owed is sent by itself; what could not be reversed is owed no more.
    """
    operations = await _operations_of(connection, dispute.stripe_dispute_id)
    taken = _net(operations)
    shares = dict(zip(taken, part.split(list(taken.values())), strict=True))
    latest = operations[-1]
    before = latest.arguments.get(_GIVEN, {})
    kept = {str(id_): before.get(str(id_), 0) + share.minor for id_, share in shares.items()}
    await keep_arguments(connection, latest, {_GIVEN: kept})
    parts = await HostParts.read(connection, payment)
    for id_, share in shares.items():
        allocation = parts.part(id_).allocation
        allocation.owed_minor += share.minor
        if allocation.owed_minor > 0:
            allocation.release_at = now
    await parts.write(connection)
    legs = [(host_owed(parts.part(id_).allocation.host_id), share) for id_, share in shares.items()]
    ledger.move(
        LedgerTransactionKind.DISPUTE_WON, f"dispute_owed:{dispute.stripe_dispute_id}:{new_id()}",
        [*legs, (PLATFORM, -part)], occurred_at=now, payment_id=payment.id,
        stripe_object_id=dispute.stripe_dispute_id,
    )  # fmt: skip


class SettleLostDispute(PlannedAtReserve):
    """How taking the hosts' part back goes on: its reversals, planned when the dispute was settled."""

    name = SETTLE_LOST

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle the reversals under the payment's lock."""
        ledger = LedgerBatch()
        async with services.database.transaction() as connection:
            record: Any = await connection.fetchrow(_LOCK, operation.arguments["payment_id"])
            await settle_take_back(connection, from_record(Payment, record), answers, operation, ledger)
            await ledger.write(connection)
            await record_answers(
                connection, [(operation.id, name, answer) for name, answer in answers.by_step.items()]
            )
            await finish(connection, [operation.id])

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The reversal, among those of its transfer."""
        return await find_reversal(services, step)
