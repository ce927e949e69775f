"""The countries whose hosts Stripe can onboard, and the currency that their accounts settle in by default.

Source: Stripe's "Global availability" and "Cross-border payouts" pages; currencies as "Supported currencies" has them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

DEFAULT_CURRENCIES: Final = MappingProxyType(
    {
        "AE": "AED", "AT": "EUR", "AU": "AUD", "BE": "EUR", "BG": "EUR", "BR": "BRL", "CA": "CAD", "CH": "CHF",
        "CY": "EUR", "CZ": "CZK", "DE": "EUR", "DK": "DKK", "EE": "EUR", "ES": "EUR", "FI": "EUR", "FR": "EUR",
        "GB": "GBP", "GI": "GIP", "GR": "EUR", "HK": "HKD", "HR": "EUR", "HU": "HUF", "IE": "EUR", "IT": "EUR",
        "JP": "JPY", "LI": "CHF", "LT": "EUR", "LU": "EUR", "LV": "EUR", "MT": "EUR", "MX": "MXN", "MY": "MYR",
        "NL": "EUR", "NO": "NOK", "NZ": "NZD", "PL": "PLN", "PT": "EUR", "RO": "RON", "SE": "SEK", "SG": "SGD",
        "SI": "EUR", "SK": "EUR", "TH": "THB", "US": "USD",
    }
)  # fmt: skip
