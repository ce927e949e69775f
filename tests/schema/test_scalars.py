"""The scalars are exact and strict."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from schema.scalars import parse_big_int, parse_date_time, parse_decimal, scalar_map


@pytest.mark.parametrize("text", ["0", "12.50", "-3", "0.001", "9" * 18, "00.10"])
def test_a_decimal_is_read_exactly(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)


def test_a_json_integer_is_a_decimal_too_since_it_is_exact() -> None:
    assert parse_decimal(12) == Decimal(12)


@pytest.mark.parametrize(
    "value",
    [
        "", " 1", "1 ", "+1", ".5", "1.", "1e3", "1E400000", "NaN", "sNaN", "Infinity", "-Infinity", "0x10", "1_000",
        "1,5", "\u0661", "9" * 19, "1." + "0" * 18, 1.5, True, None, [], 10**18,
    ],
)  # fmt: skip
def test_what_is_no_plain_number_is_no_decimal(value: Any) -> None:
    with pytest.raises(ValueError, match="Decimal"):
        parse_decimal(value)


@pytest.mark.parametrize("value", [0, -(2**63), 2**63 - 1])
def test_a_big_int_has_64_bits(value: int) -> None:
    assert parse_big_int(value) == value


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.0, True, "1", None])
def test_what_is_no_64_bit_integer_is_no_big_int(value: Any) -> None:
    with pytest.raises(ValueError, match="BigInt"):
        parse_big_int(value)


@pytest.mark.parametrize(
    "text", ["2030-06-01T18:00:00Z", "2030-06-01T20:00:00+02:00", "2030-06-01T18:00Z", "2030-06-01T18:00:00.000000Z"]
)
def test_a_time_is_read_with_its_offset(text: str) -> None:
    assert parse_date_time(text) == datetime(2030, 6, 1, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "", "2030-06-01", "2030-06-01T18:00:00", "2030-06-01 18:00:00Z", "20300601T180000Z", "2030-02-30T00:00:00Z",
        "2030-06-01T25:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2030-W22-6T00:00:00Z", 0,
        "9999-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", None,
    ],
)  # fmt: skip
def test_what_is_no_time_with_an_offset_is_no_date_time(value: Any) -> None:
    with pytest.raises(ValueError, match="DateTime"):
        parse_date_time(value)


def test_times_go_out_in_utc_and_decimals_without_an_exponent() -> None:
    scalars = scalar_map()
    there = timezone(timedelta(hours=2))
    assert scalars[datetime].serialize(datetime(2030, 6, 1, 20, tzinfo=there)) == "2030-06-01T18:00:00Z"
    assert scalars[Decimal].serialize(Decimal("1E+3")) == "1000"
    assert scalars[Decimal].serialize(Decimal("0.000")) == "0.000"
