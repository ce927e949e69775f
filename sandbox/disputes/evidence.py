"""What is said to a dispute ("Dispute evidence"): texts, files, and what the networks' own programmes ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox.disputes.bodies import COMPLIANCE, FILES, TEXTS
from sandbox.errors import ApiError, Json, invalid

if TYPE_CHECKING:
    from sandbox.work import Work

_LONGEST: Final = 20_000
_LONGEST_TOGETHER: Final = 150_000
_PURPOSE: Final = "dispute_evidence"
_VISA: Final = "visa_compelling_evidence_3"
_IDENTIFIERS: Final = (
    "customer_account_id", "customer_device_fingerprint", "customer_device_id", "customer_email_address",
    "customer_purchase_ip", "shipping_address",
)  # fmt: skip
_DESCRIBED: Final = (*_IDENTIFIERS, "product_description")
_ADDRESS: Final = ("city", "country", "line1", "line2", "postal_code", "state")
_PRIOR: Final = 2
_SHARED: Final = 2


def take(work: Work, dispute: Json, given: Json) -> None:
    """Stage evidence: what is not given stays as it was.

    Raises: ApiError for a file that is none, texts that are too long, and an appeal where there is none to make.
    """
    kept = dispute["evidence"]
    if given.get("appeal"):
        raise invalid("Only a dispute that can be appealed takes an appeal.", "evidence[appeal]")
    for name in TEXTS:
        if name in given:
            _check_length(name, given[name])
            kept[name] = given[name]
    for name in FILES:
        if name in given:
            _check_file(work, name, given[name])
            kept[name] = given[name]
    if sum(len(kept[name] or "") for name in TEXTS) > _LONGEST_TOGETHER:
        raise invalid(f"All evidence together can have up to {_LONGEST_TOGETHER} characters.", "evidence")
    enhanced = given.get("enhanced_evidence")
    if isinstance(enhanced, dict):
        _take_enhanced(dispute, enhanced)
    dispute["evidence_details"]["has_evidence"] = True


def _check_length(name: str, text: str) -> None:
    if len(text) > _LONGEST:
        raise invalid(
            f"Invalid string: {text[:10]}...{text[-10:]}; must be at most {_LONGEST} characters", f"evidence[{name}]"
        )


def _check_file(work: Work, name: str, id_: str) -> None:
    file = work.find("file", id_)
    param = f"evidence[{name}]"
    if file is None:
        raise invalid(f"No such file upload: '{id_}'", param, "resource_missing")
    if file["purpose"] != _PURPOSE:
        raise invalid(f"The file {id_} was uploaded for {file['purpose']}, not for {_PURPOSE}.", param)


def _take_enhanced(dispute: Json, given: Json) -> None:
    kept, eligibility = dispute["evidence"]["enhanced_evidence"], dispute["evidence_details"]["enhanced_eligibility"]
    for name, value in given.items():
        if name not in eligibility:
            raise invalid(f"This dispute does not qualify for {name}.", f"evidence[enhanced_evidence][{name}]")
        if name == _VISA:
            kept[name] = _compelling({**kept.get(name, {}), **value})
            missing = _missing(kept[name])
            eligibility[name] = {"required_actions": missing, "status": "requires_action" if missing else "qualified"}
        else:
            acknowledged = bool(value.get("fee_acknowledged"))
            kept[name] = {"fee_acknowledged": acknowledged}
            eligibility[name]["status"] = "fee_acknowledged" if acknowledged else "requires_fee_acknowledgement"


def _compelling(given: Json) -> Json:
    """The evidence with all its fields ("Visa Compelling Evidence 3.0")."""
    disputed, prior = given.get("disputed_transaction"), given.get("prior_undisputed_transactions", [])
    if disputed is not None:
        what = disputed.get("merchandise_or_services")
        disputed = {**_transaction(disputed), "merchandise_or_services": what}
    return {
        "disputed_transaction": disputed,
        "prior_undisputed_transactions": [{"charge": one["charge"], **_transaction(one)} for one in prior],
    }


def _transaction(given: Json) -> Json:
    shown: Json = {name: given.get(name) or None for name in _DESCRIBED}
    address = shown["shipping_address"]
    if address is not None:
        shown["shipping_address"] = {name: address.get(name) or None for name in _ADDRESS}
    return shown


def _missing(evidence: Json) -> list[str]:
    disputed: Json = evidence["disputed_transaction"] or {}
    prior: list[Json] = evidence["prior_undisputed_transactions"]
    lacks = {
        "missing_customer_identifiers": len(prior) == _PRIOR and any(_shared(disputed, one) < _SHARED for one in prior),
        "missing_disputed_transaction_description": not disputed.get("product_description"),
        "missing_merchandise_or_services": not disputed.get("merchandise_or_services"),
        "missing_prior_undisputed_transaction_description": any(not one["product_description"] for one in prior),
        "missing_prior_undisputed_transactions": len(prior) != _PRIOR,
    }
    return [name for name, is_missing in lacks.items() if is_missing]


def _shared(disputed: Json, prior: Json) -> int:
    """By how many marks two payments are seen to be the same customer's; two are asked for."""
    return sum(disputed.get(name) is not None and disputed[name] == prior[name] for name in _IDENTIFIERS)


def check_acknowledged(dispute: Json) -> None:
    """Refuse to answer a compliance dispute before its fee was acknowledged.

    Raises: ApiError.
    """
    eligibility: Any = dispute["evidence_details"]["enhanced_eligibility"]
    for name in COMPLIANCE:
        if name in eligibility and eligibility[name]["status"] != "fee_acknowledged":
            raise ApiError(
                "Evidence for a compliance dispute can only be submitted once its network fee is acknowledged.",
                param=f"evidence[enhanced_evidence][{name}][fee_acknowledged]",
            )


def is_compliance(dispute: Json) -> bool:
    """Whether a network decides on a dispute for a fee of its own."""
    return any(name in COMPLIANCE for name in dispute["enhanced_eligibility_types"])
