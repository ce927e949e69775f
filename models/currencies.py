"""The currencies that Stripe can present, each with its five facts.

Sources: Stripe's "Supported currencies" page (presentment list, zero-decimal, three-decimal and special-case
currencies, minimum charge amounts) and ISO 4217 (minor units) through the package `iso4217`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from iso4217 import Currency as IsoCurrency

if TYPE_CHECKING:
    from collections.abc import Mapping

CODES: Final = tuple(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY COP
    CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD
    JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN
    NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB
    TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW
    """.split()
)

# Where Stripe's wire differs from ISO 4217: it has no hundredths of an ariary, and keeps two decimals, always zero,
# for two currencies that lost their minor unit.
_WIRE_EXPONENT: Final = {"MGA": 0, "ISK": 2, "UGX": 2}

# Codes that Stripe still presents and ISO 4217 has withdrawn.
_WITHDRAWN_DECIMALS: Final = {"STD": 2, "ANG": 2}

# Banks move whole units only of these, though they have hundredths ("Special cases" in "Supported currencies").
_PAID_OUT_IN_WHOLE_UNITS: Final = frozenset({"HUF", "TWD"})

# Minor units as displayed. Currencies that Stripe does not list are held to what the settlement currency's minimum
# converts to, which only Stripe knows: for them the smallest step is the minimum here.
_MINIMUM_CHARGE: Final = {
    "USD": 50, "AED": 200, "AUD": 50, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
    "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200,
    "RON": 200, "SEK": 300, "SGD": 50, "THB": 1000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Currency:
    """One currency: what people see, what goes over Stripe's wire, and what can be charged."""

    code: str
    decimals: int
    """Decimals shown to people; `*_minor` columns count units of 10 ** -decimals."""
    wire_exponent: int
    """Decimals of the integer amounts in Stripe's API."""
    step_minor: int
    """Amounts charged are multiples of this many minor units."""
    minimum_charge_minor: int
    """The smallest charge that Stripe accepts, in minor units."""
    payout_step_minor: int
    """Payouts are multiples of this many minor units."""


def _decimals(code: str) -> int:
    if code in _WITHDRAWN_DECIMALS:
        return _WITHDRAWN_DECIMALS[code]
    return int(IsoCurrency(code).exponent or 0)


def _currency(code: str) -> Currency:
    decimals = _decimals(code)
    wire_exponent = _WIRE_EXPONENT.get(code, decimals)
    # Three-decimal amounts must end in 0; an amount that the wire cannot carry is not chargeable either.
    step = 10 if decimals == 3 else 10 ** max(0, decimals - wire_exponent)
    payout_step = 10**decimals if code in _PAID_OUT_IN_WHOLE_UNITS else step
    return Currency(code, decimals, wire_exponent, step, _MINIMUM_CHARGE.get(code, step), payout_step)


@cache
def currencies() -> Mapping[str, Currency]:
    """All of them by ISO code, in alphabetical order."""
    return MappingProxyType({code: _currency(code) for code in CODES})


def currency(code: str) -> Currency:
    """The currency with this ISO 4217 code, in either case.

    Raises: KeyError for a code that Stripe cannot present.
    """
    return currencies()[code.upper()]
