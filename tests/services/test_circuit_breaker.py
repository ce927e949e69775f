"""The circuit breaker: closed, open, one probe, closed again."""

from __future__ import annotations

import pytest

from services.circuit_breaker import BreakerState, CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(failures=3, open_s=5, monotonic=clock)


def trip(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        assert breaker.allow()
        breaker.failed()


def test_it_lets_everything_through_until_failures_come_in_a_row(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        assert breaker.allow()
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.retry_after_s == 0


def test_failures_in_a_row_open_it_for_a_while(breaker: CircuitBreaker, clock: Clock) -> None:
    trip(breaker)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allow()
    clock.now += 2
    assert breaker.retry_after_s == 3
    clock.now += 2.9
    assert not breaker.allow()


def test_a_half_open_circuit_lets_one_probe_through(breaker: CircuitBreaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 5
    assert breaker.state is BreakerState.HALF_OPEN
    assert [breaker.allow() for _ in range(3)] == [True, False, False]


def test_a_probe_that_is_answered_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 5
    assert breaker.allow()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    breaker.failed()
    assert breaker.allow()


def test_a_probe_that_fails_opens_it_again_for_as_long(breaker: CircuitBreaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 5
    assert breaker.allow()
    breaker.failed()
    assert not breaker.allow()
    assert breaker.retry_after_s == 5
    clock.now += 5
    assert breaker.allow()


def test_a_probe_that_told_nothing_makes_room_for_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 5
    assert breaker.allow()
    breaker.abandoned()
    assert breaker.allow()
    assert not breaker.allow()


def test_an_answer_to_a_call_that_left_before_it_opened_closes_it(breaker: CircuitBreaker) -> None:
    trip(breaker)
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
