"""The arithmetic of billing periods and of what a part of one costs, by tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.subscriptions import periods, proration
from sandbox.subscriptions.periods import Anchor, Cycle
from sandbox.subscriptions.proration import Debit

DAY_S = 86_400
CYCLES = [Cycle(interval, count) for interval in ("day", "week", "month", "year") for count in (1, 2, 3)]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("anchor", "cycle", "expected"),
    [
        ("2026-01-31", Cycle("month"), ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]),
        ("2028-01-31", Cycle("month"), ["2028-02-29", "2028-03-31"]),
        ("2026-01-30T23:59:59", Cycle("month"), ["2026-02-28T23:59:59", "2026-03-30T23:59:59"]),
        ("2026-02-28", Cycle("month"), ["2026-03-28", "2026-04-28"]),
        ("2028-02-29", Cycle("year"), ["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]),
        ("2026-11-30", Cycle("month", 3), ["2027-02-28", "2027-05-30", "2027-08-30"]),
        ("2026-08-31", Cycle("month", 6), ["2027-02-28", "2027-08-31"]),
        ("2026-12-31T12:00:00", Cycle("year", 2), ["2028-12-31T12:00:00"]),
        ("2026-02-27", Cycle("week", 2), ["2026-03-13", "2026-03-27"]),
        ("2028-02-28", Cycle("day", 1), ["2028-02-29", "2028-03-01"]),
    ],
)
def test_periods_follow_their_anchor_over_short_months_and_leap_days(anchor, cycle, expected):
    start = Anchor(at(anchor))
    found = [periods.boundary(start, cycle, index + 1) for index in range(len(expected))]
    assert found == [at(text) for text in expected]


def test_a_day_that_was_asked_for_comes_back_after_a_short_month():
    anchor = Anchor(at("2026-02-28"), day=31)
    found = [periods.boundary(anchor, Cycle("month"), index) for index in range(4)]
    assert found == [at(text) for text in ("2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31")]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("2026-01-31", ("2026-01-31", "2026-02-28")),
        ("2026-02-27T23:59:59", ("2026-01-31", "2026-02-28")),
        ("2026-02-28", ("2026-02-28", "2026-03-31")),
        ("2025-12-31", ("2025-12-31", "2026-01-31")),
        ("2025-12-30T23:59:59", ("2025-11-30", "2025-12-31")),
    ],
)
def test_a_second_lies_in_one_period(second, expected):
    start, end = expected
    assert periods.period_at(Anchor(at("2026-01-31")), Cycle("month"), at(second)) == (at(start), at(end))


@given(st.integers(0, 2**32), st.integers(0, 2**32), st.sampled_from(CYCLES))
def test_periods_leave_no_gap_and_do_not_overlap(anchor, second, cycle):
    first, last = periods.period_at(Anchor(anchor), cycle, second)
    assert first <= second < last
    assert periods.period_at(Anchor(anchor), cycle, last)[0] == last
    assert periods.period_at(Anchor(anchor), cycle, last - 1) == (first, last)
    assert periods.after(Anchor(anchor), cycle, second) == last


@pytest.mark.parametrize(
    ("config", "now", "expected"),
    [
        ({"day_of_month": 31}, "2026-02-10T08:30:15", "2026-02-28T08:30:15"),
        ({"day_of_month": 10}, "2026-02-10T08:30:15", "2026-02-10T08:30:15"),
        ({"day_of_month": 10, "hour": 8}, "2026-02-10T08:30:15", "2026-02-10T08:30:15"),
        ({"day_of_month": 10, "hour": 7}, "2026-02-10T08:30:15", "2026-03-10T07:30:15"),
        ({"day_of_month": 1, "hour": 0, "minute": 0, "second": 0}, "2026-12-15T10:00:00", "2027-01-01"),
        ({"day_of_month": 29, "month": 2}, "2026-03-01T01:02:03", "2027-02-28T01:02:03"),
        ({"day_of_month": 1, "month": 6, "hour": None}, "2026-03-01T01:02:03", "2026-06-01T01:02:03"),
    ],
)
def test_a_configured_anchor_is_the_next_such_second(config, now, expected):
    assert periods.configured_anchor(config, at(now)) == at(expected)


APRIL = (at("2026-04-01"), at("2026-05-01"))
YEAR = (at("2027-01-01"), at("2028-01-01"))
LEAP_YEAR = (at("2028-01-01"), at("2029-01-01"))


@pytest.mark.parametrize(
    ("amount", "period", "second", "given_back", "charged"),
    [
        (1_000, APRIL, "2026-04-01", -1_000, 1_000),
        (1_000, APRIL, "2026-04-16", -500, 500),
        (1_000, APRIL, "2026-04-11", -667, 667),
        (1_000, APRIL, "2026-04-30T23:59:59", 0, 0),
        (100_000_00, APRIL, "2026-04-30T23:59:59", -4, 4),
        (1_000, APRIL, "2026-05-01", 0, 0),
        (1, APRIL, "2026-04-16", -1, 1),
        (3, APRIL, "2026-04-16", -2, 2),
        (12_000, YEAR, "2027-03-01", -10_060, 10_060),
        (12_000, LEAP_YEAR, "2028-03-01", -10_033, 10_033),
        (0, APRIL, "2026-04-16", 0, 0),
    ],
)
def test_a_change_costs_what_is_left_of_the_period_to_the_second(amount, period, second, given_back, charged):
    assert proration.credit(Debit(amount, *period), at(second)) == given_back
    assert proration.charge(amount, period, at(second)) == charged


def test_nothing_is_given_back_beyond_what_was_paid_for():
    debit = Debit(1_000, *APRIL)
    assert proration.credit(debit, APRIL[0] - DAY_S) == -1_000
    assert proration.credit(debit, APRIL[1] + DAY_S) == 0
    assert proration.credit(Debit(1_000, APRIL[0], APRIL[0]), APRIL[0]) == 0


def test_a_stretch_in_the_middle_costs_its_share():
    assert proration.charge(3_000, APRIL, at("2026-04-04"), at("2026-04-07")) == 300
    assert proration.charge(3_000, APRIL, at("2026-04-07"), at("2026-04-04")) == 0
    assert proration.charge(3_000, (5, 5), 5) == 0


@given(st.integers(0, 10**8), st.lists(st.integers(0, 30 * DAY_S), min_size=1, max_size=5))
def test_changes_back_and_forth_within_a_second_cost_nothing(amount, seconds):
    total = 0
    for second in seconds:
        moment = APRIL[0] + second
        total += proration.charge(amount, APRIL, moment) + proration.credit(Debit(amount, *APRIL), moment)
    assert total == 0


@given(st.integers(-(10**6), 10**6), st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
def test_shares_add_up(total, weights):
    found = proration.shares(total, weights)
    assert sum(found) == (total if sum(weights) else 0)
    assert len(found) == len(weights)
