"""The five facts of each currency."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.currencies import CODES, currencies, currency

# Stripe's "Supported currencies": zero-decimal, and three-decimal.
ZERO_ON_THE_WIRE = {
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF",
}  # fmt: skip
THREE_ON_THE_WIRE = {"BHD", "JOD", "KWD", "OMR", "TND"}


@pytest.mark.parametrize("code", CODES)
def test_each_goes_over_the_wire_as_stripe_says(code: str) -> None:
    expected = 0 if code in ZERO_ON_THE_WIRE else 3 if code in THREE_ON_THE_WIRE else 2
    assert currency(code).wire_exponent == expected


@pytest.mark.parametrize(
    ("code", "decimals", "step"),
    [
        ("EUR", 2, 1), ("JPY", 0, 1), ("KWD", 3, 10), ("ISK", 0, 1), ("UGX", 0, 1), ("MGA", 2, 100), ("HUF", 2, 1),
        ("RSD", 2, 1), ("ALL", 2, 1), ("STD", 2, 1), ("ANG", 2, 1), ("XCG", 2, 1), ("SLE", 2, 1),
    ],
)  # fmt: skip
def test_decimals_are_iso_s_and_the_step_is_what_the_wire_can_carry(code: str, decimals: int, step: int) -> None:
    facts = currency(code)
    assert (facts.decimals, facts.step_minor) == (decimals, step)


@pytest.mark.parametrize("code", CODES)
def test_the_minimum_charge_is_a_positive_multiple_of_the_step(code: str) -> None:
    facts = currency(code)
    assert facts.minimum_charge_minor > 0
    assert facts.minimum_charge_minor % facts.step_minor == 0


def test_codes_are_known_in_either_case_once_and_in_order() -> None:
    assert currency("eur") is currency("EUR")
    assert list(currencies()) == sorted(set(CODES))
    assert len(CODES) == len(set(CODES))


@given(st.text(max_size=4).filter(lambda text: text.upper() not in CODES))
def test_anything_else_is_no_currency(code: str) -> None:
    with pytest.raises(KeyError):
        currency(code)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        currencies()["EUR"] = currency("USD")  # type: ignore[index]


@pytest.mark.parametrize(
    ("code", "step"), [("HUF", 100), ("TWD", 100), ("ISK", 1), ("UGX", 1), ("KWD", 10), ("EUR", 1)]
)
def test_payouts_go_in_the_steps_that_banks_move(code: str, step: int) -> None:
    assert currency(code).payout_step_minor == step
