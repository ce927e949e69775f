"""How a dispute opens, is answered and ends ("How disputes work"), and what that does to its charge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.disputes import evidence, funds
from sandbox.disputes.bodies import ANSWERABLE, WARNINGS, answer_by, dispute_body
from sandbox.disputes.kinds import BY_TEST, Kind
from sandbox.errors import invalid
from sandbox.resources import confirmation, early_fraud_warnings, refund_outcomes
from sandbox.resources.payment_methods import behaviour
from sandbox.work import copied, differences

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

OUTCOMES: Final = ("won", "lost", "warning_closed", "prevented")
_EXPIRE: Final = "pass_dispute_deadline"
# From which statuses a bank can come to an outcome; it may think again after it has decided.
_LEADS_TO: Final = {
    "won": ("needs_response", "under_review", "lost"),
    "lost": ("needs_response", "under_review", "won"),
    "warning_closed": WARNINGS,
    "prevented": ("needs_response", *WARNINGS),
}
# What evidence does in tests, by `uncategorized_text` ("Evidence" in "Testing").
_BY_EVIDENCE: Final = {
    "winning_evidence": {"under_review": "won", "warning_under_review": "warning_closed"},
    "losing_evidence": {"under_review": "lost", "warning_under_review": "warning_closed"},
}
_ESCALATING: Final = "escalate_inquiry_evidence"


def open_by_card(work: Work, charge_id: str) -> None:
    """Open what the test card of a charge opens, a moment after it was paid."""
    charge = work.get("charge", charge_id)
    test = behaviour(work.get("payment_method", charge["payment_method"]))
    for kind in BY_TEST.get(test.dispute or "", ()):
        # Whom the bank has asked itself cannot say that it was not them ("Disputed payments" in "3D Secure").
        if not (kind.reason == "fraudulent" and _is_authenticated(charge)):
            part = None if kind.part == 1 else funds.left(work.get("charge", charge_id)) // kind.part
            open_(work, charge_id, kind, part)


def _is_authenticated(charge: Json) -> bool:
    card = (charge["payment_method_details"] or {}).get("card") or {}
    return (card.get("three_d_secure") or {}).get("result") == "authenticated"


def open_(work: Work, charge_id: str, kind: Kind, amount: int | None = None) -> Json:
    """A guest's bank disputes a charge, or a part of it.

    Args:
        amount: in the charge's currency; all that is left of it where None.

    Raises: ApiError where nothing is left, or less than that.
    """
    confirmation.late_settlement(work, charge_id)
    charge = work.edit("charge", charge_id)
    if kind.status not in WARNINGS:
        refund_outcomes.fail_pending(work, charge_id)
    left = funds.left(charge)
    wanted = left if amount is None else amount
    if charge["status"] != "succeeded" or charge["payment_method"] is None or not 1 <= wanted <= left:
        raise invalid(f"Charge {charge_id} cannot be disputed: {left} of it can be at most.", "amount")
    before = copied(charge)
    dispute = work.add(dispute_body(work, charge, kind, wanted))
    charge["disputed"] = True
    is_withdrawn = dispute["status"] not in WARNINGS
    if is_withdrawn:
        _withdraw(work, dispute, charge, with_fee=dispute["status"] != "prevented")
    work.emit("charge.dispute.created", dispute)
    if is_withdrawn:
        work.emit("charge.dispute.funds_withdrawn", dispute)
    if dispute["status"] in ANSWERABLE:
        _expect_answer(work, dispute)
    else:
        work.emit("charge.dispute.closed", dispute)
    work.emit("charge.updated", charge, previous=differences(before, charge))
    early_fraud_warnings.settle(work, charge)
    return dispute


def _withdraw(work: Work, dispute: Json, charge: Json, *, with_fee: bool) -> None:
    # What was given back while the bank only inquired is not asked for again; what was on its way comes back.
    refund_outcomes.fail_pending(work, charge["id"])
    dispute["amount"] = min(dispute["amount"], funds.left(charge))
    funds.withdraw(work, dispute, charge, with_fee=with_fee)
    dispute["is_charge_refundable"] = False
    charge["_charged_back"] = True


def _expect_answer(work: Work, dispute: Json) -> None:
    clocks.unschedule(work, _EXPIRE, dispute["id"])
    clocks.schedule(work, None, dispute["evidence_details"]["due_by"] + 1, _EXPIRE, dispute["id"])


def pass_deadline(work: Work, id_: str) -> None:
    """What was not answered by now is lost."""
    dispute = work.get("dispute", id_)
    if dispute["status"] == "needs_response" and dispute["evidence_details"]["due_by"] < work.now:
        decide(work, id_, "lost")


def submit(work: Work, dispute: Json) -> None:
    """Send the staged evidence to the bank.

    Raises: ApiError where it is too late for that, or a fee has to be acknowledged first.
    """
    if dispute["status"] not in ANSWERABLE:
        raise invalid(f"Evidence for this dispute was submitted: it has a status of {dispute['status']}.", "submit")
    evidence.check_acknowledged(dispute)
    details = dispute["evidence_details"]
    details.update(
        past_due=work.now > details["due_by"], submission_count=details["submission_count"] + 1,
        submission_method="manual",
    )  # fmt: skip
    dispute["status"] = "warning_under_review" if dispute["status"] in WARNINGS else "under_review"
    if evidence.is_compliance(dispute):
        funds.charge_compliance_fee(work, dispute, work.get("charge", dispute["charge"]))
    work.later("decide_dispute", dispute["id"])


def decide_by_evidence(work: Work, id_: str) -> None:
    """What a bank answers to evidence of Stripe's test values; other evidence it keeps on reviewing."""
    dispute = work.get("dispute", id_)
    text = dispute["evidence"]["uncategorized_text"]
    if text == _ESCALATING and dispute["status"] == "warning_under_review":
        escalate(work, id_)
        return
    outcome = _BY_EVIDENCE.get(text or "", {}).get(dispute["status"])
    if outcome is not None:
        decide(work, id_, outcome)


def escalate(work: Work, id_: str) -> Json:
    """An inquiry becomes a chargeback: the money is withdrawn, and it can be answered once more."""
    dispute = work.edit("dispute", id_)
    charge = work.edit("charge", dispute["charge"])
    if dispute["status"] not in WARNINGS or not funds.left(charge):
        raise invalid(f"This dispute has a status of {dispute['status']}: it cannot be escalated.")
    before = copied(dispute)
    _withdraw(work, dispute, charge, with_fee=True)
    dispute["status"], dispute["evidence_details"]["due_by"] = "needs_response", answer_by(work)
    card = (dispute["payment_method_details"] or {}).get("card")
    if card is not None:
        card["case_type"] = "chargeback"
    _expect_answer(work, dispute)
    work.emit_updated("charge.dispute.updated", dispute, before)
    work.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def decide(work: Work, id_: str, outcome: str) -> Json:
    """The bank has come to a decision.

    Raises: ApiError where that is none that the dispute's status leads to.
    """
    dispute = work.edit("dispute", id_)
    charge = work.edit("charge", dispute["charge"])
    status = dispute["status"]
    if status not in _LEADS_TO[outcome] or (status == "won" and not funds.left(charge)):
        raise invalid(f"This dispute has a status of {status}: it cannot become {outcome}.")
    if outcome == "won":
        funds.reinstate(work, dispute, charge)
        if evidence.is_compliance(dispute) and dispute["evidence_details"]["submission_count"]:
            funds.charge_compliance_fee(work, dispute, charge, back=True)
        work.emit("charge.dispute.funds_reinstated", {**dispute, "status": outcome, "is_charge_refundable": True})
    elif status == "won" or (outcome == "prevented" and status in WARNINGS):
        _withdraw(work, dispute, charge, with_fee=False)
        work.emit("charge.dispute.funds_withdrawn", {**dispute, "status": outcome})
    elif outcome == "prevented":
        funds.return_fee(work, dispute, charge)
    dispute["status"] = outcome
    dispute["is_charge_refundable"] = outcome in ("won", "warning_closed")
    charge["_charged_back"] = any(not one["is_charge_refundable"] for one in _of_charge(work, charge))
    clocks.unschedule(work, _EXPIRE, id_)
    work.emit("charge.dispute.closed", dispute)
    return dispute


def accept(work: Work, dispute: Json) -> None:
    """Give a dispute up ("Close a dispute").

    Raises: ApiError for an inquiry, which ends with a refund.
    """
    if dispute["status"] in WARNINGS:
        raise invalid("An inquiry cannot be closed: refund its charge to accept it.")
    decide(work, dispute["id"], "lost")


def charge_refunded(work: Work, charge: Json) -> None:
    """All of a charge was given back: nothing is left to inquire about."""
    if not charge["disputed"]:
        return
    for dispute in _of_charge(work, charge):
        if dispute["status"] in WARNINGS:
            decide(work, dispute["id"], "warning_closed")


def _of_charge(work: Work, charge: Json) -> list[Json]:
    return work.listed("dispute", link=("charge", charge["id"]))
