"""What becomes of a refund after it was made: it arrives, or it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox.errors import invalid
from sandbox.ids import random_text
from sandbox.resources import balance_transactions
from sandbox.work import Work, copied

if TYPE_CHECKING:
    from sandbox.errors import Json

FAILURES: Final = frozenset(
    "charge_for_pending_refund_disputed declined expired_or_canceled_card insufficient_funds lost_or_stolen_card "
    "merchant_request unknown".split()
)


def succeed(work: Work, id_: str) -> Json:
    """A pending refund arrives."""
    body = work.edit("refund", id_)
    if body["status"] != "pending":
        return body
    before = copied(body)
    body["status"] = "succeeded"
    body.pop("pending_reason", None)
    details = body["destination_details"]
    if details is not None and details["type"] == "card":
        details["card"].update(reference=random_text(12).upper(), reference_status="available")
    announce(work, body, before)
    return body


def fail(work: Work, id_: str, reason: str = "expired_or_canceled_card") -> Json:
    """A refund comes back: the bank would not take it, even after it had succeeded ("Handle failed refunds").

    Raises: ApiError where it has failed before.
    """
    body = work.edit("refund", id_)
    if body["status"] not in ("pending", "succeeded"):
        raise invalid(f"This refund has a status of {body['status']}: it cannot fail.")
    before = copied(body)
    made: Any = work.get("balance_transaction", body["balance_transaction"])
    movement = balance_transactions.post(
        work, work.account, "refund_failure", -made["amount"], made["currency"], id_,
        description="REFUND FAILURE", exchange_rate=balance_transactions.rate(body["currency"], made["currency"]),
    )  # fmt: skip
    body.update(status="failed", failure_reason=reason, failure_balance_transaction=movement["id"])
    body.pop("pending_reason", None)
    charge = work.edit("charge", body["charge"])
    charge["amount_refunded"] -= body["amount"]
    charge["refunded"] = False
    work.emit("refund.failed", body)
    announce(work, body, before)
    return body


def fail_pending(work: Work, charge_id: str) -> None:
    """What has not arrived yet comes back once the guest's bank takes the money itself."""
    for refund in work.listed("refund", link=("charge", charge_id)):
        if refund["status"] == "pending":
            fail(work, refund["id"], "charge_for_pending_refund_disputed")


def announce(work: Work, body: Json, before: Json) -> None:
    """Tell of a refund that has changed."""
    work.emit_updated("refund.updated", body, before)
    work.emit_updated("charge.refund.updated", body, before)
