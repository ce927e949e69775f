"""What part of a period costs ("Prorations"): to the second, rounded to the currency's smallest unit.

Amounts are integers as on Stripe's wire; a credit is negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Debit:
    """What was charged for a stretch of time that may have to be given back.

    Attributes:
        amount: after discounts.
        start: first second that was paid for.
        end: first second that was not.
    """

    amount: int
    start: int
    end: int


def credit(debit: Debit, at: int) -> int:
    """What is given back of a debit for the time from `at` on: zero or less."""
    if debit.end <= debit.start:
        return 0
    left = debit.end - min(max(at, debit.start), debit.end)
    return -rounded(Fraction(debit.amount) * left / (debit.end - debit.start))


def charge(amount: int, period: tuple[int, int], start: int, end: int | None = None) -> int:
    """What a stretch of a period costs.

    Args:
        amount: for the whole period.
        period: the whole period's first second and the first of the next.
        start: the stretch's first second.
        end: the first second after it, if not the period's end.
    """
    first, last = period
    if last <= first:
        return 0
    stop = last if end is None else end
    return rounded(Fraction(amount) * max(stop - start, 0) / (last - first))


def shares(total: int, weights: list[int]) -> list[int]:
    """A total divided among several by their weights; the shares add up to it."""
    whole = sum(weights)
    given, passed, result = 0, 0, []
    for weight in weights:
        passed += weight
        upto = rounded(Fraction(total) * passed / whole) if whole else 0
        result.append(upto - given)
        given = upto
    return result


def rounded(value: Fraction) -> int:
    """To a whole number, away from zero at a half."""
    whole = (abs(value.numerator) * 2 + value.denominator) // (2 * value.denominator)
    return whole if value >= 0 else -whole
