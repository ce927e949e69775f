"""Running operations to their end, whoever began them: sending their steps, waiting, taking over, recovering.

Once in one place at a time: while an operation is RUNNING only the holder of its lease acts on it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import TYPE_CHECKING, cast

import structlog

from models.base import from_record
from models.operations import Operation, OperationStatus, OperationStep
from models.sets import insert_rows
from services.errors import DomainError, OperationInProgress, StripeUnavailable
from services.operations import (
    Answer,
    Answers,
    Ended,
    OperationKind,
    PlannedStep,
    PlansOn,
    Refusal,
    Reserved,
    new_step,
    record_answers,
    recorded_error,
    stored_request,
)
from services.stripe_gateway import (
    Priority,
    StripeError,
    StripeNotSent,
    StripeResponse,
    StripeUnknownOutcome,
)
from services.uploads import with_upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tortoise.models import Model

    from models.sets import AnyConnection
    from services.core import Services

log = structlog.get_logger("operations")

# Stripe forgets idempotency keys after 24 hours ("Idempotent requests"); a replay must arrive well before.
REPLAYABLE_FOR = timedelta(hours=23)
# How long a call may still be under way at Stripe after its caller gave up: until then no list proves anything.
AT_STRIPE_FOR = timedelta(minutes=2)
RETRY_AFTER_S = 2
# Takings over that ended in an error of ours: what fails for so long fails for ever.
PARK_AFTER = 20
RETRY_AT_MOST_S = 600
POLL_S = (0.05, 0.1, 0.2, 0.4, 0.5)


class Operations:
    """Runs operations to their end, once in one place at a time."""

    def __init__(self, kinds: Sequence[OperationKind], *, lease_s: float, duplicate_wait_s: float) -> None:
        """
        Args:
            kinds: all of them.
            lease_s: how long a process may be silent before another takes its operation over.
            duplicate_wait_s: how long a duplicate waits for the first before it is told to come back.
        """
        self.kinds = {kind.name: kind for kind in kinds}
        self.lease = timedelta(seconds=lease_s)
        self.duplicate_wait_s = duplicate_wait_s
        self._finished_here: dict[UUID, asyncio.Event] = {}

    async def complete(
        self, services: Services, operation: Operation, *, planned: Sequence[OperationStep] = (),
        subject: Model | None = None, priority: Priority = Priority.INTERACTIVE,
    ) -> Ended:  # fmt: skip
        """Send what is left of the operation's steps and settle it.

        Args:
            planned: the steps stored at reserve.
            subject: what was reserved, where it is at hand.

        Raises: StripeUnavailable where the outcome is not known yet; the operation goes on by itself.
            OperationInProgress where only a person can tell what happened: it is parked.
        """
        finished = self._finished_here.setdefault(operation.id, asyncio.Event())
        try:
            ended = await self._run(
                services, operation, {step.step: step for step in planned}, priority, Answers(subject=subject)
            )
            return ended or Ended(await Operation.get(id=operation.id))
        except (StripeUnknownOutcome, StripeNotSent) as error:
            await self._release(services, operation)
            raise StripeUnavailable(retry_after_seconds=RETRY_AFTER_S) from error
        except (StripeUnavailable, OperationInProgress):
            await self._release(services, operation)
            raise
        except LookupError as error:
            if type(error) is not LookupError:  # a KeyError is a bug
                raise
            await self._park(services, operation, str(error))
            raise OperationInProgress(retry_after_seconds=RETRY_AT_MOST_S) from error
        finally:
            self._finished_here.pop(operation.id, None)
            finished.set()

    async def end(self, services: Services, reserved: Reserved, *, subject: Model | None = None) -> Ended:
        """The ended operation: run it where it is new, wait for it where it is not.

        Raises: OperationInProgress; StripeUnavailable.
        """
        operation = reserved.claimed.operation
        if reserved.claimed.new:
            return await self.complete(services, operation, planned=reserved.steps, subject=subject)
        return await self.wait(services, operation)

    async def answer(self, services: Services, reserved: Reserved) -> Operation:
        """As `end`, for operations whose refusal is all there is to answer.

        Raises: the recorded DomainError of a refused operation; OperationInProgress; StripeUnavailable.
        """
        operation = (await self.end(services, reserved)).operation
        error = recorded_error(operation)
        if error is not None:
            raise error
        return operation

    async def wait(self, services: Services, operation: Operation) -> Ended:
        """Wait for an operation that runs elsewhere, or pick it up where nobody holds it.

        Raises: OperationInProgress where it takes longer than a duplicate may wait.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.duplicate_wait_s
        for delay in chain(POLL_S, repeat(POLL_S[-1])):
            if operation.status in {OperationStatus.SUCCEEDED, OperationStatus.FAILED}:
                return Ended(operation)
            here = self._finished_here.get(operation.id)
            if here is None and operation.status is OperationStatus.RUNNING:
                leased = await self._lease(services, operation)
                if leased is not None:
                    return await self.complete(services, leased)
            left = deadline - loop.time()
            if left <= 0:
                break
            if here is None:
                await asyncio.sleep(min(delay, left))
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(here.wait(), left)
            operation = await Operation.get(id=operation.id)
        raise OperationInProgress(retry_after_seconds=max(1, round(self.lease.total_seconds() / 4)))

    async def _run(
        self, services: Services, operation: Operation, planned: dict[str, OperationStep], priority: Priority,
        answers: Answers,
    ) -> Ended | None:  # fmt: skip
        kind = self.kinds[operation.kind]
        # A step that was stored at reserve is the next one by construction: nothing is read before it is sent.
        stored = dict(planned) or {
            step.step: step
            for step in await OperationStep.filter(operation_id=operation.id).order_by("attempt", "id")
        }
        for name, step in stored.items():
            answers.by_step[name] = await self._answered(services, kind, operation, step, priority)
        while not answers.refused or isinstance(kind, PlansOn):
            try:
                next_step = await kind.next_step(services, operation, answers)
            except (StripeUnavailable, OperationInProgress):
                raise
            except DomainError as error:
                answers.error = error
                break
            if next_step is None:
                break
            async with services.database.transaction() as connection:
                step = await _stored(connection, new_step(operation.id, next_step))
                await record_answers(
                    connection, [(operation.id, name, answer) for name, answer in answers.by_step.items()]
                )
                await self._extend(connection, operation, services.clock())
            answers.by_step[next_step.name] = await self._answered(services, kind, operation, step, priority)
        return await kind.settle(services, operation, answers)

    async def _answered(
        self, services: Services, kind: OperationKind, operation: Operation, step: OperationStep, priority: Priority
    ) -> Answer:
        """Stripe's answer to a step: by sending it, again if need be, or by finding what it made."""
        stored_at = cast("datetime | None", step.created_at)  # a step that was planned just now has none
        if stored_at is not None and services.clock() - stored_at > REPLAYABLE_FOR:
            return await self._found_or_anew(services, kind, operation, step, priority)
        try:
            return await _sent(services, step, priority)
        except StripeUnknownOutcome as error:
            # Stripe saves a 500 under its key and replays it for ever: on a later try only a list can tell.
            if error.status is not None and operation.attempts > 0:
                return await self._found_or_anew(services, kind, operation, step, priority)
            raise

    async def _found_or_anew(
        self, services: Services, kind: OperationKind, operation: Operation, step: OperationStep, priority: Priority
    ) -> Answer:
        found = await kind.find(services, operation, step)
        if found is not None:
            return StripeResponse(status=200, body=found, request_id=None, idempotent_replayed=True)
        if services.clock() - step.created_at < AT_STRIPE_FOR:
            raise StripeUnknownOutcome("too early to tell that nothing was made")
        again = new_step(operation.id, PlannedStep(step.step, stored_request(step)), attempt=step.attempt + 1)
        async with services.database.transaction() as connection:
            again = await _stored(connection, again)
        log.info("operations.new_attempt", operation=str(operation.id), step=step.step, attempt=again.attempt)
        return await _sent(services, again, priority)

    async def recover(self, services: Services, *, limit: int = 50) -> int:
        """Take over operations whose holder let the lease run out, and run them to their end.

        Returns: how many were taken over. An operation that no list can tell about is parked.
        """
        now = services.clock()
        async with services.database.transaction() as connection:
            records = await connection.fetch(
                """
                UPDATE operations SET leased_until = $2, attempts = attempts + 1, updated_at = now()
                WHERE id IN (SELECT id FROM operations WHERE status = 'RUNNING' AND leased_until < $1
                             ORDER BY leased_until LIMIT $3 FOR UPDATE SKIP LOCKED)
                RETURNING *
                """,
                now, now + self.lease, limit,
            )  # fmt: skip
        await asyncio.gather(*(self._recover_one(services, from_record(Operation, record)) for record in records))
        return len(records)

    async def _recover_one(self, services: Services, operation: Operation) -> None:
        try:
            _ = await self.complete(services, operation, priority=Priority.BACKGROUND)
        except (StripeUnavailable, OperationInProgress):
            log.warning("operations.still_unknown", operation=str(operation.id), attempts=operation.attempts)
        except Exception as error:
            # A bug in one operation must not keep the others from their end; its lease brings it back, for a while.
            log.exception("operations.recovery_failed", operation=str(operation.id), kind=operation.kind)
            if operation.attempts >= PARK_AFTER:
                await self._park(services, operation, f"{type(error).__name__} each of {PARK_AFTER} times")

    async def _park(self, services: Services, operation: Operation, reason: str) -> None:
        log.error("operations.parked", operation=str(operation.id), kind=operation.kind, reason=reason)
        await services.database.pool.execute(
            "UPDATE operations SET status = 'PARKED', updated_at = now() WHERE id = $1 AND status = 'RUNNING'",
            operation.id,
        )

    async def _lease(self, services: Services, operation: Operation) -> Operation | None:
        now = services.clock()
        record = await services.database.pool.fetchrow(
            """
            UPDATE operations SET leased_until = $3, attempts = attempts + 1, updated_at = now()
            WHERE id = $1 AND status = 'RUNNING' AND leased_until < $2 RETURNING *
            """,
            operation.id, now, now + self.lease,
        )  # fmt: skip
        return None if record is None else from_record(Operation, record)

    async def _extend(self, connection: AnyConnection, operation: Operation, now: datetime) -> None:
        await connection.execute(
            "UPDATE operations SET leased_until = $2 WHERE id = $1 AND status = 'RUNNING'",
            operation.id, now + self.lease,
        )  # fmt: skip

    async def _release(self, services: Services, operation: Operation) -> None:
        """Let anyone go on with it after a breath: nobody here does any more."""
        retry_at = services.clock() + timedelta(seconds=min(RETRY_AFTER_S * 2**operation.attempts, RETRY_AT_MOST_S))
        await services.database.pool.execute(
            "UPDATE operations SET leased_until = $2 WHERE id = $1 AND status = 'RUNNING'", operation.id, retry_at
        )


async def _sent(services: Services, step: OperationStep, priority: Priority) -> Answer:
    """Stripe's answer to a stored step.

    Raises: StripeNotSent, StripeUnknownOutcome where there is none yet.
    """
    try:
        request = await with_upload(services.database, stored_request(step))
        return await services.stripe.send(request, priority=priority)
    except (StripeNotSent, StripeUnknownOutcome):
        raise
    except StripeError as error:
        return Refusal(error)


async def _stored(connection: AnyConnection, step: OperationStep) -> OperationStep:
    """Store a step about to be sent; where another process has stored it already, what it stored is what is sent."""
    if await insert_rows(connection, OperationStep, [step], conflict="ON CONFLICT DO NOTHING RETURNING id"):
        return step
    record = await connection.fetchrow(
        "SELECT * FROM operation_steps WHERE operation_id = $1 AND step = $2 AND attempt = $3",
        step.operation_id, step.step, step.attempt,
    )  # fmt: skip
    if record is None:
        raise RuntimeError("a step that was stored is not there")
    return from_record(OperationStep, record)
