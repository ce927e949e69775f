"""Currencies as Stripe has them: what may be charged, what one is worth in another, what a charge costs.

The exchange rates are fixed, so that a test can know its answer. Amounts are integers as on Stripe's wire.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from sandbox.errors import ApiError, invalid

MAX_AMOUNT: Final = 99_999_999

ZERO_DECIMAL: Final = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split()
)  # fmt: skip
THREE_DECIMAL: Final = frozenset("bhd jod kwd omr tnd".split())
_WHOLE_HUNDREDS: Final = frozenset({"isk", "ugx"})

_MINIMUM: Final = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50,
    "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip

# Units of the currency for one US dollar.
_PER_DOLLAR: Final = {
    "usd": "1", "aed": "3.6725", "afn": "70", "all": "92", "amd": "390", "ang": "1.79", "aoa": "900", "ars": "1000",
    "aud": "1.52", "awg": "1.79", "azn": "1.7", "bam": "1.8", "bbd": "2", "bdt": "119", "bgn": "1.8", "bhd": "0.376",
    "bif": "2900", "bmd": "1", "bnd": "1.34", "bob": "6.91", "brl": "5.5", "bsd": "1", "bwp": "13.6", "byn": "3.3",
    "bzd": "2", "cad": "1.37", "cdf": "2800", "chf": "0.88", "clp": "940", "cny": "7.2", "cop": "4100", "crc": "515",
    "cve": "101", "czk": "23", "djf": "178", "dkk": "6.9", "dop": "60", "dzd": "134", "egp": "48", "etb": "120",
    "eur": "0.92", "fjd": "2.25", "fkp": "0.79", "gbp": "0.79", "gel": "2.72", "gip": "0.79", "gmd": "70",
    "gnf": "8600",
    "gtq": "7.7", "gyd": "209", "hkd": "7.8", "hnl": "25", "htg": "131", "huf": "360", "idr": "15800", "ils": "3.7",
    "inr": "84", "isk": "138", "jmd": "158", "jod": "0.709", "jpy": "150", "kes": "129", "kgs": "86", "khr": "4070",
    "kmf": "453", "krw": "1380", "kwd": "0.307", "kyd": "0.83", "kzt": "490", "lak": "21900", "lbp": "89500",
    "lkr": "293", "lrd": "190", "lsl": "17.8", "mad": "9.9", "mdl": "17.9", "mga": "4600", "mkd": "56.6", "mmk": "2100",
    "mnt": "3400", "mop": "8", "mur": "46", "mvr": "15.4", "mwk": "1735", "mxn": "19.5", "myr": "4.4", "mzn": "64",
    "nad": "17.8", "ngn": "1650", "nio": "36.8", "nok": "11", "npr": "134", "nzd": "1.67", "omr": "0.385", "pab": "1",
    "pen": "3.77", "pgk": "4", "php": "58", "pkr": "278", "pln": "4", "pyg": "7800", "qar": "3.64", "ron": "4.6",
    "rsd": "108", "rub": "97", "rwf": "1360", "sar": "3.75", "sbd": "8.3", "scr": "13.6", "sek": "10.7", "sgd": "1.34",
    "shp": "0.79", "sle": "22.6", "sos": "571", "srd": "34", "std": "22500", "svc": "8.75", "szl": "17.8", "thb": "34",
    "tjs": "10.6", "tnd": "3.1", "top": "2.4", "try": "34", "ttd": "6.8", "twd": "32", "tzs": "2700", "uah": "41",
    "ugx": "3670", "uyu": "42", "uzs": "12800", "vnd": "25300", "vuv": "119", "wst": "2.75", "xaf": "603", "xcd": "2.7",
    "xcg": "1.79", "xof": "603", "xpf": "110", "yer": "250", "zar": "17.8", "zmw": "27",
}  # fmt: skip

_BY_COUNTRY: Final = {
    "AE": "aed", "AU": "aud", "BG": "bgn", "BR": "brl", "CA": "cad", "CH": "chf", "CZ": "czk", "DK": "dkk", "GB": "gbp",
    "GI": "gip", "HK": "hkd", "HU": "huf", "IN": "inr", "JP": "jpy", "LI": "chf", "MX": "mxn", "MY": "myr", "NO": "nok",
    "NZ": "nzd", "PL": "pln", "RO": "ron", "SE": "sek", "SG": "sgd", "TH": "thb", "US": "usd",
}  # fmt: skip
_EURO: Final = frozenset(
    [
        "AT",
        "BE",
        "CY",
        "DE",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PT",
        "SI",
        "SK",
    ]
)
# Countries of hosts that can only be paid by a platform elsewhere ("Cross-border payouts").
_ELSEWHERE: Final = {
    "AL": "all", "AM": "amd", "AR": "ars", "BA": "bam", "BD": "bdt", "BJ": "xof", "BO": "bob", "CI": "xof", "CL": "clp",
    "CO": "cop", "CR": "crc", "DO": "dop", "EC": "usd", "EG": "egp", "ET": "etb", "GH": "usd", "GM": "gmd", "GT": "gtq",
    "GY": "gyd", "ID": "idr", "IL": "ils", "IS": "eur", "JM": "jmd", "JO": "jod", "KE": "kes", "KH": "khr", "KR": "krw",
    "KW": "kwd", "KZ": "kzt", "LK": "lkr", "MA": "mad", "MD": "mdl", "MG": "mga", "MK": "mkd", "MN": "mnt", "MO": "mop",
    "MU": "mur", "NA": "nad", "NG": "ngn", "PA": "usd", "PE": "pen", "PH": "php", "PK": "pkr", "PY": "pyg", "QA": "qar",
    "RS": "rsd", "RW": "rwf", "SA": "sar", "SN": "xof", "SV": "usd", "TN": "tnd", "TR": "try", "TT": "ttd", "TW": "twd",
    "TZ": "tzs", "UY": "uyu", "UZ": "uzs", "VN": "vnd", "ZA": "zar",
}  # fmt: skip


def country_currency(country: str) -> str | None:
    """The currency that a country's accounts settle in; None for a country without Stripe."""
    return _BY_COUNTRY.get(country) or ("eur" if country in _EURO else _ELSEWHERE.get(country))


def is_cross_border_only(country: str) -> bool:
    """Whether accounts of the country can get transfers but take no payments of their own."""
    return country in _ELSEWHERE


def check_currency(currency: str, param: str = "currency") -> str:
    """The currency in small letters.

    Raises: ApiError for one that Stripe does not know.
    """
    known = currency.lower()
    if known not in _PER_DOLLAR:
        supported = ", ".join(sorted(_PER_DOLLAR))
        raise invalid(f"Invalid currency: {currency}. Stripe currently supports these currencies: {supported}", param)
    return known


def check_currency_key(currency: str, param: str) -> str:
    """A currency as a map is keyed by it.

    Raises: ApiError for one in capitals, and for one that Stripe does not know.
    """
    if currency != currency.lower() and currency.lower() in _PER_DOLLAR:
        raise invalid(
            f"Currencies must be lowercase when used as keys in a map. Use `{currency.lower()}` instead of "
            f"`{currency}`.", param,
        )  # fmt: skip
    return check_currency(currency, param)


def check_amount(amount: int, currency: str, param: str = "amount") -> None:
    """Refuse what cannot be charged ("Minimum and maximum charge amounts", "Special cases")."""
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", param, "parameter_invalid_integer")
    if amount > MAX_AMOUNT:
        raise invalid(
            f"Amount must be no more than {shown(MAX_AMOUNT, currency)} {currency}.", param, "amount_too_large"
        )
    if currency in THREE_DECIMAL and amount % 10:
        raise invalid(f"Invalid amount: the last digit of an amount in {currency} must be 0.", param)
    if currency in _WHOLE_HUNDREDS and amount % 100:
        raise invalid(f"Invalid amount: an amount in {currency} must be divisible by 100.", param)
    minimum = least(currency)
    if amount < minimum:
        raise ApiError(
            f"Amount must be at least {shown(minimum, currency)} {currency}", param=param, code="amount_too_small"
        )


def least(currency: str) -> int:
    """The smallest amount that can be charged."""
    minimum = _MINIMUM.get(currency)
    if minimum is None:
        minimum = 1 if currency in ZERO_DECIMAL else 2
    return minimum


def shown(amount: int, currency: str) -> str:
    """An amount as Stripe's messages show it."""
    digits = decimals(currency)
    value = f"{Decimal(amount).scaleb(-digits):,.{digits}f}"
    sign = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}.get(currency)
    return f"{sign}{value}" if sign else value


def decimals(currency: str) -> int:
    """Decimal places on Stripe's wire."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def exchange_rate(source: str, target: str) -> Decimal:
    """Units of `target` for one unit of `source`, six places."""
    if source == target:
        return Decimal(1)
    rate = Decimal(_PER_DOLLAR[target]) / Decimal(_PER_DOLLAR[source])
    return rate.quantize(Decimal("0.000001"), ROUND_HALF_UP) if rate >= Decimal("0.001") else rate.normalize()


def convert(amount: int, source: str, target: str) -> int:
    """The same money in another currency, rounded half up."""
    if source == target:
        return amount
    shift = decimals(target) - decimals(source)
    return round_half_up(Decimal(amount) * exchange_rate(source, target) * (Decimal(10) ** shift))


def share(settled: int, gone: int, amount: int, total: int) -> int:
    """The part of what was settled that belongs to a part of a payment; that of all parts adds up to all of it.

    Args:
        gone: how much of the payment went before.
    """
    if settled == total:
        return amount
    return ratio(settled * (gone + amount), total) - ratio(settled * gone, total)


def round_half_up(value: Decimal) -> int:
    """To a whole number, away from zero at a half."""
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))


def ratio(numerator: int, denominator: int) -> int:
    """A fraction of an amount, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def stripe_fee(amount: int, currency: str) -> int:
    """What Stripe keeps of a charge: 2.9 % and thirty US cents."""
    return min(amount, round_half_up(Decimal(amount) * Decimal("0.029")) + convert(30, "usd", currency))
