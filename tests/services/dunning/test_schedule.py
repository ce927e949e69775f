"""The days on which a failed invoice is tried again, by tables: day 0 is that of the first failure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dunning.schedule import Plan

FIRST = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
DEFAULT = (2, 5, 7, 7)


def on(day: float) -> datetime:
    return FIRST + timedelta(days=day)


def day_of(moment: datetime | None) -> float | None:
    return None if moment is None else (moment - FIRST) / timedelta(days=1)


def days_of(days: tuple[int, ...]) -> tuple[list[float], float]:
    """The days of the tries where each is made when it is due, and the day of the end."""
    plan, tries = Plan.begin(days, FIRST), []
    while plan.next_attempt_at is not None:
        tries.append((plan.next_attempt_at - FIRST) / timedelta(days=1))
        plan = plan.failed(plan.next_attempt_at)
    assert plan.retries == len(tries)
    return tries, (plan.ends_at - FIRST) / timedelta(days=1)


@pytest.mark.parametrize(
    ("days", "tries", "end"),
    [
        (DEFAULT, [2, 7, 14, 21], 21),
        ((3, 5, 7), [3, 8, 15], 15),
        ((1,), [1], 1),
        ((1, 1, 1), [1, 2, 3], 3),
        ((30,), [30], 30),
        ((), [], 0),
    ],
)
def test_each_try_is_so_many_days_after_the_one_before_and_the_last_is_the_end(days, tries, end):
    assert days_of(days) == (tries, end)


@pytest.mark.parametrize(
    ("retries", "next_attempt", "end"), [(0, 2, 21), (1, 7, 21), (2, 14, 21), (3, 21, 21), (4, None, 21)]
)
def test_the_counter_says_how_many_tries_were_made_after_the_first_failure(retries, next_attempt, end):
    plan = Plan.begin(DEFAULT, FIRST)
    for _ in range(retries):
        assert plan.next_attempt_at is not None
        plan = plan.failed(plan.next_attempt_at)
    assert (plan.retries, day_of(plan.next_attempt_at), day_of(plan.ends_at)) == (retries, next_attempt, end)


def test_a_try_that_came_late_moves_all_that_follows_by_as_much():
    plan = Plan.begin(DEFAULT, FIRST).failed(on(4))
    assert (plan.retries, day_of(plan.next_attempt_at), day_of(plan.ends_at)) == (1, 9, 23)
    plan = plan.failed(on(9)).failed(on(16.5))
    assert (plan.retries, day_of(plan.next_attempt_at), day_of(plan.ends_at)) == (3, 23.5, 23.5)
    assert plan.failed(on(23.5)).next_attempt_at is None


def test_a_try_ahead_of_its_time_counts_for_nothing():
    plan = Plan.begin(DEFAULT, FIRST)
    assert plan.failed(on(1)) == plan
    plan = plan.failed(on(2))
    assert plan.failed(on(6.99)) == plan
    last = plan.failed(on(7)).failed(on(14)).failed(on(21))
    assert last.failed(on(21.5)) == last


def test_a_try_that_waited_for_the_guest_counts_and_the_end_stays_where_it_is():
    plan = Plan.begin(DEFAULT, FIRST)
    # The bank said that the card will never do; on day 10 another one came, and the try is due at once.
    plan = Plan(plan.days, plan.retries, plan.last_failed_at, on(10), plan.ends_at).failed(on(10))
    assert (plan.retries, day_of(plan.next_attempt_at), day_of(plan.ends_at)) == (1, 15, 21)
    plan = plan.failed(on(15))
    assert (plan.retries, day_of(plan.next_attempt_at), day_of(plan.ends_at)) == (2, 21, 21)
    plan = plan.failed(on(21))
    assert (plan.retries, plan.next_attempt_at, day_of(plan.ends_at)) == (3, None, 21)
    assert plan.due_at is None
    assert plan.failed(on(22)) == plan


def test_a_schedule_that_was_shortened_meanwhile_ends_with_the_tries_that_were_made():
    plan = Plan.begin(DEFAULT, FIRST).failed(on(2)).failed(on(7))
    shortened = Plan((2, 5), plan.retries, plan.last_failed_at, plan.next_attempt_at, plan.ends_at)
    assert shortened.failed(on(14)).next_attempt_at is None


@given(
    days=st.lists(st.integers(1, 30), max_size=6).map(tuple),
    late=st.lists(st.integers(0, 3 * 86_400), min_size=6, max_size=6),
)
def test_however_late_there_are_as_many_tries_as_days_and_none_after_the_end(days, late):
    plan = Plan.begin(days, FIRST)
    for made, seconds in zip(range(len(days)), late, strict=False):
        assert plan.next_attempt_at is not None
        assert plan.next_attempt_at <= plan.ends_at
        tried_at = plan.next_attempt_at + timedelta(seconds=seconds)
        plan = plan.failed(tried_at)
        assert plan.retries == made + 1
        assert plan.ends_at == tried_at + timedelta(days=sum(days[made + 1 :]))
    assert plan.next_attempt_at is None
