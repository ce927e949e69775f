"""Which disputes there are, and which of them test values open ("Disputes" in "Testing")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

REASONS: Final = frozenset(
    "bank_cannot_process check_returned credit_not_processed customer_initiated debit_not_authorized duplicate "
    "fraudulent general incorrect_account_details insufficient_funds noncompliant product_not_received "
    "product_unacceptable subscription_canceled unrecognized".split()
)
OPENING: Final = ("needs_response", "warning_needs_response", "prevented")

# Visa's codes ("Network code map"); the other networks' are not told apart here.
_CODES: Final = {
    "fraudulent": "10.4", "product_not_received": "13.1", "subscription_canceled": "13.2",
    "product_unacceptable": "13.3", "credit_not_processed": "13.6", "general": "13.7", "duplicate": "12.6.1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """How a dispute begins.

    Attributes:
        status: as in `OPENING`, or `lost` where the bank takes no answer.
        eligibility: the network's programme of evidence that it qualifies for.
        part: how much of the charge it is about: all of it, or one part of so many.
        submission_method: who Stripe means to answer it.
    """

    reason: str
    status: str = "needs_response"
    case_type: str = "chargeback"
    code: str | None = None
    eligibility: str | None = None
    part: int = 1
    submission_method: str = "prefer_manual"


def kind_of(reason: str, status: str) -> Kind:
    """A dispute by its reason and its first status."""
    case_type = {"warning_needs_response": "inquiry", "prevented": "resolution"}.get(status, "chargeback")
    return Kind(reason, status, case_type, _CODES.get(reason))


_FRAUD: Final = kind_of("fraudulent", "needs_response")
_NOT_RECEIVED: Final = kind_of("product_not_received", "needs_response")

# By the name that a test method has in `TestMethod.dispute`.
BY_TEST: Final[dict[str, tuple[Kind, ...]]] = {
    "fraudulent": (_FRAUD,),
    "product_not_received": (_NOT_RECEIVED,),
    "inquiry": (Kind("fraudulent", "warning_needs_response", "inquiry", "10"),),
    "multiple": (replace(_FRAUD, part=2), _NOT_RECEIVED),
    "compelling_evidence": (replace(_FRAUD, eligibility="visa_compelling_evidence_3"),),
    "visa_compliance": (Kind("noncompliant", case_type="compliance", eligibility="visa_compliance"),),
    "mastercard_compliance": (Kind("noncompliant", case_type="compliance", eligibility="mastercard_compliance"),),
    "smart": (replace(_FRAUD, submission_method="prefer_smart_disputes"),),
    # Debits that a bank takes back, to which there is no answer ("ACH Direct Debit payments").
    "debit": (Kind("debit_not_authorized", "lost"),),
}
