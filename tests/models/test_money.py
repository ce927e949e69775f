"""Money: whole minor units, exact arithmetic, Stripe's wire."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.currencies import CODES, currency
from models.money import CurrencyMismatchError, Money, MoneyError

codes = st.sampled_from(CODES)
minors = st.integers(min_value=-(10**12), max_value=10**12)


@st.composite
def chargeable(draw: st.DrawFn) -> Money:
    """An amount that can be charged: a multiple of its currency's step."""
    code = draw(codes)
    return Money(draw(st.integers(0, 10**9)) * currency(code).step_minor, code)


@pytest.mark.parametrize(
    ("amount", "code", "minor", "wire"),
    [
        ("12.50", "EUR", 1250, 1250),
        ("0.01", "USD", 1, 1),
        ("500", "JPY", 500, 500),
        ("1000", "KRW", 1000, 1000),
        ("5", "ISK", 5, 500),
        ("5000", "UGX", 5000, 500_000),
        ("5.00", "MGA", 500, 5),
        ("1.230", "KWD", 1230, 1230),
        ("7.500", "BHD", 7500, 7500),
        ("175.00", "HUF", 17500, 17500),
        ("10.00", "TWD", 1000, 1000),
        ("3.00", "RSD", 300, 300),
    ],
)
def test_an_amount_becomes_minor_units_and_the_wire_s_integer(amount: str, code: str, minor: int, wire: int) -> None:
    money = Money.from_amount(Decimal(amount), code)
    assert (money.minor, money.wire) == (minor, wire)
    assert Money.from_wire(wire, code.lower()) == money
    assert str(money.amount) == amount


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0.001", "EUR"), ("0.5", "JPY"), ("0.01", "ISK"), ("0.1", "UGX"), ("1.231", "KWD"), ("0.5", "MGA"),
        ("1.0001", "BHD"),
    ],  # fmt: skip
)
def test_an_amount_that_cannot_be_charged_exactly_is_refused_with_the_currency_s_name(amount: str, code: str) -> None:
    with pytest.raises(MoneyError, match=code):
        Money.from_amount(Decimal(amount), code)


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity", "1e18", "1e999999", "1" * 40])
def test_what_is_no_number_is_no_amount(amount: str) -> None:
    with pytest.raises(MoneyError):
        Money.from_amount(Decimal(amount), "EUR")


@pytest.mark.parametrize("amount", [f"1.{'0' * 40}1", "1e-999999"])
def test_a_fraction_is_refused_however_small(amount: str) -> None:
    with pytest.raises(MoneyError, match="decimals"):
        Money.from_amount(Decimal(amount), "EUR")


def test_an_unknown_currency_is_not_guessed() -> None:
    with pytest.raises(KeyError):
        Money.from_amount(Decimal(1), "XXX")


@given(chargeable())
def test_every_chargeable_amount_survives_the_wire_and_the_decimal(money: Money) -> None:
    assert Money.from_wire(money.wire, money.currency.lower()) == money
    assert Money.from_amount(money.amount, money.currency) == money
    assert type(money.wire) is int


@given(st.integers(0, 10**9), codes)
def test_every_wire_amount_is_a_whole_number_of_minor_units_or_loses_less_than_one(wire: int, code: str) -> None:
    money = Money.from_wire(wire, code.lower())
    assert type(money.minor) is int
    assert money.currency == code
    assert 0 <= wire - money.wire < 10 ** max(0, currency(code).wire_exponent - currency(code).decimals)


@given(minors, minors, codes)
def test_sums_and_differences_are_those_of_the_integers(a: int, b: int, code: str) -> None:
    assert Money(a, code) + Money(b, code) == Money(a + b, code)
    assert Money(a, code) - Money(b, code) == Money(a - b, code)
    assert -Money(a, code) + Money(a, code) == Money.zero(code)
    assert (Money(a, code) < Money(b, code)) == (a < b)
    assert (Money(a, code) >= Money(b, code)) == (a >= b)
    assert bool(Money(a, code)) == (a != 0)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a <= b, lambda a, b: a > b,
        lambda a, b: a >= b, lambda a, b: a.proportion(b, a),
    ],
)  # fmt: skip
def test_two_currencies_never_meet_in_one_sum(mixed) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CurrencyMismatchError):
        mixed(Money(1, "EUR"), Money(1, "USD"))


@given(minors, st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any), codes)
def test_the_parts_of_a_split_add_up_and_miss_their_exact_share_by_less_than_one(
    minor: int, weights: list[int], code: str
) -> None:
    parts = Money(minor, code).split(weights)
    assert sum(part.minor for part in parts) == minor
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part.minor * sum(weights) - minor * weight) < sum(weights)
        if weight == 0:
            assert not part


def test_the_largest_remainder_gets_the_odd_unit() -> None:
    assert [part.minor for part in Money(100, "EUR").split([1, 1, 1])] == [34, 33, 33]
    assert [part.minor for part in Money(10, "JPY").split([61, 27, 12])] == [6, 3, 1]
    assert [part.minor for part in Money(1, "USD").split([1, 2])] == [0, 1]


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [2, -1], [-1]])
def test_weights_that_share_nothing_out_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Money(100, "EUR").split(weights)


@given(chargeable(), st.decimals(0, 100, places=3))
def test_a_percentage_is_chargeable_and_misses_its_exact_value_by_half_a_step_at_most(
    money: Money, percent: Decimal
) -> None:
    step = currency(money.currency).step_minor
    share = money.percent(percent)
    assert share.minor % step == 0
    assert abs(share.minor * 100 - money.minor * percent) <= Decimal(step * 100) / 2
    assert 0 <= share.minor <= money.minor


def test_a_percentage_rounds_half_up() -> None:
    assert Money(25, "EUR").percent(Decimal(10)) == Money(3, "EUR")
    assert Money(1_000_050, "KWD").percent(Decimal(10)) == Money(100_010, "KWD")
    assert Money(500, "MGA").percent(Decimal(10)) == Money(100, "MGA")


@given(st.integers(0, 10**12), st.integers(1, 10**12), codes, st.data())
def test_a_proportion_of_a_part_lies_between_nothing_and_the_whole(
    minor: int, whole: int, code: str, data: st.DataObject
) -> None:
    part = data.draw(st.integers(0, whole))
    share = Money(minor, code).proportion(Money(part, code), Money(whole, code))
    assert 0 <= share.minor <= minor
    assert abs(2 * (share.minor * whole - minor * part)) <= whole


def test_a_proportion_of_nothing_is_nothing() -> None:
    assert Money(7, "EUR").proportion(Money(0, "EUR"), Money(0, "EUR")) == Money.zero("EUR")


@given(minors, codes)
def test_money_reads_as_its_amount_and_code(minor: int, code: str) -> None:
    money = Money(minor, code)
    assert str(money) == f"{money.amount} {code}"
    assert -money.amount.as_tuple().exponent == currency(code).decimals  # type: ignore[operator]
