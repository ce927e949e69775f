"""Where payouts go: bank accounts and debit cards, by Stripe's test values ("Testing Stripe Connect", "Payouts")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sandbox import money, pricing
from sandbox.errors import ApiError, Json, invalid
from sandbox.ids import new_id
from sandbox.test_cards import is_card_number

KINDS: Final = ("bank_account", "card")
# What becomes of payouts to a test account, by its number without the zeros that it begins with in some countries.
_BANKS: Final = (
    (re.compile(r"1{6,}6"), "no_account"), (re.compile(r"1{6,}3"), "account_closed"),
    (re.compile(r"2{6,}7"), "insufficient_funds"), (re.compile(r"3{6,}5"), "debit_not_authorized"),
    (re.compile(r"4{6,}0"), "invalid_currency"),
)  # fmt: skip
# An IBAN tells by its end, in whatever country.
_IBANS: Final = {
    "0532013001": "no_account", "0532013002": "account_closed", "0532013003": "insufficient_funds",
    "0532013004": "debit_not_authorized", "0532013005": "invalid_currency",
}  # fmt: skip
_NOT_INSTANT: Final = re.compile(r"8{6,}3")
_TOKENS: Final = {
    "noAccount": "000111111116", "accountClosed": "000111111113", "insufficientFunds": "000222222227",
    "debitNotAuthorized": "000333333335", "invalidCurrency": "000444444440",
}  # fmt: skip
_FINE: Final = "000123456789"
_CARD_TOKEN: Final = re.compile(r"tok_(visa|mastercard|discover)_debit(?:_([a-z]{2})_(\w+))?")
_BRANDS: Final = {"visa": "Visa", "mastercard": "MasterCard", "discover": "Discover"}
_BY_FIRST_DIGIT: Final = {"4": "Visa", "5": "MasterCard", "2": "MasterCard", "6": "Discover"}
# By country: where payouts arrive, where they fail, and where they cannot arrive within minutes.
_CARDS: Final = {
    "US": (("4000056655665556", "5200828282828210", "6011981111111113"), "4000056655665572", "4000056755665555"),
    "CA": (("4000051240000005", "5510121240000006"), "4000051240000021", "4000051240000039"),
    "SG": (("4000057020000008", "2227200000000009"), "4000057020000016", "4000057020000024"),
    "AU": (("4000050360000019", "5555050360000023"), "4000050360000027", "4000050360000035"),
    "AE": (("4000057840000006", "5555057840000002"), "4000057840000014", "4000057840000022"),
    "GB": (("4000058260000203", "5555058260000100"), "4000058260000211", "4000058260000229"),
    "AT": (("4000050400000003", "5555050400000009"), "4000050400000011", "4000050400000029"),
    "BE": (("4000050560000009", "5555050560000005"), "4000050560000017", "4000050560000025"),
    "HR": (("4000051910000004", "5555051910000000"), "4000051910000012", "4000051910000020"),
    "CY": (("4000051960000003", "5555051960000009"), "4000051960000011", "4000051960000029"),
    "EE": (("4000052330000004", "5555052330000000"), "4000052330000012", "4000052330000020"),
    "FI": (("4000052460000006", "5555052460000002"), "4000052460000014", "4000052460000022"),
    "FR": (("4000052500000008", "5555052500000004"), "4000052500000016", "4000052500000024"),
}  # fmt: skip
_FAILS: Final = "could_not_process"


@dataclass(frozen=True, slots=True)
class _Card:
    number: str
    country: str
    brand: str
    failure: str | None = None
    is_instant: bool = True


def external_account_body(account: Json, details: Any, metadata: dict[str, str]) -> Json:
    """A bank account or debit card of an account, by its details or a test token; it is not stored yet.

    Raises: ApiError for what is none, and for a card that is no debit card.
    """
    if isinstance(details, str):
        card = _card_of_token(details)
        if card is not None:
            return _card_body(account, card, {}, metadata)
        details = {"account_number": _number_of(details)}
    if details.get("object") != "card":
        return _bank_body(account, details, metadata)
    found = _card_of_token(details["token"]) if "token" in details else _card_of(str(details.get("number")))
    if found is None:
        raise invalid(f"No such token: '{details['token']}'", "external_account", "resource_missing")
    return _card_body(account, found, details, metadata)


def _number_of(token: str) -> str:
    if not token.startswith(("btok_", "tok_")):
        raise invalid(f"No such token: '{token}'", "external_account", "resource_missing")
    return _TOKENS.get(token.rpartition("_")[2], _FINE)


def _bank_body(account: Json, details: Json, metadata: dict[str, str]) -> Json:
    """The Bank Account object."""
    number = str(details.get("account_number") or "").replace(" ", "")
    country = str(details.get("country") or account["country"])
    if len(number) < 4:
        raise invalid(
            "You must supply either a card, customer, PII data, bank account, or account legal entity to create a "
            "token."
        )
    currency = money.check_currency(
        str(details.get("currency") or money.country_currency(country) or account["default_currency"]),
        "external_account[currency]",
    )
    is_instant = pricing.pays_out_instantly(country) and not _NOT_INSTANT.fullmatch(number.lstrip("0"))
    return {
        "id": new_id("ba"), "object": "bank_account", "account": account["id"],
        "account_holder_name": details.get("account_holder_name"),
        "account_holder_type": details.get("account_holder_type"), "account_type": None,
        "available_payout_methods": _methods(is_instant=is_instant), "bank_name": "STRIPE TEST BANK",
        "country": country, "currency": currency, "customer": None, "default_for_currency": True,
        "fingerprint": sha256(number.encode()).hexdigest()[:16],
        "future_requirements": _nothing_due(), "last4": number[-4:], "metadata": metadata,
        "requirements": _nothing_due(), "routing_number": details.get("routing_number") or "110000000",
        "status": "new", "_failure": _failure_of(number),
    }  # fmt: skip


def _failure_of(number: str) -> str | None:
    if number[:1].isalpha():
        return _IBANS.get(number[-10:])
    return next((code for pattern, code in _BANKS if pattern.fullmatch(number.lstrip("0"))), None)


def _methods(*, is_instant: bool) -> list[str]:
    return ["standard", "instant"] if is_instant else ["standard"]


def _nothing_due() -> Json:
    return {"currently_due": [], "errors": [], "past_due": [], "pending_verification": []}


def _card_of_token(token: str) -> _Card | None:
    """By a test token, as `tok_visa_debit_us_transferFail`; None for a bank's."""
    found = _CARD_TOKEN.fullmatch(token)
    if found is None:
        return None
    brand, country, what = found[1], (found[2] or "us").upper(), found[3] or "transferSuccess"
    number = _CARDS.get(country, _CARDS["US"])[0][0]
    if what not in ("transferSuccess", "transferFail", "instantPayoutUnsupported"):
        return None
    failure = _FAILS if what == "transferFail" else None
    return _Card(number, country, _BRANDS[brand], failure, what != "instantPayoutUnsupported")


def _card_of(number: str) -> _Card:
    number = number.replace(" ", "")
    if not is_card_number(number):
        raise ApiError(
            "Your card number is incorrect.", status=402, type_="card_error", code="incorrect_number", param="number"
        )
    brand = _BY_FIRST_DIGIT.get(number[0], "Visa")
    for country, (fine, failing, slow) in _CARDS.items():
        if number in fine:
            return _Card(number, country, brand)
        if number in (failing, slow):
            return _Card(number, country, brand, _FAILS if number == failing else None, number == failing)
    raise invalid(
        "The card provided as an external account is not a debit card. Provide a debit card or use a bank account "
        "instead.", "external_account", "invalid_card_type",
    )  # fmt: skip


def _card_body(account: Json, card: _Card, details: Json, metadata: dict[str, str]) -> Json:
    """The Card object."""
    currency = details.get("currency") or money.country_currency(card.country) or account["default_currency"]
    address = {
        f"address_{part}": details.get(f"address_{part}")
        for part in ("city", "country", "line1", "line2", "state", "zip")
    }
    return {
        "id": new_id("card"), "object": "card", "account": account["id"], **address, "address_line1_check": None,
        "address_zip_check": None, "allow_redisplay": "unspecified",
        "available_payout_methods": _methods(is_instant=card.is_instant), "brand": card.brand, "country": card.country,
        "currency": money.check_currency(str(currency), "external_account[currency]"), "customer": None,
        "cvc_check": None, "default_for_currency": True, "dynamic_last4": None,
        "exp_month": details.get("exp_month", 8), "exp_year": details.get("exp_year", 2034),
        "fingerprint": sha256(card.number.encode()).hexdigest()[:16], "funding": "debit", "last4": card.number[-4:],
        "metadata": metadata, "name": details.get("name"), "networks": {"preferred": None},
        "regulated_status": "unregulated", "status": "new", "tokenization_method": None, "_failure": card.failure,
    }  # fmt: skip
