"""Why money did not reach a bank, in words, and what to do about it ("Payout failures", "Error codes")."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from services.errors import DomainError, HostNotReady, InvalidInput, InvalidState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.connect_accounts import ConnectAccount
    from models.money import Money
    from models.payouts import Payout

_ANOTHER: Final = "Correct your bank details, or give another bank account."
_ASK_BANK: Final = "Ask your bank why, then pay out again, or give another bank account."

# What banks send payouts back for.
_BANKS: Final = {
    "account_closed": f"The bank account has been closed. {_ANOTHER}",
    "account_frozen": f"The bank account has been frozen. {_ASK_BANK}",
    "bank_account_restricted": "The bank account does not take payouts of this kind, or no more of them, as many "
    "savings accounts do. Give a current (checking) account.",
    "bank_ownership_changed": "The bank account is no longer valid, because its branch belongs to another bank now. "
    "Ask your bank for the new details and enter them.",
    "could_not_process": f"The bank could not process the payout. {_ASK_BANK}",
    "debit_not_authorized": "The bank account does not allow debits, which Stripe needs it to. Ask your bank to allow "
    "them, or give another bank account.",
    "declined": f"The bank has declined the payout. {_ASK_BANK}",
    "incorrect_account_holder_address": "The bank knows the account's holder by another address. Correct the address "
    "as your bank has it.",
    "incorrect_account_holder_name": "The bank knows the account's holder by another name. Correct the name as your "
    "bank has it.",
    "incorrect_account_holder_tax_id": "The bank knows the account's holder by another tax number. Correct it as your "
    "bank has it.",
    "incorrect_account_type": "The bank account is of another type than was given. Correct it: checking or savings.",
    "insufficient_funds": "There was not enough in your balance, or in the bank account that it was to be taken from. "
    "Wait until there is: payouts of a schedule are made again by themselves, one that you asked for is not, so ask "
    "again.",
    "invalid_account_number": f"There is no such account number at this bank. {_ANOTHER}",
    "invalid_account_number_length": f"The account number is too long or too short. {_ANOTHER}",
    "invalid_currency": "The bank account does not take this currency. Give one that does.",
    "no_account": f"The bank found no account with these details. {_ANOTHER}",
    "unsupported_card": "The card no longer takes payouts. Give another card or a bank account.",
    "expired_card": "The card has expired. Give another card or a bank account.",
    "card_declined": f"The card was declined. {_ASK_BANK}",
}  # fmt: skip

# What Stripe refuses to make payouts for.
_STRIPES: Final = {
    "balance_insufficient": "There is less in your balance than that. Look at it again and ask for no more.",
    "amount_too_small": "This is less than can be paid out in this way. Ask for more.",
    "amount_too_large": "This is more than can be paid out at once. Ask for less.",
    "instant_payouts_limit_exceeded": "This is more than can be paid out at once today. Ask for less, or for a "
    "standard payout.",
    "instant_payouts_unsupported": "Your bank account or card takes no instant payouts. Ask for a standard payout, or "
    "give a debit card.",
    "instant_payouts_currency_disabled": "There are no instant payouts in this currency. Ask for a standard payout.",
    "instant_payouts_config_disabled": "Instant payouts are not enabled for your account. Ask for a standard payout.",
    "payouts_limit_exceeded": "The most that can be paid out today has been paid out. Try again tomorrow.",
    "payouts_not_allowed": "Stripe does not pay out to you at the moment. Finish the onboarding: see the requirements "
    "of your account.",
    "bank_account_unusable": "An earlier payout to this bank account has failed, so that no more are sent there. "
    + _ANOTHER,
    "bank_account_declined": f"The bank account takes no payouts. {_ASK_BANK}",
    "bank_account_unverified": "The bank account has not been verified yet. Finish that first.",
    "not_allowed_on_standard_account": "You have Stripe's own dashboard: ask for the payout there.",
}  # fmt: skip

FAILURES: Final[Mapping[str, str]] = MappingProxyType({**_STRIPES, **_BANKS})
"""The words for each code, of banks and of Stripe."""

_TOO_MUCH: Final = frozenset({"balance_insufficient", "amount_too_small", "amount_too_large"})


def failure_of(payout: Payout) -> str | None:
    """Why a payout failed and what to do, fit for its host; None where it did not fail."""
    if payout.failure_code is None:
        return payout.failure_message
    known = FAILURES.get(payout.failure_code)
    return known or payout.failure_message or _unknown(payout.amount)


def refusal(code: str, amount: Money, account: ConnectAccount) -> DomainError:
    """Stripe's refusal of a payout, by its code ("Error codes")."""
    words = FAILURES.get(code) or _unknown(amount)
    if code in _TOO_MUCH:
        return InvalidInput("amount", words)
    if code == "payouts_not_allowed":
        return not_ready(account)
    return InvalidState(words, state=code.upper())


def not_ready(account: ConnectAccount) -> HostNotReady:
    """What a host is told whose account Stripe does not pay out."""
    wanted = [entry["field"] for entry in account.requirements]
    missing = wanted or ([account.disabled_reason] if account.disabled_reason else ["external_account"])
    return HostNotReady(FAILURES["payouts_not_allowed"], requirements=missing)


def _unknown(amount: Money) -> str:
    return (
        f"The payout could not be made. Look whether there is a bank account for {amount.currency} at Stripe, and try "
        "again, or ask for help."
    )
