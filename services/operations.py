"""Operations: reserve, call, settle, so that a crash anywhere loses nothing and repeats nothing.

A use case claims its operation in the transaction that reserves (`claim`), then hands it to `Operations.complete`
(services/completion.py), which sends its steps to Stripe with no transaction open and settles. The recovery job calls
the same `complete` for operations whose holder died. How an operation goes on is said once, by its `OperationKind`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from models.base import from_record, new_id, new_row
from models.operations import Operation, OperationStep, StepStatus
from models.sets import Writes, insert_rows, update_rows
from services.errors import DomainError, IdempotencyKeyReused, InvalidInput
from services.stripe_gateway import (
    API_VERSION,
    StripeError,
    StripeResponse,
)
from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from tortoise.models import Model

    from models.sets import AnyConnection
    from services.core import Services

KEY_LENGTH = 255

_KNOWN = "SELECT * FROM operations WHERE caller = $1 AND idempotency_key = $2"
_END = """
UPDATE operations o SET status = CASE WHEN v.error IS NULL THEN 'SUCCEEDED' ELSE 'FAILED' END, error = v.error,
    finished_at = now(), updated_at = now()
FROM unnest($1::uuid[], $2::jsonb[]) AS v(id, error)
WHERE o.id = v.id AND o.status IN ('RUNNING', 'PARKED')
RETURNING o.*
"""
_ANSWER = """
UPDATE operation_steps s SET status = v.status, stripe_request_id = v.request, stripe_object_id = v.object,
    outcome = v.outcome, answered_at = now()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS v(operation_id, step, status, request, object, outcome)
WHERE s.operation_id = v.operation_id AND s.step = v.step AND s.status = 'PLANNED'
"""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a caller asks for: the same (caller, key) with the same arguments is the same operation."""

    caller: str
    idempotency_key: str
    kind: str
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not 1 <= len(self.idempotency_key) <= KEY_LENGTH:
            raise InvalidInput("idempotencyKey", f"An idempotency key has 1 to {KEY_LENGTH} characters.")
        if "\x00" in self.idempotency_key:
            raise InvalidInput("idempotencyKey", "An idempotency key cannot contain a null character.")

    @property
    def arguments_hash(self) -> bytes:
        """A digest of kind and arguments, by which a re-used key is told from a repeated one."""
        canonical = orjson.dumps([self.kind, dict(self.arguments)], option=orjson.OPT_SORT_KEYS, default=str)
        return hashlib.sha256(canonical).digest()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stripe's final no to a step."""

    error: StripeError


Answer = StripeResponse | Refusal
"""What a step came to: Stripe's response, or its refusal. An unknown outcome is neither: it is tried again."""


@dataclass(slots=True)
class Answers:
    """The answers so far, by step."""

    by_step: dict[str, Answer] = field(default_factory=dict)
    error: DomainError | None = None
    """Why the next step could not even be planned."""
    subject: Model | None = None
    """What the operation acts on as it was reserved, where this process reserved it just now."""

    def get(self, step: str) -> Answer | None:
        """The answer to that step, if there is one."""
        return self.by_step.get(step)

    @property
    def refused(self) -> bool:
        """Whether a step was refused, which ends an operation unless its kind plans on."""
        return any(isinstance(answer, Refusal) for answer in self.by_step.values())


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """The next call to make: its name within the operation, and the request without its idempotency key."""

    name: str
    request: StripeRequest


class OperationKind(Protocol):
    """How operations of one kind go on; everything it decides follows from stored rows and the answers so far."""

    @property
    def name(self) -> str:
        """What operations of this kind are known by."""

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The next call to Stripe, or None where it is time to settle.

        Raises: DomainError where there can be none; it is settled as the operation's error. StripeUnavailable and
            OperationInProgress leave the operation to its recovery.
        """

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> Ended | None:
        """Apply the answers in one transaction that also finishes the operation (`finish`).

        Returns: what that left, where it is at hand; None where it has to be read.
        """

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """Stripe's object that this step made, looked up in a strongly consistent and complete list; None where the
        list proves that there is none.

        Raises: LookupError where no list can tell: a person has to.
        """


class PlannedAtReserve:
    """The part of a kind whose calls are all planned when the operation is reserved."""

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """There are no others."""
        return None


class PlansOn:
    """The part of a kind whose calls do not depend on one another: where one is refused, the others are made."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended operation, and what it acted on as its settlement left it, where that is at hand."""

    operation: Operation
    subject: Model | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed operation; `new` where this claim made it."""

    operation: Operation
    new: bool


@dataclass(frozen=True, slots=True)
class Reserved:
    """A claimed operation, and where it is new the calls that were stored for it."""

    claimed: Claimed
    steps: Sequence[OperationStep]


async def claim(
    connection: AnyConnection, intent: Intent, *, subject_id: UUID, leased_until: datetime,
    arguments: Mapping[str, Any] | None = None,
) -> Claimed:  # fmt: skip
    """Claim the operation inside the reserving transaction; rolling that back releases the key.

    Raises: IdempotencyKeyReused where the key came with other arguments before.
    """
    operation = new_operation(intent, subject_id=subject_id, leased_until=leased_until, arguments=arguments)
    made = await insert_rows(
        connection, Operation, [operation], conflict="ON CONFLICT (caller, idempotency_key) DO NOTHING RETURNING id"
    )
    if made:
        return Claimed(operation, new=True)
    record = await connection.fetchrow(_KNOWN, intent.caller, intent.idempotency_key)
    if record is None:
        raise RuntimeError("an operation that could not be inserted is not there either")
    return Claimed(same_intent(from_record(Operation, record), intent), new=False)


async def reserve(
    services: Services,
    intent: Intent,
    plan: Callable[[AnyConnection, Operation], Awaitable[Sequence[PlannedStep]]],
    *,
    subject_id: UUID,
    arguments: Mapping[str, Any] | None = None,
) -> Reserved:
    """Claim the operation in a transaction of its own and, where it is new, store the calls that it begins with.

    Args:
        plan: makes what is to be there before Stripe hears of it; what it raises releases the key again.

    Raises: IdempotencyKeyReused.
    """
    steps: list[OperationStep] = []
    async with services.database.transaction() as connection:
        claimed = await claim(
            connection, intent, subject_id=subject_id, leased_until=services.clock() + services.operations.lease,
            arguments=arguments,
        )  # fmt: skip
        if claimed.new:
            steps = [new_step(claimed.operation.id, planned) for planned in await plan(connection, claimed.operation)]
            await insert_rows(connection, OperationStep, steps)
    if claimed.new:
        services.live.wake()
    return Reserved(claimed, steps)


async def known_operation(services: Services, intent: Intent) -> Reserved | None:
    """The operation of an earlier call with the same key, for what is to be looked up only by the first of them.

    Raises: IdempotencyKeyReused where it came with other arguments.
    """
    record = await services.database.pool.fetchrow(_KNOWN, intent.caller, intent.idempotency_key)
    if record is None:
        return None
    return Reserved(Claimed(same_intent(from_record(Operation, record), intent), new=False), [])


async def keep_arguments(connection: AnyConnection, operation: Operation, arguments: Mapping[str, Any]) -> None:
    """Keep what a later process needs to go on with an operation, where only the reserving transaction can tell."""
    operation.arguments = {**operation.arguments, **arguments}
    await update_rows(connection, Operation, [operation], ("arguments",))


def new_operation(
    intent: Intent, *, subject_id: UUID, leased_until: datetime, arguments: Mapping[str, Any] | None = None
) -> Operation:
    """The row of a new operation."""
    return new_row(
        Operation,
        id=new_id(), caller=intent.caller, idempotency_key=intent.idempotency_key, kind=intent.kind,
        arguments_hash=intent.arguments_hash, arguments=dict(arguments or {}), subject_id=subject_id,
        leased_until=leased_until,
    )  # fmt: skip


def same_intent(operation: Operation, intent: Intent) -> Operation:
    """The operation, where the intent is the one that made it.

    Raises: IdempotencyKeyReused.
    """
    if bytes(operation.arguments_hash) != intent.arguments_hash:
        raise IdempotencyKeyReused
    return operation


def new_step(operation_id: UUID, planned: PlannedStep, *, attempt: int = 1) -> OperationStep:
    """The row of a step about to be sent."""
    request = planned.request
    return new_row(
        OperationStep,
        id=new_id(), operation_id=operation_id, step=planned.name, attempt=attempt, method=request.method,
        path=request.path, body=request.body, stripe_account=request.stripe_account, api_version=API_VERSION,
    )  # fmt: skip


def stored_request(step: OperationStep) -> StripeRequest:
    """The request of a stored step, with its key: the same bytes each time."""
    return StripeRequest(
        method=step.method,
        path=step.path,
        body=step.body,
        idempotency_key=f"{step.operation_id}:{step.step}:{step.attempt}",
        stripe_account=step.stripe_account,
    )


async def finish(
    connection: AnyConnection, operation_ids: Sequence[UUID], *, errors: Mapping[UUID, DomainError] | None = None
) -> None:
    """End operations inside the settling transaction, with their recorded errors; an ended one stays as it is."""
    writes = Writes()
    add_ends(writes, operation_ids, errors=errors)
    await writes.run(connection)


def add_ends(
    writes: Writes, operation_ids: Sequence[UUID], *, errors: Mapping[UUID, DomainError] | None = None
) -> None:
    """As `finish`, together with what else is settled; the rows of those that end are known as `ended`."""
    records = [
        orjson.dumps(errors[id_].to_record()).decode() if errors and id_ in errors else None for id_ in operation_ids
    ]
    writes.add("ended", _END, list(operation_ids), records)


async def record_answers(connection: AnyConnection, steps: Sequence[tuple[UUID, str, Answer]]) -> None:
    """Store what Stripe said to steps (operation, step, answer), inside the settling transaction."""
    writes = Writes()
    add_answers(writes, steps)
    await writes.run(connection)


def add_answers(writes: Writes, steps: Sequence[tuple[UUID, str, Answer]]) -> None:
    """As `record_answers`, together with what else is settled."""
    statuses: list[str] = []
    requests: list[str | None] = []
    objects: list[str | None] = []
    outcomes: list[str] = []
    for _, _, answer in steps:
        if isinstance(answer, Refusal):
            statuses.append(StepStatus.REFUSED.value)
            requests.append(answer.error.request_id)
            objects.append(None)
            outcomes.append(str(answer.error)[:255])
        else:
            statuses.append(StepStatus.DONE.value)
            requests.append(answer.request_id)
            objects.append(answer.body.get("id"))
            outcomes.append(str(answer.body.get("status") or answer.status)[:255])
    writes.add(
        "answered", _ANSWER, [operation_id for operation_id, _, _ in steps], [step for _, step, _ in steps],
        statuses, requests, objects, outcomes,
    )  # fmt: skip


def recorded_error(operation: Operation) -> DomainError | None:
    """The refusal that ended an operation."""
    return None if operation.error is None else DomainError.from_record(operation.error)
