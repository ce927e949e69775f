"""Stripe's public test values: which card numbers and ids there are, and what each does ("Testing")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a bank says no: Stripe's codes and its words."""

    code: str
    decline_code: str | None
    message: str
    advice_code: str | None = None
    network_decline_code: str | None = None


GENERIC: Final = Decline("card_declined", "generic_decline", "Your card was declined.", "try_again_later", "01")
AUTHENTICATION: Final = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
INSUFFICIENT_FUNDS: Final = Decline(
    "card_declined", "insufficient_funds", "Your card has insufficient funds.", "try_again_later", "51"
)
_LOST: Final = Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again", "41")
_STOLEN: Final = Decline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again", "43")
_EXPIRED: Final = Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again", "54")
_CVC: Final = Decline(
    "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "confirm_card_data", "N7"
)
_PROCESSING: Final = Decline(
    "processing_error", "processing_error",
    "An error occurred while processing your card. Try again in a little bit.", "try_again_later", "96",
)  # fmt: skip
_VELOCITY: Final = Decline(
    "card_declined", "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    "try_again_later", "65",
)  # fmt: skip
_BLOCKED: Final = Decline("card_declined", "fraudulent", "Your card was declined.", "do_not_try_again")


@dataclass(frozen=True, slots=True)
class TestMethod:
    """A test payment method and what it does.

    Attributes:
        name: as in `pm_card_<name>` or `pm_<name>`.
        declines_setup: refused when it is attached or set up, too.
        authentication: never, always, unless_set_up (needs 3-D Secure until it was set up for off-session use) or
            set_up (as if that had been done).
        settles: how an asynchronous method ends: succeeds, stays, or the failure's code.
        refund: succeeds, fails (after it has succeeded) or is_pending first.
        dispute: what comes of it, by its name in `sandbox.disputes.kinds`.
        warns_of_fraud: whether its issuer reports it as fraud.
    """

    __test__ = False

    name: str
    number: str
    type: str = "card"
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    decline: Decline | None = None
    declines_setup: bool = False
    authentication: str = "never"
    risk_level: str = "normal"
    settles: str = "succeeds"
    refund: str = "succeeds"
    dispute: str | None = None
    bypasses_pending: bool = False
    warns_of_fraud: bool = False

    @property
    def last4(self) -> str:
        """The last four digits."""
        return self.number[-4:]

    @property
    def is_asynchronous(self) -> bool:
        """Whether the outcome is known later only."""
        return self.type != "card"


_VISA: Final = TestMethod("visa", "4242424242424242")


def _card(name: str, number: str, **what: object) -> TestMethod:
    return replace(_VISA, name=name, number=number, **what)  # type: ignore[arg-type]


def _declined(name: str, number: str, decline: Decline, *, setup: bool = True) -> TestMethod:
    return _card(name, number, decline=decline, declines_setup=setup)


_CARDS: Final = (
    _VISA,
    _card("visa_debit", "4000056655665556", funding="debit"),
    _card("mastercard", "5555555555554444", brand="mastercard"),
    _card("mastercard_debit", "5200828282828210", brand="mastercard", funding="debit"),
    _card("mastercard_prepaid", "5105105105105100", brand="mastercard", funding="prepaid"),
    _card("amex", "378282246310005", brand="amex"),
    _card("discover", "6011111111111117", brand="discover"),
    _card("diners", "3056930009020004", brand="diners"),
    _card("jcb", "3566002020360505", brand="jcb", country="JP"),
    _card("unionpay", "6200000000000005", brand="unionpay", country="CN"),
    *(
        _card(country.lower(), number, country=country)
        for country, number in {
            "AR": "4000000320000021", "BR": "4000000760000002", "CA": "4000001240000000", "CL": "4000001520000001",
            "CO": "4000001700000003", "CR": "4000001880000005", "EC": "4000002180000000", "MX": "4000004840008001",
            "PA": "4000005910000000", "PY": "4000006000000066", "PE": "4000006040000068", "UY": "4000008580000003",
            "AE": "4000007840000001", "AT": "4000000400000008", "BE": "4000000560000004", "BG": "4000001000000000",
            "BY": "4000001120000005", "HR": "4000001910000009", "CY": "4000001960000008", "CZ": "4000002030000002",
            "DK": "4000002080000001", "EE": "4000002330000009", "FI": "4000002460000001", "FR": "4000002500000003",
            "DE": "4000002760000016", "GI": "4000002920000005", "GR": "4000003000000030", "HU": "4000003480000005",
            "IE": "4000003720000005", "IT": "4000003800000008", "LV": "4000004280000005", "LI": "4000004380000004",
            "LT": "4000004400000000", "LU": "4000004420000006", "MT": "4000004700000007", "NL": "4000005280000002",
            "NO": "4000005780000007", "PL": "4000006160000005", "PT": "4000006200000007", "RO": "4000006420000001",
            "SA": "4000006820000007", "SI": "4000007050000006", "SK": "4000007030000001", "ES": "4000007240000007",
            "SE": "4000007520000008", "CH": "4000007560000009", "GB": "4000008260000000", "AU": "4000000360000006",
            "CN": "4000001560000002", "HK": "4000003440000004", "IN": "4000003560000008", "JP": "4000003920000003",
            "MY": "4000004580000002", "NZ": "4000005540000008", "SG": "4000007020000003", "TW": "4000001580000008",
            "TH": "4000007640000003",
        }.items()
    ),
    _declined("chargeDeclined", "4000000000000002", GENERIC),
    _declined("chargeDeclinedInsufficientFunds", "4000000000009995", INSUFFICIENT_FUNDS),
    _declined("chargeDeclinedLostCard", "4000000000009987", _LOST),
    _declined("chargeDeclinedStolenCard", "4000000000009979", _STOLEN),
    _declined("chargeDeclinedExpiredCard", "4000000000000069", _EXPIRED),
    _declined("chargeDeclinedIncorrectCvc", "4000000000000127", _CVC),
    _declined("chargeDeclinedProcessingError", "4000000000000119", _PROCESSING),
    _declined("chargeDeclinedVelocityLimitExceeded", "4000000000006975", _VELOCITY),
    _card("chargeDeclinedFraudulent", "4100000000000019", decline=_BLOCKED, risk_level="highest"),
    _card("radarBlock", "4100000000000019", decline=_BLOCKED, risk_level="highest"),
    _card("riskLevelHighest", "4000000000004954", decline=_BLOCKED, risk_level="highest"),
    _card("riskLevelElevated", "4000000000009235", risk_level="elevated"),
    _declined("cvcCheckFail", "4000000000000101", _CVC),
    _declined("chargeCustomerFail", "4000000000000341", GENERIC, setup=False),
    _card("authenticationRequired", "4000002760003184", authentication="always"),
    _card("authenticationRequiredOnSetup", "4000002500003155", authentication="unless_set_up"),
    _card("authenticationRequiredSetupForOffSession", "4000003800000446", authentication="set_up"),
    _card(
        "authenticationRequiredChargeDeclinedInsufficientFunds", "4000008260003178", authentication="always",
        decline=INSUFFICIENT_FUNDS,
    ),
    _card("threeDSecure2Required", "4000000000003220", authentication="always"),
    _card("threeDSecureRequired", "4000000000003063", authentication="always"),
    _card("threeDSecureRequiredChargeDeclined", "4000008400001629", authentication="always", decline=GENERIC),
    _card("threeDSecureRequiredProcessingError", "4000008400001280", authentication="always", decline=_PROCESSING),
    _card("threeDSecureOptional", "4000000000003055"),
    _card("threeDSecureNotSupported", "378282246310005", brand="amex"),
    _card("us", "4242424242424242"),
    _card("createDispute", "4000000000000259", dispute="fraudulent"),
    _card("createDisputeProductNotReceived", "4000000000002685", dispute="product_not_received"),
    _card("createDisputeInquiry", "4000000000001976", dispute="inquiry"),
    _card("createMultipleDisputes", "4000000404000079", dispute="multiple"),
    _card("createCe3EligibleDispute", "4000000404000038", dispute="compelling_evidence"),
    _card("createComplianceDispute", "4000008400000779", dispute="visa_compliance"),
    _card(
        "createMastercardComplianceDispute", "5105008400000002", brand="mastercard", dispute="mastercard_compliance"
    ),
    _card("createAutoRepresentmentEligibleDispute", "4000000001000043", dispute="smart"),
    _card("createIssuerFraudRecord", "4000000000005423", warns_of_fraud=True),
    _card("bypassPending", "4000000000000077", bypasses_pending=True),
    _card("bypassPendingInternational", "4000003720000278", country="IE", bypasses_pending=True),
    _card("refundFail", "4000000000005126", refund="fails"),
    _card("pendingRefund", "4000000000007726", refund="is_pending"),
)  # fmt: skip

BANK_DECLINES: Final = {
    "account_closed": "The customer's bank account has been closed.",
    "no_account": "The customer's bank account could not be located.",
    "account_frozen": "The customer's bank account has been frozen.",
    "debit_not_authorized": "The customer has notified their bank that this transaction was not authorized.",
    "insufficient_funds": "The customer's account has insufficient funds to cover this payment.",
    "invalid_currency": "The bank was unable to process this transaction because of its currency.",
    "charge_exceeds_source_limit": "This payment exceeds the limit of the customer's account.",
    "payment_method_provider_decline": "The payment method's provider declined the payment.",
}

_BANKS: Final = (
    *(
        TestMethod(f"usBankAccount_{name}", number, type="us_bank_account", settles=settles)
        for name, number, settles in (
            ("success", "000123456789", "succeeds"), ("accountFrozen", "000000001116", "account_frozen"),
            ("accountClosed", "000111111113", "account_closed"), ("noAccount", "000111111116", "no_account"),
            ("insufficientFunds", "000222222227", "insufficient_funds"),
            ("debitNotAuthorized", "000333333335", "debit_not_authorized"),
            ("invalidCurrency", "000444444440", "invalid_currency"),
            ("currencyNotSupported", "000444444440", "invalid_currency"),
            ("weeklyLimitExceeded", "000999999999", "charge_exceeds_source_limit"),
            ("processing", "000000000009", "stays"),
        )
    ),
    TestMethod("usBankAccount_dispute", "000555555559", type="us_bank_account", dispute="debit"),
    TestMethod("sepaDebit_disputed", "AT591904300235473203", type="sepa_debit", country="AT", dispute="debit"),
    *(
        TestMethod(f"sepaDebit_{name}", number, type="sepa_debit", country=number[:2], settles=settles)
        for name, number, settles in (
            ("success", "AT611904300234573201", "succeeds"), ("success", "DE89370400440532013000", "succeeds"),
            ("success", "FR1420041010050500013M02606", "succeeds"), ("success", "NL39RABO0300065264", "succeeds"),
            ("success", "ES0700120345030000067890", "succeeds"), ("success", "IE29AIBK93115212345678", "succeeds"),
            ("failed", "AT861904300235473202", "payment_method_provider_decline"),
            ("failed", "DE62370400440532013001", "payment_method_provider_decline"),
            ("processing", "AT321904300235473204", "stays"),
        )
    ),
)  # fmt: skip

_BY_NAME: Final = {method.name: method for method in reversed((*_CARDS, *_BANKS))}
_BY_NUMBER: Final = {method.number: method for method in reversed((*_CARDS, *_BANKS))}


def by_name(name: str) -> TestMethod | None:
    """A test method by its name, with or without its brand: `visa_chargeDeclined` is `chargeDeclined`."""
    method = _BY_NAME.get(name)
    if method is None and "_" in name:
        brand, _, rest = name.partition("_")
        base = _BY_NAME.get(brand)
        behaving = _BY_NAME.get(rest)
        if base is not None and behaving is not None:
            return replace(behaving, brand=base.brand)
    return method


def by_token(token: str, prefix: str) -> TestMethod | None:
    """A test method by `pm_card_visa`, `pm_usBankAccount_success` or `tok_visa`; None for what is no test id."""
    if not token.startswith(prefix):
        return None
    name = token[len(prefix) :]
    return by_name(name.removeprefix("card_"))


def by_number(number: str) -> TestMethod | None:
    """A test method by its card or account number."""
    return _BY_NUMBER.get(number)


def is_card_number(number: str) -> bool:
    """The Luhn check, and a length that cards have."""
    if not number.isdigit() or not 12 <= len(number) <= 19:
        return False
    digits = [int(digit) for digit in reversed(number)]
    return sum(d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)) % 10 == 0
