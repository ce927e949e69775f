"""Amounts as clients see and write them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from models.currencies import CODES, currency
from models.money import Money as Amount
from schema.locales import format_money, preferred_locale
from schema.money import CurrencyCode, Money, MoneyInput
from services.errors import InvalidInput


def test_every_currency_that_stripe_presents_has_its_code() -> None:
    assert [member.value for member in CurrencyCode] == list(CODES)


@pytest.mark.parametrize("code", CODES)
def test_an_amount_has_as_many_decimals_as_its_currency(code: str) -> None:
    money = Money.of(Amount(123450, code))
    assert -int(money.amount.as_tuple().exponent) == currency(code).decimals
    assert money.minor_units == 123450


@pytest.mark.parametrize("code", CODES)
def test_an_amount_is_written_with_as_many_decimals_as_its_currency(code: str) -> None:
    text = format_money(Amount(1_000_000, code), "en")
    _, point, decimals = text.rpartition(".")
    assert (len(decimals) if point else 0) == currency(code).decimals, text


@pytest.mark.parametrize(
    ("minor", "code", "locale", "text"),
    [
        (123456, "EUR", "en", "€1,234.56"), (123456, "EUR", "de-DE", "1.234,56\xa0€"),
        (123456, "EUR", "de-AT", "€\xa01.234,56"), (1250, "JPY", "ja", "\uffe51,250"),
        (1250, "KWD", "en", "KWD\xa01.250"),
        (123456, "RSD", "en", "RSD\xa01,234.56"), (-1250, "USD", "en-US", "-$12.50"),
        (1250, "USD", "de_CH", "$\xa012.50"), (1250, "EUR", "zh-Hant-TW", "€12.50"),
    ],
)  # fmt: skip
def test_amounts_are_written_as_people_write_them(minor: int, code: str, locale: str, text: str) -> None:
    assert format_money(Amount(minor, code), locale) == text


@pytest.mark.parametrize(
    ("tag", "like"),
    [
        ("de-XX", "de"), ("de-DE-u-co-phonebk", "de-DE"), ("xx-YY", "en"), ("", "en"), ("d\x00e", "en"), ("ä", "en"),
        ("e" * 300, "en"), ("../../etc/passwd", "en"), ("-", "en"), ("de-", "de"), ("🙂", "en"),
    ],
)  # fmt: skip
def test_an_unknown_locale_is_taken_by_its_language_or_like_english(tag: str, like: str) -> None:
    assert format_money(Amount(123456, "EUR"), tag) == format_money(Amount(123456, "EUR"), like)


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        (None, "en"), ("", "en"), ("de-CH, de;q=0.9, en;q=0.8", "de_CH"), ("en;q=0.5, fr", "fr"), ("*", "en"),
        ("xx, sv;q=0.3", "sv"), ("de;q=0", "en"), ("de;q=nonsense", "en"), (";;;,,,", "en"), ("q=1", "en"),
        ("fr;q=nan, de", "de"), ("x" * 100_000, "en"),
    ],
)  # fmt: skip
def test_the_most_wanted_language_that_is_known_is_taken(header: str | None, locale: str) -> None:
    assert preferred_locale(header) == locale


def test_an_amount_comes_in_as_minor_units() -> None:
    given = MoneyInput(amount=Decimal("12.5"), currency=CurrencyCode("EUR"))
    assert given.to_money(["amount"]) == Amount(1250, "EUR")


@pytest.mark.parametrize(("amount", "code"), [("1.005", "EUR"), ("1.5", "JPY"), ("1.005", "KWD"), ("9" * 18, "EUR")])
def test_an_amount_that_its_currency_cannot_express_is_refused_by_its_field(amount: str, code: str) -> None:
    given = MoneyInput(amount=Decimal(amount), currency=CurrencyCode(code))
    with pytest.raises(InvalidInput) as caught:
        given.to_money(["input", "price"])
    assert caught.value.path == ["input", "price"]
