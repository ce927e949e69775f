"""A dispute as Stripe shows it ("The Dispute object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.ids import new_id

if TYPE_CHECKING:
    from sandbox.disputes.kinds import Kind
    from sandbox.errors import Json
    from sandbox.work import Work

TEXTS: Final = (
    "access_activity_log", "billing_address", "cancellation_policy_disclosure", "cancellation_rebuttal",
    "customer_email_address", "customer_name", "customer_purchase_ip", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "refund_policy_disclosure", "refund_refusal_explanation",
    "service_date", "shipping_address", "shipping_carrier", "shipping_date", "shipping_tracking_number",
    "uncategorized_text",
)  # fmt: skip
FILES: Final = (
    "cancellation_policy", "customer_communication", "customer_signature", "duplicate_charge_documentation", "receipt",
    "refund_policy", "service_documentation", "shipping_documentation", "uncategorized_file",
)  # fmt: skip
WARNINGS: Final = ("warning_needs_response", "warning_under_review")
ANSWERABLE: Final = ("needs_response", "warning_needs_response")
CLOSED: Final = ("won", "lost", "warning_closed", "prevented")
COMPLIANCE: Final = ("visa_compliance", "mastercard_compliance")

_DAY_S: Final = 86_400
_DAYS_TO_ANSWER: Final = 8
_MISSING: Final = (
    "missing_customer_identifiers", "missing_disputed_transaction_description", "missing_merchandise_or_services",
    "missing_prior_undisputed_transaction_description", "missing_prior_undisputed_transactions",
)  # fmt: skip


def dispute_body(work: Work, charge: Json, kind: Kind, amount: int) -> Json:
    """A new dispute of a charge; it is not stored yet, and nothing has moved."""
    return {
        "id": new_id("du"), "object": "dispute", "amount": amount, "balance_transactions": [],
        "charge": charge["id"], "created": work.now, "currency": charge["currency"],
        "enhanced_eligibility_types": [kind.eligibility] if kind.eligibility else [], "evidence": _evidence(charge),
        "evidence_details": {
            "due_by": answer_by(work) if kind.status in ANSWERABLE else 0,
            "enhanced_eligibility": _eligibility(kind.eligibility), "has_evidence": False, "past_due": False,
            "submission_count": 0, "submission_method": "not_submitted",
        },
        "intended_submission_method": kind.submission_method, "is_charge_refundable": kind.status in WARNINGS,
        "livemode": False, "metadata": {}, "network_reason_code": kind.code, "payment_intent": charge["payment_intent"],
        "payment_method_details": _method_details(charge, kind), "reason": kind.reason, "status": kind.status,
        "_withdrawn": None,
    }  # fmt: skip


def answer_by(work: Work) -> int:
    """Until when a dispute that opens now can be answered: the end of the eighth day, in UTC."""
    return (work.now // _DAY_S + _DAYS_TO_ANSWER + 1) * _DAY_S - 1


def _evidence(charge: Json) -> Json:
    """What Stripe knows of the guest by itself; nothing of it counts as evidence before it is submitted."""
    evidence: Json = dict.fromkeys(sorted((*TEXTS, *FILES)))
    details = charge["billing_details"]
    evidence.update(
        appeal=None, customer_email_address=details["email"] or charge["receipt_email"], customer_name=details["name"],
        enhanced_evidence={},
    )  # fmt: skip
    return evidence


def _eligibility(programme: str | None) -> Json:
    if programme is None:
        return {}
    if programme in COMPLIANCE:
        return {programme: {"status": "requires_fee_acknowledgement"}}
    return {programme: {"required_actions": list(_MISSING), "status": "requires_action"}}


def _method_details(charge: Json, kind: Kind) -> Json | None:
    card = (charge["payment_method_details"] or {}).get("card")
    if card is None:
        return None
    return {
        "card": {
            "brand": card["brand"], "case_type": kind.case_type, "network": card["network"],
            "network_reason_code": kind.code,
        },
        "type": "card",
    }  # fmt: skip
