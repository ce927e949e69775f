"""The legal moves of a refund, all of them."""

from __future__ import annotations

from itertools import product

import pytest

from models.refunds import RefundStatus

S = RefundStatus

LEGAL = {
    S.PENDING: set(S) - {S.PENDING},
    S.REQUIRES_ACTION: set(S) - {S.REQUIRES_ACTION},
    S.SUCCEEDED: {S.FAILED},
    S.FAILED: set(),
    S.CANCELED: set(),
}


@pytest.mark.parametrize(("old", "new"), list(product(S, S)))
def test_each_move_is_legal_or_not(old: RefundStatus, new: RefundStatus) -> None:
    assert old.may_become(new) == (new in LEGAL[old])


@pytest.mark.parametrize("status", list(S))
def test_a_refund_holds_money_until_it_is_given_up(status: RefundStatus) -> None:
    assert status.holds_money == (status not in {S.FAILED, S.CANCELED})
