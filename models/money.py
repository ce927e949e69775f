"""Amounts of money: integers of minor units with their currency, and the arithmetic that keeps them whole."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation
from typing import TYPE_CHECKING

from models.currencies import currency as currency_by_code

if TYPE_CHECKING:
    from collections.abc import Sequence


# Stripe takes at most eight digits ("The PaymentIntent object", amount).
WIRE_AMOUNT_MAX = 99_999_999

# Nothing is rounded away unseen, and what is read fits a BIGINT.
_EXACT = Context(prec=18, traps=[Inexact, InvalidOperation])


class MoneyError(ValueError):
    """An amount that its currency cannot express; the text is fit for a guest to read."""


class CurrencyMismatchError(TypeError):
    """Two currencies met in one sum: always a bug of the caller."""


@dataclass(frozen=True, slots=True)
class Money:
    """So many minor units of a currency; 12.50 EUR is `Money(1250, "EUR")`."""

    minor: int
    currency: str

    @classmethod
    def zero(cls, currency: str) -> Money:
        """Nothing, in this currency."""
        return cls(0, currency)

    @classmethod
    def from_amount(cls, amount: Decimal, currency: str) -> Money:
        """From major units.

        Raises: MoneyError where the amount has more decimals than the currency, cannot be charged exactly, or is
            larger than any.
        """
        facts = currency_by_code(currency)
        try:
            exact = _EXACT.quantize(amount, Decimal(1).scaleb(-facts.decimals))
        except Inexact:
            raise MoneyError(f"{currency} amounts have at most {facts.decimals} decimals.") from None
        except InvalidOperation:
            raise MoneyError(f"This is not an amount of {currency}.") from None
        if not exact.is_finite():
            raise MoneyError(f"This is not an amount of {currency}.")
        minor = int(exact.scaleb(facts.decimals))
        if minor % facts.step_minor:
            raise MoneyError(f"{currency} amounts go in steps of {cls(facts.step_minor, currency).amount}.")
        return cls(minor, currency)

    @classmethod
    def from_wire(cls, wire: int, currency: str) -> Money:
        """From an integer amount in Stripe's API ("Supported currencies"), whose currency codes are lower case."""
        facts = currency_by_code(currency)
        shift = facts.decimals - facts.wire_exponent
        minor = wire * 10**shift if shift >= 0 else wire // 10**-shift
        return cls(minor, facts.code)

    @property
    def wire(self) -> int:
        """The integer amount for Stripe's API."""
        facts = currency_by_code(self.currency)
        shift = facts.wire_exponent - facts.decimals
        factor: int = 10 ** abs(shift)
        return self.minor * factor if shift >= 0 else self.minor // factor

    @property
    def amount(self) -> Decimal:
        """Major units, with exactly as many decimals as the currency has."""
        return Decimal(self.minor).scaleb(-currency_by_code(self.currency).decimals)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatchError(f"{self.currency} and {other.currency}")
        return other.minor

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other), self.currency)

    def __mul__(self, count: int) -> Money:
        return Money(self.minor * count, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._same(other)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def percent(self, percent: Decimal) -> Money:
        """This share of it, rounded half up to the smallest chargeable step."""
        step = currency_by_code(self.currency).step_minor
        steps = (Decimal(self.minor) * percent / 100 / step).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        return Money(int(steps) * step, self.currency)

    def proportion(self, part: Money, whole: Money) -> Money:
        """`self × part ÷ whole`, rounded half up to a minor unit; zero of a zero whole."""
        if not whole:
            return Money(0, self.currency)
        return Money(rounded_share(self.minor, whole._same(part), whole.minor), self.currency)

    def split(self, weights: Sequence[int]) -> list[Money]:
        """Shares in proportion to the weights that add up to the whole, by the largest-remainder method.

        Raises: ValueError for negative weights or weights that are all zero.
        """
        total = sum(weights)
        if total <= 0 or min(weights) < 0:
            raise ValueError("weights must be non-negative and not all zero")
        shares = [self.minor * weight // total for weight in weights]
        by_remainder = sorted(range(len(weights)), key=lambda i: (-(self.minor * weights[i] % total), i))
        for i in by_remainder[: self.minor - sum(shares)]:
            shares[i] += 1
        return [Money(share, self.currency) for share in shares]


def rounded_share(amount: int, part: int, whole: int) -> int:
    """`amount × part ÷ whole` of minor units, rounded half up: part and whole may be of another currency."""
    return (2 * amount * part + whole) // (2 * whole)
