"""Money that a platform adds to its balance from its own bank ("The Top-up object", "Add money to your balance")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import money
from sandbox.errors import invalid
from sandbox.ids import new_id
from sandbox.listing import list_objects, time_range
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.payouts.lifecycle import FAILURES
from sandbox.payouts.schedule import arrival
from sandbox.resources import balance_transactions

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

_DESCRIPTOR_LENGTH: Final = 15
_SOURCES: Final = {
    "btok_us_verified": None, "btok_us_verified_noAccount": "no_account",
    "btok_us_verified_accountClosed": "account_closed", "btok_us_verified_insufficientFunds": "insufficient_funds",
    "btok_us_verified_debitNotAuthorized": "debit_not_authorized",
    "btok_us_verified_invalidCurrency": "invalid_currency",
}  # fmt: skip


def create(call: Call) -> Json:
    """ "Create a top-up"."""
    work, params = call.work, call.params
    if work.account != work.platform:
        raise invalid("Top-ups are only available to platforms.")
    currency = money.check_currency(params["currency"])
    if params["amount"] < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    source = call.given("source")
    if source is not None and source not in _SOURCES:
        raise invalid(f"No such source: '{source}'", "source", "resource_missing")
    if call.given("payment_method"):
        raise invalid("Top-ups by payment methods are not built into the sandbox.", "payment_method")
    descriptor = call.given("statement_descriptor")
    if descriptor is not None and len(descriptor) > _DESCRIPTOR_LENGTH:
        raise invalid(
            f"The statement descriptor must be at most {_DESCRIPTOR_LENGTH} characters.", "statement_descriptor"
        )
    topup = work.add(
        {
            "id": new_id("tu"), "object": "topup", "amount": params["amount"], "balance_transaction": None,
            "created": work.now, "currency": currency, "description": call.given("description"),
            "expected_availability_date": arrival(work.now), "failure_code": None, "failure_message": None,
            "initiated_by": "user", "livemode": False, "metadata": new_metadata(params), "payment_method": None,
            "payment_method_options": None, "source": None, "statement_descriptor": descriptor, "status": "pending",
            "transfer_group": call.given("transfer_group"), "_failure": _SOURCES.get(source or ""),
        }
    )  # fmt: skip
    work.emit("topup.created", topup)
    work.later("settle_topup", topup["id"])
    return topup


def settle(work: Work, id_: str) -> None:
    """The platform's bank has answered."""
    topup = work.get("topup", id_)
    if topup["status"] != "pending":
        return
    if topup["_failure"] is None:
        succeed(work, id_)
    else:
        fail(work, id_, topup["_failure"])


def _pending(work: Work, id_: str) -> Json:
    topup = work.edit("topup", id_)
    if topup["status"] != "pending":
        raise invalid(f"This top-up has a status of {topup['status']}, not pending.")
    return topup


def succeed(work: Work, id_: str) -> Json:
    """The money is there.

    Raises: ApiError for what is not pending.
    """
    topup = _pending(work, id_)
    movement = balance_transactions.post(
        work, work.account, "topup", topup["amount"], topup["currency"], id_, description="Top-up"
    )
    topup.update(status="succeeded", balance_transaction=movement["id"])
    work.emit("topup.succeeded", topup)
    return topup


def fail(work: Work, id_: str, code: str) -> Json:
    """The platform's bank would not give it.

    Raises: ApiError for what is not pending.
    """
    topup = _pending(work, id_)
    topup.update(
        status="failed", failure_code=code, failure_message=FAILURES[code], expected_availability_date=None
    )
    work.emit("topup.failed", topup)
    return topup


def reverse(work: Work, id_: str) -> Json:
    """The platform's bank has taken it back.

    Raises: ApiError for what has not succeeded.
    """
    topup = work.edit("topup", id_)
    if topup["status"] != "succeeded":
        raise invalid(f"This top-up has a status of {topup['status']}: it cannot be reversed.")
    balance_transactions.post(
        work, work.account, "topup_reversal", -topup["amount"], topup["currency"], id_, description="Top-up reversal"
    )
    topup["status"] = "reversed"
    work.emit("topup.reversed", topup)
    return topup


def retrieve(call: Call) -> Json:
    """ "Retrieve a top-up"."""
    return call.work.get("topup", call.path["topup"], in_path=True)


def update(call: Call) -> Json:
    """ "Update a top-up": its description and metadata."""
    topup = call.work.edit("topup", retrieve(call)["id"])
    if "description" in call.params:
        topup["description"] = call.given("description")
    update_metadata(topup, call.params.get("metadata"))
    return topup


def cancel(call: Call) -> Json:
    """ "Cancel a top-up" that is pending."""
    topup = _pending(call.work, retrieve(call)["id"])
    topup.update(status="canceled", expected_availability_date=None)
    call.work.emit("topup.canceled", topup)
    return topup


def list_(call: Call) -> Json:
    """ "List all top-ups"."""
    least, most = time_range(call, "amount")
    return list_objects(
        call, "topup", "/v1/topups", filters=("status",), matches=lambda topup: least <= topup["amount"] <= most
    )


OPERATIONS = (
    Operation("POST", "/v1/topups", create, "topup_create"),
    Operation("GET", "/v1/topups", list_, "topup_list"),
    Operation("GET", "/v1/topups/{topup}", retrieve, "topup_retrieve"),
    Operation("POST", "/v1/topups/{topup}", update, "topup_update"),
    Operation("POST", "/v1/topups/{topup}/cancel", cancel, "topup_cancel"),
)
