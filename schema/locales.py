"""Amounts as people write them, by locale. The digits are the currency's own: CLDR has other ideas of some."""

from __future__ import annotations

import unicodedata
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from babel import Locale, UnknownLocaleError
from babel.numbers import get_currency_symbol

from models.currencies import currency

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.money import Money

DEFAULT = "en"
_TAG_LENGTH = 35
_HEADER_LENGTH = 500


def format_money(money: Money, tag: str) -> str:
    """An amount with its symbol; a locale that is not known is written like English."""
    pattern, locale = _pattern(_known(tag) or DEFAULT, money.currency)
    text: str = pattern.apply(money.amount, locale, currency=money.currency, currency_digits=False)
    return text


def preferred_locale(accept_language: str | None) -> str:
    """The most wanted language of an Accept-Language header that can be formatted in; English where there is none."""
    for tag in _by_quality(accept_language or ""):
        known = _known(tag)
        if known is not None:
            return known
    return DEFAULT


@lru_cache(maxsize=512)
def _known(tag: str) -> str | None:
    """The nearest locale to a BCP 47 tag: extensions, then parts from the right, are left out until one is known."""
    if len(tag) > _TAG_LENGTH or not tag.isascii():
        return None
    parts = tag.replace("_", "-").split("-")
    while parts:
        try:
            return str(Locale.parse("_".join(parts)))
        except (ValueError, UnknownLocaleError):
            parts.pop()
    return None


@lru_cache(maxsize=2048)
def _pattern(name: str, code: str) -> tuple[Any, Locale]:
    """How a locale writes a currency: its own pattern, the currency's digits, and space beside letters."""
    locale = Locale.parse(name)
    pattern = copy(locale.currency_formats["standard"])
    decimals = currency(code).decimals
    pattern.frac_prec = (decimals, decimals)
    symbol = get_currency_symbol(code, locale)
    if _needs_space(symbol[-1]):
        pattern.prefix = tuple(_spaced_after(part) for part in pattern.prefix)
    if _needs_space(symbol[0]):
        pattern.suffix = tuple(_spaced_before(part) for part in pattern.suffix)
    return pattern, locale


def _needs_space(beside_number: str) -> bool:
    """Whether a symbol's character may not touch a digit (CLDR's currencySpacing, which babel leaves out)."""
    return unicodedata.category(beside_number)[0] not in "SZ"


def _spaced_after(prefix: str) -> str:
    return f"{prefix}\xa0" if prefix.endswith("¤") else prefix


def _spaced_before(suffix: str) -> str:
    return f"\xa0{suffix}" if suffix.startswith("¤") else suffix


def _by_quality(header: str) -> list[str]:
    return [tag for _, tag in sorted(_weighted(header[:_HEADER_LENGTH]), key=lambda pair: -pair[0])]


def _weighted(header: str) -> Iterator[tuple[float, str]]:
    for entry in header.split(","):
        tag, _, parameter = entry.strip().partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if tag and tag != "*" and 0 < quality <= 1:
            yield quality, tag.strip()
