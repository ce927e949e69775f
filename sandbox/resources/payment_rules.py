"""What Stripe asks of a payment before it is tried."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sandbox import money
from sandbox.errors import Json, invalid
from sandbox.resources.accounts import own, payable

if TYPE_CHECKING:
    from sandbox.work import Work

_SUFFIX_LENGTH: Final = 22
_NOT_IN_SUFFIX: Final = re.compile(r"[<>\\'\"*]")


def check_suffix(intent: Json) -> None:
    """Refuse a suffix that banks would not show ("Statement descriptors")."""
    suffix = intent["statement_descriptor_suffix"]
    if suffix is None:
        return
    if _NOT_IN_SUFFIX.search(suffix):
        raise invalid(
            "The statement descriptor suffix cannot contain any of the following characters: <, >, \\, ', \", *.",
            "statement_descriptor_suffix",
        )  # fmt: skip
    if len(suffix) > _SUFFIX_LENGTH or not re.search("[A-Za-z]", suffix):
        raise invalid(
            "The statement descriptor suffix must contain at least one letter, and must be at most 22 characters "
            "together with the prefix.", "statement_descriptor_suffix",
        )  # fmt: skip


def _check_chargeable(account: Json) -> None:
    # Standard accounts of the older way can be charged on before they have been onboarded.
    if not account["charges_enabled"] and not (account["_by_type"] and account["type"] == "standard"):
        raise invalid(
            "Your account cannot currently make charges. If you are a site customer trying to make a purchase, please "
            "contact the owner of this site. Your transaction has not been processed."
        )


def check_connect(work: Work, intent: Json) -> None:
    """What Connect asks of a payment ("Destination charges", "on_behalf_of")."""
    fee, transfer = intent["application_fee_amount"], intent["transfer_data"]
    is_direct = work.account != work.platform
    _check_chargeable(own(work, work.account))
    if transfer is not None:
        if is_direct:
            raise invalid("You cannot use `transfer_data` with a direct charge.", "transfer_data")
        payable(work, transfer["destination"], "transfer_data[destination]")
        if transfer.get("amount") is not None:
            if fee is not None:
                raise invalid(
                    "You may only specify one of these parameters: application_fee_amount, transfer_data[amount].",
                    "application_fee_amount",
                )
            if not 1 <= transfer["amount"] <= intent["amount"]:
                raise invalid(
                    "The transfer amount must be between 1 and the amount of the payment.", "transfer_data[amount]"
                )
    if intent["on_behalf_of"] is not None:
        account = work.find("account", intent["on_behalf_of"], work.platform)
        if account is None or account["_deauthorized"]:
            raise invalid(f"No such on_behalf_of: '{intent['on_behalf_of']}'", "on_behalf_of", "resource_missing")
        if account["capabilities"].get("card_payments") != "active":
            raise invalid(
                "The account referenced in the 'on_behalf_of' parameter is missing the required capabilities: one "
                "or more of `card_payments`, `legacy_payments`.", "on_behalf_of",
                "insufficient_capabilities_for_transfer",
            )  # fmt: skip
    if fee is None:
        return
    if fee < 1:
        raise invalid(
            "This value must be greater than or equal to 1.", "application_fee_amount", "parameter_invalid_integer"
        )
    if transfer is None and not is_direct:
        raise invalid(
            "Can only apply an application_fee_amount when the PaymentIntent is attempting a direct payment (using "
            "an OAuth key or Stripe-Account header) or destination payment (using `transfer_data[destination]`).",
            "application_fee_amount",
        )  # fmt: skip
    if fee > intent["amount"]:
        raise invalid(
            f"The application fee ({money.shown(fee, intent['currency'])}) cannot be greater than the amount "
            f"({money.shown(intent['amount'], intent['currency'])}).", "application_fee_amount",
            "application_fee_too_large",
        )  # fmt: skip
