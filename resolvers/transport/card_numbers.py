"""No card number ever reaches this server: a request that carries something like one is refused unread.

Cards belong to Stripe.js, which makes tokens of them; a number that came here all the same would make logs, backups and
this whole server a matter of PCI DSS. What is looked for: 13 to 19 digits in a row, spaces and dashes between them left
aside, that begin as a brand's numbers do, are as long as its numbers are, and pass the Luhn check ("ISO/IEC 7812-1").
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

REFUSAL: Final = (
    "This looks like a card number, and card numbers must not be sent here. Let Stripe.js make a payment method of the"
    " card, and send its id (pm_…)."
)
CODE: Final = "CARD_NUMBER"

_DIGITS_MIN: Final = 13
_DIGITS_MAX: Final = 19
# One pass over the bytes, at a fraction of what a regular expression costs: digits become 0, what may stand between
# them goes away, and so few requests have 13 in a row that the rest need not be fast.
_TABLE: Final = bytes(ord("0") if chr(byte).isdigit() and byte < 0x80 else ord(".") for byte in range(256))
_BETWEEN: Final = b" -" + bytes(range(0x80, 0x100))
_ROW: Final = b"0" * _DIGITS_MIN

# Keyboards of other scripts write digits of their own: Arabic, Persian and Urdu, Devanagari, and the wide ones of
# Chinese and Japanese. All ten of each begin with the same bytes.
_ZEROS: Final = (0x0660, 0x06F0, 0x0966, 0xFF10)
_FOREIGN: Final = tuple(
    (chr(zero).encode()[:-1], tuple((chr(zero + digit).encode(), str(digit).encode()) for digit in range(10)))
    for zero in _ZEROS
)
# JSON and GraphQL may write any character as an escape; one within the other doubles the backslash.
_ESCAPED: Final = (b"\\u00", b"\\u20", b"\\u06", b"\\u09", b"\\uff", b"\\uFF")
_GAPS: Final = (0x20, 0x2D, 0xA0, *range(0x2000, 0x2016), 0x202F)
_ESCAPES: Final = (
    *((f"u003{digit}".encode(), str(digit).encode()) for digit in range(10)),
    *((f"u{gap:04{case}}".encode(), b" ") for case in "xX" for gap in _GAPS),
    *(
        (f"u{zero + digit:04{case}}".encode(), str(digit).encode())
        for case in "xX" for zero in _ZEROS for digit in range(10)
    ),
)  # fmt: skip

# Between digits: spaces and dashes, those of Unicode too (no-break, thin and narrow ones; hyphens, en and em dashes).
_GAP: Final = rb"(?:[ -]|\xc2\xa0|\xe2\x80[\x80-\x95\xaf]){0,3}"
# Not within a longer number, nor behind a decimal point.
_START: Final = re.compile(rb"(?<![0-9])(?<![0-9]\.)[2-68](?=(?:" + _GAP + rb"[0-9]){12})")
_NUMBER: Final = re.compile(rb"[0-9](?:" + _GAP + rb"[0-9]){12,18}")
_DIGIT: Final = re.compile(rb"[0-9]")
# Nobody has so many numbers to send; who does wants to keep this server busy.
_STARTS_MAX: Final = 500

_BRANDS: Final = (
    (re.compile(rb"4"), {13, 16, 19}),  # Visa
    (re.compile(rb"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),  # Mastercard
    (re.compile(rb"3[47]"), {15}),  # American Express
    (re.compile(rb"6011|64[4-9]|65"), {16, 17, 18, 19}),  # Discover
    (re.compile(rb"30[0-5]|3095|3[89]"), {14, 16, 17, 18, 19}),  # Diners Club
    (re.compile(rb"36"), {14, 15, 16, 17, 18, 19}),
    (re.compile(rb"352[89]|35[3-8]"), {16, 17, 18, 19}),  # JCB
    (re.compile(rb"62|81"), {16, 17, 18, 19}),  # UnionPay
    (re.compile(rb"5018|5020|5038|5893|6304|6759|676[1-3]"), set(range(13, 20))),  # Maestro
)
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# Hashes and ids in hexadecimal have long rows of digits now and then.
_HEXADECIMAL: Final = re.compile(rb"[0-9a-fA-F]+")
_HEXADECIMAL_MIN: Final = 20
_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_LENGTH: Final = 36
# Numbers of orders are often put together with a time or a day.
_TIME: Final = re.compile(
    rb"(?<![0-9])(?:1[4-9][0-9]{8}(?:[0-9]{3}){0,3}|20[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    rb"|20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{6})?)(?![0-9])"
)
# Telephone numbers have up to 15 digits ("E.164").
_TELEPHONE_MAX: Final = 15


def has_card_number(text: bytes) -> bool:
    """Whether a body or message, as it came, carries something like a card number."""
    if any(escaped in text for escaped in _ESCAPED):
        text = text.replace(b"\\", b"")
        for escape, character in _ESCAPES:
            text = text.replace(escape, character)
    if not text.isascii():
        for lead, digits in _FOREIGN:
            if lead in text:
                for written, digit in digits:
                    text = text.replace(written, digit)
    return _ROW in text.translate(_TABLE, _BETWEEN) and _is_there(text)


def has_card_number_in_url(query: bytes) -> bool:
    """The same of a URL's query string."""
    return has_card_number(unquote_to_bytes(query.replace(b"+", b" "))) if query else False


def _is_there(text: bytes) -> bool:
    for count, start in enumerate(_START.finditer(text)):
        if count >= _STARTS_MAX:
            return True
        number = _NUMBER.match(text, start.start())
        if number is not None and _is_card(text, number):
            return True
    return False


def _is_card(text: bytes, number: re.Match[bytes]) -> bool:
    """Whether digits that begin here are a card's: as many of them as its brand has, up to where a row of them ends."""
    ends = [found.end() for found in _DIGIT.finditer(text, number.start(), number.end())]
    digits = bytes(text[end - 1] for end in ends)
    lengths = next((lengths for begins, lengths in _BRANDS if begins.match(digits)), set())
    for length in lengths:
        if length > len(digits):
            continue
        end = ends[length - 1]
        if text[end : end + 1].isdigit() or not _passes_luhn(digits[:length]):
            continue
        if not _is_something_else(text, number.start(), end, length):
            return True
    return False


def _passes_luhn(digits: bytes) -> bool:
    odd = sum(digits[-1::-2]) - 48 * len(digits[-1::-2])
    return (odd + sum(_DOUBLED[digit - 48] for digit in digits[-2::-2])) % 10 == 0


def _is_something_else(text: bytes, start: int, end: int, length: int) -> bool:
    """Whether what stands in or around a number makes it no card's: a time, a decimal, a telephone, a UUID, a hash."""
    if text[end : end + 1] == b"." and text[end + 1 : end + 2].isdigit():
        return True
    if text[max(0, start - 1) : start] == b"+" and length <= _TELEPHONE_MAX:
        return True
    if _TIME.search(text, start, end) is not None:
        return True
    around = max(0, start - _UUID_LENGTH)
    if any(found.start() < end and start < found.end() for found in _UUID.finditer(text, around, end + _UUID_LENGTH)):
        return True
    while start and _HEXADECIMAL.match(text, start - 1, start):
        start -= 1
    token = _HEXADECIMAL.match(text, start)
    assert token is not None
    return token.end() >= end and len(token[0]) >= _HEXADECIMAL_MIN and not token[0].isdigit()
