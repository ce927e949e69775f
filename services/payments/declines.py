"""What a decline means for the guest: whether the same card can work, and what to do next.

Source: Stripe's "Decline codes" page and the `advice_code` of a charge's outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.payments import PaymentAdvice as Advice


@dataclass(frozen=True, slots=True)
class Decline:
    """A decline in words: `retryable` is false where trying the same card again cannot help."""

    retryable: bool
    message: str


_OTHER_CARD: Final = "Please use another card or ask your bank."
_LATER: Final = "Please use another card, or try again later."
_CONFIRM: Final = "Your bank wants you to confirm this payment. Please try again and confirm it."
_AGAIN: Final = "Please try again in a moment, or use another card."

_BY_CODE: Final = {
    "approve_with_id": Decline(True, f"Your bank could not authorise the payment. {_AGAIN}"),
    "authentication_required": Decline(True, _CONFIRM),
    "authentication_not_handled": Decline(True, _CONFIRM),
    "call_issuer": Decline(False, f"Your bank declined the payment without a reason. {_OTHER_CARD}"),
    "card_not_supported": Decline(False, "Your card does not support this kind of purchase. Please use another card."),
    "card_velocity_exceeded": Decline(False, f"Your card has reached its limit for now. {_OTHER_CARD}"),
    "currency_not_supported": Decline(False, "Your card does not support this currency. Please use another card."),
    "do_not_honor": Decline(False, f"Your bank declined the payment without a reason. {_OTHER_CARD}"),
    "do_not_try_again": Decline(False, f"Your bank declined the payment for good. {_OTHER_CARD}"),
    "duplicate_transaction": Decline(
        False, "A payment of the same amount was made a moment ago. Please check it before paying again."
    ),
    "expired_card": Decline(False, "Your card has expired. Please use another card."),
    "fraudulent": Decline(False, f"Your bank declined the payment without a reason. {_OTHER_CARD}"),
    "generic_decline": Decline(False, f"Your bank declined the payment without a reason. {_OTHER_CARD}"),
    "incorrect_cvc": Decline(True, "The security code is wrong. Please check it and try again."),
    "incorrect_number": Decline(True, "The card number is wrong. Please check it and try again."),
    "incorrect_pin": Decline(True, "The PIN is wrong. Please check it and try again."),
    "incorrect_zip": Decline(True, "The postal code is wrong. Please check it and try again."),
    "insufficient_funds": Decline(True, f"There is not enough money on the card. {_LATER}"),
    "invalid_account": Decline(False, f"The card or its account is not valid. {_OTHER_CARD}"),
    "invalid_amount": Decline(False, f"Your card does not allow this amount. {_OTHER_CARD}"),
    "invalid_cvc": Decline(True, "The security code is wrong. Please check it and try again."),
    "invalid_expiry_month": Decline(True, "The expiry month is wrong. Please check it and try again."),
    "invalid_expiry_year": Decline(True, "The expiry year is wrong. Please check it and try again."),
    "invalid_number": Decline(True, "The card number is wrong. Please check it and try again."),
    "issuer_not_available": Decline(True, f"Your bank could not be reached. {_AGAIN}"),
    "lost_card": Decline(False, f"Your bank declined the payment without a reason. {_OTHER_CARD}"),
    "new_account_information_available": Decline(False, f"Your card has been replaced. {_OTHER_CARD}"),
    "no_action_taken": Decline(False, f"Your bank declined the payment without a reason. {_OTHER_CARD}"),
    "not_permitted": Decline(False, f"Your card does not allow this payment. {_OTHER_CARD}"),
    "payment_intent_authentication_failure": Decline(
        True, "Your bank did not get your confirmation. Please try again, or use another card."
    ),
    "pickup_card": Decline(False, f"Your card cannot be used for this payment. {_OTHER_CARD}"),
    "pin_try_exceeded": Decline(False, "The PIN was entered wrongly too often. Please use another card."),
    "processing_error": Decline(True, f"Something went wrong while your card was processed. {_AGAIN}"),
    "reenter_transaction": Decline(True, f"Your bank could not process the payment. {_AGAIN}"),
    "restricted_card": Decline(False, f"Your card cannot be used for this payment. {_OTHER_CARD}"),
    "revocation_of_all_authorizations": Decline(False, f"Your bank declined the payment. {_OTHER_CARD}"),
    "revocation_of_authorization": Decline(False, f"Your bank declined the payment. {_OTHER_CARD}"),
    "security_violation": Decline(False, f"Your bank declined the payment. {_OTHER_CARD}"),
    "service_not_allowed": Decline(False, f"Your bank declined the payment. {_OTHER_CARD}"),
    "stolen_card": Decline(False, f"Your bank declined the payment without a reason. {_OTHER_CARD}"),
    "stop_payment_order": Decline(False, f"Your bank declined the payment. {_OTHER_CARD}"),
    "testmode_decline": Decline(False, "A test card does not work here. Please use a real card."),
    "transaction_not_allowed": Decline(False, f"Your card does not allow this payment. {_OTHER_CARD}"),
    "try_again_later": Decline(True, f"Your bank declined the payment for now. {_AGAIN}"),
    "withdrawal_count_limit_exceeded": Decline(
        True, "Your card has reached its limit. Please use another card, or try again later."
    ),
}  # fmt: skip

_UNKNOWN: Final = Decline(False, f"Your bank declined the payment. {_OTHER_CARD}")


def explain(code: str | None, decline_code: str | None, advice_code: str | None = None) -> Decline:
    """What a decline means; Stripe's `advice_code` outweighs the table on whether to try again."""
    known = _BY_CODE.get(decline_code or "") or _BY_CODE.get(code or "") or _UNKNOWN
    if advice_code == "do_not_try_again":
        return Decline(False, known.message)
    if advice_code in {"try_again_later", "confirm_card_data"}:
        return Decline(True, known.message)
    return known


_CONFIRMS: Final = (Advice.CONFIRM, Advice.OTHER_METHOD)
_CHECKS: Final = (Advice.CHECK_DETAILS, Advice.OTHER_METHOD)
_SOON: Final = (Advice.TRY_AGAIN, Advice.OTHER_METHOD)
_LIMITED: Final = (Advice.OTHER_METHOD, Advice.TRY_LATER)
_OTHER: Final = (Advice.OTHER_METHOD,)
_OTHER_OR_BANK: Final = (Advice.OTHER_METHOD, Advice.CONTACT_BANK)
_ADVICE: Final = {
    **dict.fromkeys(
        ("authentication_required", "authentication_not_handled", "payment_intent_authentication_failure"), _CONFIRMS
    ),
    **dict.fromkeys(
        (
            "incorrect_cvc", "incorrect_number", "incorrect_pin", "incorrect_zip", "invalid_cvc",
            "invalid_expiry_month", "invalid_expiry_year", "invalid_number",
        ),
        _CHECKS,
    ),
    **dict.fromkeys(
        ("approve_with_id", "issuer_not_available", "processing_error", "reenter_transaction", "try_again_later"), _SOON
    ),
    **dict.fromkeys(("card_velocity_exceeded", "insufficient_funds", "withdrawal_count_limit_exceeded"), _LIMITED),
    **dict.fromkeys(
        (
            "card_not_supported", "currency_not_supported", "expired_card", "new_account_information_available",
            "pin_try_exceeded", "testmode_decline",
        ),
        _OTHER,
    ),
    "duplicate_transaction": (Advice.CHECK_PAYMENTS, Advice.OTHER_METHOD),
}  # fmt: skip
_WITH_THE_SAME: Final = frozenset({Advice.CONFIRM, Advice.CHECK_DETAILS, Advice.TRY_AGAIN, Advice.TRY_LATER})


def advice_on(code: str | None, decline_code: str | None, *, retryable: bool) -> list[Advice]:
    """What can be done about a decline, what is most likely to help first.

    Args:
        retryable: whether the same method can work, as `explain` said with Stripe's advice.
    """
    known = _ADVICE.get(decline_code or "") or _ADVICE.get(code or "") or _OTHER_OR_BANK
    if not retryable:
        return [advice for advice in known if advice not in _WITH_THE_SAME]
    return [*known] if _WITH_THE_SAME & set(known) else [Advice.TRY_LATER, *known]
