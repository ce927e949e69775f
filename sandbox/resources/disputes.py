"""Disputes: read, answer, accept ("The Dispute object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.disputes import evidence, lifecycle
from sandbox.disputes.bodies import ANSWERABLE, CLOSED
from sandbox.errors import invalid
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, update_metadata
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json


def retrieve(call: Call) -> Json:
    """ "Retrieve a dispute"."""
    return call.work.get("dispute", call.path["dispute"], in_path=True)


def _open(call: Call) -> Json:
    dispute = retrieve(call)
    if dispute["status"] in CLOSED:
        raise invalid("This dispute is already closed")
    return call.work.edit("dispute", dispute["id"])


def update(call: Call) -> Json:
    """ "Update a dispute": stage evidence, and submit it unless that is not wanted yet."""
    work, params = call.work, call.params
    dispute = _open(call)
    before = copied(dispute)
    given = call.given("evidence")
    if given is not None:
        if dispute["status"] not in ANSWERABLE:
            raise invalid(
                f"Evidence for this dispute was submitted: it has a status of {dispute['status']}.", "evidence"
            )
        evidence.take(work, dispute, given)
    if call.given("intended_submission_method"):
        dispute["intended_submission_method"] = params["intended_submission_method"]
    update_metadata(dispute, params.get("metadata"))
    if params.get("submit", given is not None):
        lifecycle.submit(work, dispute)
    work.emit_updated("charge.dispute.updated", dispute, before)
    return dispute


def close(call: Call) -> Json:
    """ "Close a dispute": it is lost."""
    dispute = _open(call)
    lifecycle.accept(call.work, dispute)
    return dispute


def list_(call: Call) -> Json:
    """ "List all disputes"."""
    return list_objects(call, "dispute", "/v1/disputes", filters=("charge", "payment_intent"))


OPERATIONS = (
    Operation("GET", "/v1/disputes", list_, "dispute_list"),
    Operation("GET", "/v1/disputes/{dispute}", retrieve, "dispute_retrieve"),
    Operation("POST", "/v1/disputes/{dispute}", update, "dispute_update"),
    Operation("POST", "/v1/disputes/{dispute}/close", close, "dispute_close"),
)
