"""What Stripe asks for beside its share of a charge, and how long it keeps money before it may be used."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from sandbox import money
from sandbox.errors import invalid

# "Dispute received fee", which a dispute that is won does not give back; elsewhere the same as in US dollars.
_DISPUTE_FEES: Final = {"usd": 1500, "eur": 2000, "gbp": 2000, "aud": 2500, "cad": 1500, "sgd": 1500}
_COMPLIANCE_FEE: Final = 50_000
_INSTANT_SHARE: Final = Decimal("0.015")
_INSTANT_LEAST: Final = 50
_INSTANT_MOST: Final = 999_900
_INSTANT_COUNTRIES: Final = frozenset(
    "AE AT AU BE BG CA CY CZ DE DK EE ES FI FR GB GR HK HR HU IE IT LT LU LV MT MY NL NO NZ PL PT RO SE SG SI SK "
    "US".split()
)
# Days from a payment to its availability ("Payout speed"); elsewhere it takes as long as in most of Europe.
_DELAY_DAYS: Final = {"US": 2, "AU": 2, "JP": 4, "BR": 30}
_USUAL_DELAY_DAYS: Final = 3
# What banks move in whole units only ("Special cases" in "Supported currencies").
_WHOLE_UNITS: Final = frozenset({"huf", "isk", "twd", "ugx"})


def settlement_days(country: str) -> int:
    """How many days an account of a country waits for its money at least."""
    return _DELAY_DAYS.get(country, _USUAL_DELAY_DAYS)


def dispute_fee(currency: str) -> int:
    """What a dispute costs, in the currency that the account settles in."""
    return _DISPUTE_FEES.get(currency) or money.convert(_DISPUTE_FEES["usd"], "usd", currency)


def compliance_fee(currency: str) -> int:
    """What a network takes for deciding on a compliance dispute: 500 US dollars ("Visa compliance")."""
    return money.convert(_COMPLIANCE_FEE, "usd", currency)


def instant_payout_fee(amount: int, currency: str) -> int:
    """What an instant payout costs: 1.5 %, at least fifty US cents."""
    return max(money.round_half_up(amount * _INSTANT_SHARE), money.convert(_INSTANT_LEAST, "usd", currency))


def pays_out_instantly(country: str) -> bool:
    """Whether accounts of a country can be paid out within minutes ("Availability")."""
    return country in _INSTANT_COUNTRIES


def check_payout_amount(amount: int, currency: str, *, is_instant: bool) -> None:
    """Refuse what cannot be paid out."""
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if currency in _WHOLE_UNITS and amount % 100:
        raise invalid(
            f"Invalid amount: {currency} payouts must be in whole units, in an amount that is divisible by 100.",
            "amount",
        )
    if not is_instant:
        return
    least, most = (money.convert(limit, "usd", currency) for limit in (_INSTANT_LEAST, _INSTANT_MOST))
    if not least <= amount <= most:
        raise invalid(
            f"Instant payouts must be between {money.shown(least, currency)} and {money.shown(most, currency)}.",
            "amount", "instant_payouts_limit_exceeded" if amount > most else "amount_too_small",
        )  # fmt: skip


def whole_units(amount: int, currency: str) -> int:
    """As much of an amount as can be paid out."""
    return amount - amount % 100 if currency in _WHOLE_UNITS else amount
