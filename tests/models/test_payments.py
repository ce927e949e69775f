"""The legal moves of a payment, all of them, and what its amounts mean."""

from __future__ import annotations

from itertools import product

import pytest

from models.money import Money
from models.payments import ChargeModel, Payment, PaymentStatus

S = PaymentStatus
OPEN = {S.PENDING, S.REQUIRES_ACTION, S.PROCESSING, S.FAILED}
CAPTURED = {S.SUCCEEDED, S.PARTIALLY_REFUNDED, S.REFUNDED}

LEGAL = {
    **dict.fromkeys(OPEN, set(S) - {S.PENDING}),
    S.AUTHORIZED: CAPTURED | {S.CANCELED},
    **dict.fromkeys(CAPTURED, CAPTURED),
    S.CANCELED: set(),
}


@pytest.mark.parametrize(("old", "new"), list(product(S, S)))
def test_each_move_is_legal_or_not(old: PaymentStatus, new: PaymentStatus) -> None:
    assert old.may_become(new) == (new in LEGAL[old])


@pytest.mark.parametrize("status", list(S))
def test_what_can_be_done_in_each_state(status: PaymentStatus) -> None:
    assert status.is_captured == (status in CAPTURED)
    assert status.is_final == (status in CAPTURED | {S.CANCELED})
    assert status.can_be_canceled == (status in {S.PENDING, S.REQUIRES_ACTION, S.AUTHORIZED, S.FAILED})
    assert status.can_be_retried == (status in {S.PENDING, S.REQUIRES_ACTION, S.FAILED})


def test_captured_money_is_never_uncaptured_and_nothing_leaves_canceled() -> None:
    for old, new in product(S, S):
        if old.may_become(new):
            assert old is not S.CANCELED
            assert new.is_captured or not old.is_captured


def test_what_is_left_to_refund_counts_refunds_under_way() -> None:
    payment = Payment(
        charge_model=ChargeModel.DESTINATION, currency="EUR", amount_minor=1000, captured_minor=900, refunded_minor=200,
        refund_pending_minor=100, platform_fee_minor=90, host_amount_minor=810,
    )  # fmt: skip
    assert payment.refundable == Money(600, "EUR")
    assert payment.amount == Money(1000, "EUR")
    assert payment.captured == Money(900, "EUR")
    assert payment.refunded == Money(200, "EUR")
    assert payment.platform_fee + payment.host_amount == payment.captured
