"""What goes with a customer who is deleted ("Delete a customer")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import clocks
from sandbox.operations import Call, Operation
from sandbox.subscriptions import bodies, ending

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def delete(call: Call) -> Json:
    """ "Delete a customer"; subscriptions are canceled, payment methods detached."""
    work, id_ = call.work, call.path["customer"]
    work.get("customer", id_, "id", in_path=True)
    clocks.enter(work, id_)
    return remove(work, id_)


def remove(work: Work, id_: str) -> Json:
    """Delete a customer that there is."""
    clocks.enter(work, id_)
    for subscription in work.listed("subscription", link=("customer", id_)):
        if subscription["status"] not in bodies.ENDED:
            ending.end(work, work.edit("subscription", subscription["id"]), "cancellation_requested")
    before = work.get("customer", id_)
    for method in work.listed("payment_method", link=("customer", id_)):
        work.edit("payment_method", method["id"])["customer"] = None
    work.emit("customer.deleted", before)
    return work.remove("customer", id_)


OPERATIONS = (Operation("DELETE", "/v1/customers/{customer}", delete, "customer_delete"),)
