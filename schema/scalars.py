"""The scalars: exact, and strict about what they take in."""

from __future__ import annotations

import re
from datetime import MAXYEAR, UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NewType

import strawberry

if TYPE_CHECKING:
    from collections.abc import Mapping

BigInt = NewType("BigInt", int)

DIGITS_MAX = 18
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_BIG_INT_MAX = 2**63 - 1


def parse_decimal(value: Any) -> Decimal:
    """An exact number: a string without exponent, or a JSON integer; 18 digits at most.

    Raises: ValueError; floats among them, since they are not exact.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text) or sum(map(str.isdigit, text)) > DIGITS_MAX:
        raise ValueError(f'A Decimal is a string like "12.50", of at most {DIGITS_MAX} digits.')
    return Decimal(text)


def parse_big_int(value: Any) -> BigInt:
    """A JSON integer of 64 bits.

    Raises: ValueError.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not -_BIG_INT_MAX - 1 <= value <= _BIG_INT_MAX:
        raise ValueError("A BigInt is an integer of 64 bits.")
    return BigInt(value)


def parse_date_time(value: Any) -> datetime:
    """A time with its offset, in UTC.

    Raises: ValueError; for the year 9999, too: something is to come after it, and its last microsecond is PostgreSQL's
        infinity.
    """
    problem = 'A DateTime is a string like "2030-06-01T18:00:00Z", with its offset, and before the year 9999.'
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise ValueError(problem)
    try:
        parsed = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(problem) from None
    if parsed.year == MAXYEAR:
        raise ValueError(problem)
    return parsed


def _serialize_date_time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def scalar_map() -> Mapping[object, Any]:
    """Python's types and the scalars that stand for them."""
    return {
        BigInt: strawberry.scalar(
            name="BigInt", description="A 64-bit integer, as a JSON number.", serialize=int, parse_value=parse_big_int
        ),
        Decimal: strawberry.scalar(
            name="Decimal",
            description='An exact decimal number, as a string: "12.50".',
            serialize=lambda value: format(value, "f"),
            parse_value=parse_decimal,
        ),
        datetime: strawberry.scalar(
            name="DateTime",
            description='A time with its offset from UTC, as ISO 8601 writes it: "2030-06-01T18:00:00Z".',
            specified_by_url="https://datatracker.ietf.org/doc/html/rfc3339",
            serialize=_serialize_date_time,
            parse_value=parse_date_time,
        ),
    }
