"""What a guest is advised to do about a decline."""

from __future__ import annotations

import pytest

from models.payments import PaymentAdvice
from services.payments.declines import advice_on, explain

WITH_THE_SAME = {
    PaymentAdvice.CONFIRM, PaymentAdvice.CHECK_DETAILS, PaymentAdvice.TRY_AGAIN, PaymentAdvice.TRY_LATER
}  # fmt: skip
CODES = [
    "approve_with_id", "authentication_required", "call_issuer", "card_velocity_exceeded", "do_not_honor",
    "duplicate_transaction", "expired_card", "fraudulent", "generic_decline", "incorrect_cvc", "incorrect_number",
    "insufficient_funds", "invalid_account", "issuer_not_available", "lost_card",
    "payment_intent_authentication_failure",
    "processing_error", "stolen_card", "try_again_later", "withdrawal_count_limit_exceeded", "of_another_world",
]  # fmt: skip


@pytest.mark.parametrize("advice_code", [None, "do_not_try_again", "try_again_later", "confirm_card_data"])
@pytest.mark.parametrize("code", CODES)
def test_the_same_method_is_advised_exactly_where_it_can_work(code: str, advice_code: str | None) -> None:
    retryable = explain("card_declined", code, advice_code).retryable
    advice = advice_on("card_declined", code, retryable=retryable)
    assert advice
    assert len(set(advice)) == len(advice)
    assert bool(WITH_THE_SAME & set(advice)) is retryable


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("authentication_required", PaymentAdvice.CONFIRM), ("incorrect_cvc", PaymentAdvice.CHECK_DETAILS),
        ("insufficient_funds", PaymentAdvice.OTHER_METHOD), ("processing_error", PaymentAdvice.TRY_AGAIN),
        ("lost_card", PaymentAdvice.OTHER_METHOD), ("duplicate_transaction", PaymentAdvice.CHECK_PAYMENTS),
    ],
)  # fmt: skip
def test_what_is_most_likely_to_help_comes_first(code: str, first: PaymentAdvice) -> None:
    retryable = explain("card_declined", code).retryable
    assert advice_on("card_declined", code, retryable=retryable)[0] is first
