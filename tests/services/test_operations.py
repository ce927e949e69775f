"""Operations: claimed once, run once at a time, replayed byte for byte, recovered after any crash."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from models.base import new_id
from models.operations import Operation, OperationStatus, OperationStep, StepStatus
from models.sets import insert_rows
from services.completion import Operations
from services.errors import IdempotencyKeyReused, InvalidInput, InvalidState, OperationInProgress, StripeUnavailable
from services.operations import (
    Answers,
    Claimed,
    Intent,
    PlannedStep,
    Refusal,
    Reserved,
    claim,
    finish,
    new_step,
    record_answers,
    recorded_error,
    stored_request,
)
from services.stripe_gateway import StripeInvalidRequest, StripeNotSent, StripeResponse, StripeUnknownOutcome
from services.stripe_requests import StripeRequest
from tests.support.waiting import until

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock


def unknown(status: int | None = None) -> StripeUnknownOutcome:
    return StripeUnknownOutcome("?", status=status)


def refusal(code: str = "no") -> StripeInvalidRequest:
    return StripeInvalidRequest(400, {"code": code}, request_id="req_no")


@dataclass
class FakeStripe:
    """Stripe that keeps what it did under each key, and fails as it is told."""

    will: deque[Exception] = field(default_factory=deque)
    sent: list[StripeRequest] = field(default_factory=list)
    made: dict[str, StripeResponse] = field(default_factory=dict)
    took_effect: bool = False
    """Whether what it fails at happened all the same."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def send(self, request: StripeRequest, **_: Any) -> StripeResponse:
        self.sent.append(request)
        await self.gate.wait()
        assert request.idempotency_key is not None
        failure = self.will.popleft() if self.will else None
        if failure is None or self.took_effect:
            body = {"id": f"x_{len(self.made)}", "status": "ok"}
            answer = StripeResponse(200, body, "req_1", idempotent_replayed=False)
            self.made.setdefault(request.idempotency_key, answer)
        if failure is not None:
            raise failure
        return self.made[request.idempotency_key]


@dataclass
class TwoSteps:
    """A kind of two steps, the second planned from the first's answer."""

    name: str = "two_steps"
    steps: tuple[str, ...] = ("first", "second")
    settled: list[Answers] = field(default_factory=list)
    finds: dict[str, Any] | Exception | None = None
    found: int = 0
    plans: Exception | None = None
    breaks: Exception | None = None

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        if self.plans is not None:
            raise self.plans
        for name in self.steps:
            if answers.get(name) is None:
                return PlannedStep(name, StripeRequest.build("post", f"/v1/{name}", {"n": len(answers.by_step)}))
        return None

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.settled.append(answers)
        error = InvalidState("Stripe said no.", state="NO") if answers.refused else answers.error
        async with services.database.transaction() as connection:
            await record_answers(connection, [(operation.id, name, a) for name, a in answers.by_step.items()])
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        self.found += 1
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds


@dataclass
class World:
    services: Services
    stripe: FakeStripe
    kind: TwoSteps
    clock: Clock

    @property
    def operations(self) -> Operations:
        return self.services.operations

    async def claim(self, intent: Intent, *, planned: bool = False) -> tuple[Claimed, list[OperationStep]]:
        async with self.services.database.transaction() as connection:
            claimed = await claim(
                connection, intent, subject_id=new_id(), leased_until=self.clock() + self.operations.lease
            )
            steps = []
            if claimed.new and planned:
                request = StripeRequest.build("post", "/v1/first", {"n": 0})
                steps = [new_step(claimed.operation.id, PlannedStep("first", request))]
                await insert_rows(connection, OperationStep, steps)
        return claimed, steps

    async def run(self, intent: Intent, *, planned: bool = False) -> Operation:
        claimed, steps = await self.claim(intent, planned=planned)
        return (await self.operations.end(self.services, Reserved(claimed, steps))).operation

    def elsewhere(self, **values: Any) -> World:
        """Another process on the same database."""
        operations = Operations([self.kind], lease_s=45, duplicate_wait_s=values.pop("duplicate_wait_s", 5))
        return replace(self, services=replace(self.services, operations=operations, **values))

    def keys(self) -> list[str]:
        return [str(request.idempotency_key).split(":", 1)[1] for request in self.stripe.sent]


@pytest.fixture
async def world(services: Services, clock: Clock) -> World:
    stripe, kind = FakeStripe(), TwoSteps()
    operations = Operations([kind], lease_s=45, duplicate_wait_s=5)
    return World(replace(services, stripe=stripe, operations=operations), stripe, kind, clock)  # type: ignore[arg-type]


def intent(key: str | None = None, **arguments: Any) -> Intent:
    return Intent("user:guest", key or str(uuid4()), "two_steps", arguments)


# --- claims ---------------------------------------------------------------------------------------------------------


async def test_a_claim_is_new_once(world: World) -> None:
    asked = intent("k", a=1)
    first, _ = await world.claim(asked)
    again, _ = await world.claim(asked)
    assert (first.new, again.new) == (True, False)
    assert again.operation.id == first.operation.id


@pytest.mark.parametrize(
    "other",
    [
        Intent("user:guest", "k", "two_steps", {"a": 2}), Intent("user:guest", "k", "two_steps", {}),
        Intent("user:guest", "k", "other", {"a": 1}), Intent("user:guest", "k", "two_steps", {"a": "1"}),
        Intent("user:guest", "k", "two_steps", {"a": None}),
    ],
)  # fmt: skip
async def test_the_same_key_for_something_else_is_refused(world: World, other: Intent) -> None:
    await world.claim(intent("k", a=1))
    with pytest.raises(IdempotencyKeyReused):
        await world.claim(other)
    assert await Operation.all().count() == 1


async def test_keys_belong_to_their_caller(world: World) -> None:
    await world.claim(intent("k", a=1))
    claimed, _ = await world.claim(Intent("user:other", "k", "two_steps", {"a": 2}))
    assert claimed.new


async def test_a_claim_that_is_rolled_back_frees_its_key(world: World) -> None:
    async def refuse() -> None:
        async with world.services.database.transaction() as connection:
            await claim(connection, intent("k", a=1), subject_id=new_id(), leased_until=world.clock())
            raise InvalidState

    with pytest.raises(InvalidState):
        await refuse()
    claimed, _ = await world.claim(intent("k", a=2))
    assert claimed.new


async def test_the_order_of_arguments_does_not_matter(world: World) -> None:
    await world.claim(Intent("user:guest", "k", "two_steps", {"a": 1, "b": 2}))
    claimed, _ = await world.claim(Intent("user:guest", "k", "two_steps", {"b": 2, "a": 1}))
    assert not claimed.new


@pytest.mark.parametrize("key", ["", "k" * 256, "a\x00"])
def test_a_key_has_1_to_255_characters(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Intent("user:guest", key, "two_steps", {})
    assert refused.value.path == ["input", "idempotencyKey"]
    assert Intent("user:guest", "\N{SNOWMAN}" * 255, "two_steps", {}).arguments_hash


# --- running --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planned", [True, False])
async def test_steps_are_stored_before_they_are_sent_and_their_outcome_after(world: World, planned: bool) -> None:
    operation = await world.run(intent(), planned=planned)
    assert operation.status is OperationStatus.SUCCEEDED
    assert operation.finished_at is not None
    assert world.keys() == ["first:1", "second:1"]
    steps = {step.step: step for step in await OperationStep.all()}
    for name, request in zip(("first", "second"), world.stripe.sent, strict=True):
        step = steps[name]
        assert (step.status, step.stripe_request_id, step.outcome) == (StepStatus.DONE, "req_1", "ok")
        assert step.stripe_object_id is not None
        assert stored_request(step) == request


async def test_a_step_is_in_the_database_when_it_leaves(world: World) -> None:
    world.stripe.gate.clear()
    running = asyncio.create_task(world.run(intent()))
    await until(lambda: bool(world.stripe.sent))
    [step] = await OperationStep.all()
    assert step.status is StepStatus.PLANNED
    assert stored_request(step) == world.stripe.sent[0]
    world.stripe.gate.set()
    await running


async def test_no_transaction_is_open_while_stripe_is_asked(world: World) -> None:
    world.stripe.gate.clear()
    running = asyncio.create_task(world.run(intent()))
    await until(lambda: bool(world.stripe.sent))
    held = await world.services.database.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
        " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
    )
    assert held == 0
    world.stripe.gate.set()
    await running


async def test_a_refusal_ends_it_with_its_recorded_error(world: World) -> None:
    world.stripe.will.append(refusal("odd"))
    asked = intent("k")
    operation = await world.run(asked)
    assert operation.status is OperationStatus.FAILED
    assert world.keys() == ["first:1"]
    error = recorded_error(operation)
    assert isinstance(error, InvalidState)
    assert (error.state, str(error)) == ("NO", "Stripe said no.")
    again = await world.run(asked)
    assert str(recorded_error(again)) == str(error)
    assert len(world.stripe.sent) == 1
    [step] = await OperationStep.all()
    assert (step.status, step.outcome, step.stripe_request_id) == (StepStatus.REFUSED, "odd", "req_no")


async def test_a_step_that_cannot_be_planned_ends_it_with_that_error(world: World) -> None:
    world.kind.plans = InvalidState("Not now.", state="LATER")
    operation = await world.run(intent())
    assert operation.status is OperationStatus.FAILED
    assert str(recorded_error(operation)) == "Not now."
    assert world.stripe.sent == []


async def test_the_answer_of_a_refused_operation_is_its_error_each_time(world: World) -> None:
    world.stripe.will.append(refusal())
    for _ in range(2):
        claimed, _steps = await world.claim(intent("k"))
        with pytest.raises(InvalidState):
            await world.operations.answer(world.services, Reserved(claimed, ()))


# --- duplicates -----------------------------------------------------------------------------------------------------


async def test_duplicates_wait_for_the_first_and_answer_alike(world: World) -> None:
    world.stripe.gate.clear()
    asked = intent("k")
    running = [asyncio.create_task(world.run(asked)) for _ in range(50)]
    await until(lambda: bool(world.stripe.sent))
    world.stripe.gate.set()
    operations = await asyncio.gather(*running)
    assert len({operation.id for operation in operations}) == 1
    assert {operation.status for operation in operations} == {OperationStatus.SUCCEEDED}
    assert world.keys() == ["first:1", "second:1"]


async def test_a_duplicate_in_another_process_waits_too(world: World) -> None:
    world.stripe.gate.clear()
    asked = intent("k")
    first = asyncio.create_task(world.run(asked))
    await until(lambda: bool(world.stripe.sent))
    second = asyncio.create_task(world.elsewhere().run(asked))
    await asyncio.sleep(0.1)
    world.stripe.gate.set()
    assert (await first).id == (await second).id
    assert world.keys() == ["first:1", "second:1"]


async def test_a_duplicate_that_waited_too_long_is_told_to_come_back(world: World) -> None:
    world.stripe.gate.clear()
    asked = intent("k")
    first = asyncio.create_task(world.run(asked))
    await until(lambda: bool(world.stripe.sent))
    for impatient in (world.elsewhere(duplicate_wait_s=0.1), world):
        world.operations.duplicate_wait_s = 0.1
        with pytest.raises(OperationInProgress) as told:
            await impatient.run(asked)
        assert told.value.retry_after_seconds > 0
    world.stripe.gate.set()
    assert (await first).status is OperationStatus.SUCCEEDED


async def test_a_duplicate_takes_over_where_the_first_s_process_died(world: World) -> None:
    asked = intent("k")
    await world.claim(asked, planned=True)  # and then nothing more is heard of it
    world.clock.forward(seconds=46)
    operation = await world.run(asked)
    assert operation.status is OperationStatus.SUCCEEDED
    assert world.keys() == ["first:1", "second:1"]


async def test_a_duplicate_does_not_take_over_what_is_leased(world: World) -> None:
    asked = intent("k")
    await world.claim(asked, planned=True)
    with pytest.raises(OperationInProgress):
        await world.elsewhere(duplicate_wait_s=0.2).run(asked)
    assert world.stripe.sent == []


async def test_of_many_who_take_over_one_does(world: World) -> None:
    asked = intent("k")
    await world.claim(asked, planned=True)
    world.clock.forward(seconds=46)
    processes = [world.elsewhere() for _ in range(6)]
    operations = await asyncio.gather(*(process.run(asked) for process in processes))
    assert {operation.status for operation in operations} == {OperationStatus.SUCCEEDED}
    assert world.keys() == ["first:1", "second:1"]


# --- recovery -------------------------------------------------------------------------------------------------------


async def stranded(world: World, *, after: str | None) -> UUID:
    """An operation whose process died: before its first call, or after that step had been answered."""
    claimed, _ = await world.claim(intent(), planned=True)
    if after is not None:
        [step] = await OperationStep.all()
        await world.stripe.send(stored_request(step))
        world.stripe.sent.clear()
    return claimed.operation.id


@pytest.mark.parametrize("after", [None, "first"])
async def test_recovery_goes_on_where_the_process_died(world: World, after: str | None) -> None:
    id_ = await stranded(world, after=after)
    assert await world.operations.recover(world.services) == 0
    world.clock.forward(seconds=46)
    assert await world.operations.recover(world.services) == 1
    assert (await Operation.get(id=id_)).status is OperationStatus.SUCCEEDED
    assert world.keys() == ["first:1", "second:1"]
    assert len(world.stripe.made) == 2
    assert await world.operations.recover(world.services) == 0


async def test_a_crash_between_the_last_answer_and_the_settlement_repeats_nothing(world: World) -> None:
    world.kind.breaks = RuntimeError("the process dies here")
    with pytest.raises(RuntimeError):
        await world.run(intent())
    assert len(world.stripe.made) == 2
    world.kind.breaks = None
    world.clock.forward(seconds=46)
    await world.operations.recover(world.services)
    [operation] = await Operation.all()
    assert operation.status is OperationStatus.SUCCEEDED
    assert len(world.stripe.made) == 2
    assert world.keys() == ["first:1", "second:1"] * 2
    assert len(world.kind.settled) == 1


@pytest.mark.parametrize("took_effect", [True, False])
@pytest.mark.parametrize("failure", [unknown(), StripeNotSent("?", retry_after_s=1)])
async def test_what_is_not_known_is_not_recorded_and_goes_on_by_itself(
    world: World, failure: Exception, took_effect: bool
) -> None:
    world.stripe.will.append(failure)
    world.stripe.took_effect = took_effect
    with pytest.raises(StripeUnavailable):
        await world.run(intent())
    [operation] = await Operation.all()
    assert (operation.status, operation.error) == (OperationStatus.RUNNING, None)
    assert operation.leased_until < world.clock() + timedelta(seconds=10)
    world.clock.forward(seconds=10)
    assert await world.operations.recover(world.services) == 1
    assert (await Operation.get(id=operation.id)).status is OperationStatus.SUCCEEDED
    assert world.keys() == ["first:1", "first:1", "second:1"]
    assert len(world.stripe.made) == 2
    assert world.kind.found == 0


async def test_pauses_between_tries_grow(world: World) -> None:
    world.stripe.will.extend(unknown() for _ in range(20))
    with pytest.raises(StripeUnavailable):
        await world.run(intent())
    pauses = []
    for _ in range(12):
        [operation] = await Operation.all()
        pause = (operation.leased_until - world.clock()).total_seconds()
        pauses.append(round(pause))
        world.clock.forward(seconds=pause + 1)
        assert await world.operations.recover(world.services) == 1
    assert pauses == sorted(pauses)
    assert pauses[0] <= 2
    assert pauses[-1] == 600


async def test_a_500_that_stripe_replays_is_looked_up(world: World) -> None:
    """Stripe saves a 500 under its key and answers it for ever: what became of it only the lists can tell."""
    world.stripe.will.extend([unknown(500), unknown(500)])
    world.kind.finds = {"id": "x_found", "status": "ok"}
    with pytest.raises(StripeUnavailable):
        await world.run(intent())
    assert world.kind.found == 0
    world.clock.forward(seconds=10)
    await world.operations.recover(world.services)
    [operation] = await Operation.all()
    assert operation.status is OperationStatus.SUCCEEDED
    assert world.kind.found == 1
    assert world.keys() == ["first:1", "first:1", "second:1"]
    first = await OperationStep.get(step="first")
    assert first.stripe_object_id == "x_found"


async def test_while_a_call_may_still_run_at_stripe_no_list_proves_anything(world: World) -> None:
    world.stripe.will.extend([unknown(500), unknown(500), unknown(500)])
    with pytest.raises(StripeUnavailable):
        await world.run(intent())
    world.clock.forward(seconds=10)
    await world.operations.recover(world.services)
    assert world.keys() == ["first:1", "first:1"]
    assert world.kind.found == 1
    world.clock.forward(seconds=180)
    await world.operations.recover(world.services)
    assert world.keys() == ["first:1", "first:1", "first:1", "first:2", "second:1"]


async def test_a_500_that_left_nothing_is_tried_in_a_new_attempt(world: World) -> None:
    world.stripe.will.extend([unknown(500), unknown(500)])
    with pytest.raises(StripeUnavailable):
        await world.run(intent())
    world.clock.forward(seconds=180)
    await world.operations.recover(world.services)
    [operation] = await Operation.all()
    assert operation.status is OperationStatus.SUCCEEDED
    assert world.keys() == ["first:1", "first:1", "first:2", "second:1"]
    first, second = await OperationStep.filter(step="first").order_by("attempt")
    assert (first.body, first.path) == (second.body, second.path)


async def test_after_a_new_attempt_its_own_key_is_replayed(world: World) -> None:
    world.stripe.will.extend([unknown(500), unknown(500), unknown()])
    with pytest.raises(StripeUnavailable):
        await world.run(intent())
    for _ in range(2):
        world.clock.forward(seconds=180)
        await world.operations.recover(world.services)
    assert world.keys() == ["first:1", "first:1", "first:2", "first:2", "second:1"]


async def test_a_key_that_stripe_has_forgotten_is_not_sent_again(world: World) -> None:
    id_ = await stranded(world, after="first")
    world.kind.finds = {"id": "x_0", "status": "ok"}
    world.clock.forward(hours=24)
    await world.operations.recover(world.services)
    assert (await Operation.get(id=id_)).status is OperationStatus.SUCCEEDED
    assert world.keys() == ["second:1"]


async def test_what_no_list_can_tell_is_parked_for_a_person(world: World) -> None:
    id_ = await stranded(world, after=None)
    world.kind.finds = LookupError("nobody knows")
    world.clock.forward(hours=24)
    await world.operations.recover(world.services)
    assert (await Operation.get(id=id_)).status is OperationStatus.PARKED
    world.clock.forward(hours=24)
    assert await world.operations.recover(world.services) == 0
    assert world.stripe.sent == []


async def test_a_guest_who_asks_for_a_parked_operation_is_told_that_it_is_worked_on(world: World) -> None:
    asked = intent("k")
    await world.claim(asked, planned=True)
    world.kind.finds = LookupError("nobody knows")
    world.clock.forward(hours=24)
    world.operations.duplicate_wait_s = 0.1
    for _ in range(2):
        with pytest.raises(OperationInProgress):
            await world.run(asked)
    assert (await Operation.get(idempotency_key="k")).status is OperationStatus.PARKED


@pytest.mark.parametrize("bug", [KeyError("id"), RuntimeError("bug"), ZeroDivisionError()])
async def test_a_bug_in_one_operation_keeps_no_other_from_its_end(world: World, bug: Exception) -> None:
    world.kind.finds = bug
    old, _ = await world.claim(intent(), planned=True)
    world.clock.forward(hours=24)
    await world.services.database.pool.execute(
        "UPDATE operation_steps SET created_at = now() - interval '2 days' WHERE operation_id = $1", old.operation.id
    )
    await world.services.database.pool.execute("UPDATE operations SET leased_until = now() - interval '2 days'")
    others = [(await world.claim(intent()))[0].operation.id for _ in range(3)]
    world.clock.forward(seconds=46)
    assert await world.operations.recover(world.services) == 4
    statuses = {operation.id: operation.status for operation in await Operation.all()}
    assert statuses[old.operation.id] is OperationStatus.RUNNING
    assert {statuses[id_] for id_ in others} == {OperationStatus.SUCCEEDED}


async def test_two_recoveries_at_once_share_the_work(world: World) -> None:
    for _ in range(10):
        await world.claim(intent(), planned=True)
    world.clock.forward(seconds=46)
    taken = await asyncio.gather(*(w.operations.recover(w.services) for w in (world, world.elsewhere())))
    assert sum(taken) == 10
    assert sorted(world.keys()) == ["first:1"] * 10 + ["second:1"] * 10
    assert await Operation.filter(status=OperationStatus.SUCCEEDED).count() == 10


async def test_a_step_that_another_process_stored_first_is_sent_as_that_one_stored_it(world: World) -> None:
    claimed, _ = await world.claim(intent())
    theirs = StripeRequest.build("post", "/v1/first", {"n": "theirs"})
    other = new_step(claimed.operation.id, PlannedStep("first", theirs))
    async with world.services.database.transaction() as connection:
        await insert_rows(connection, OperationStep, [other])
    await world.operations.complete(world.services, claimed.operation)
    assert world.stripe.sent[0].body == "n=theirs"


async def test_an_ended_operation_stays_as_it_ended(world: World) -> None:
    operation = await world.run(intent())
    async with world.services.database.transaction() as connection:
        await finish(connection, [operation.id], errors={operation.id: InvalidState("late", state="LATE")})
    again = await Operation.get(id=operation.id)
    assert (again.status, again.error, again.finished_at) == (
        OperationStatus.SUCCEEDED, None, operation.finished_at,
    )  # fmt: skip


def test_answers_know_a_refusal() -> None:
    assert not Answers().refused
    assert Answers({"a": Refusal(refusal())}).refused
