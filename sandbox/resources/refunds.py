"""Refunds: money back to the guest, from the host with it where that is asked for ("The Refund object")."""

from __future__ import annotations

from sandbox import money
from sandbox.disputes import lifecycle
from sandbox.errors import ApiError, Json, invalid
from sandbox.ids import new_id, random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, refuse_both, update_metadata
from sandbox.resources import application_fees, balance_transactions, confirmation, early_fraud_warnings, transfers
from sandbox.resources.bodies import refund_body
from sandbox.resources.payment_methods import behaviour
from sandbox.resources.refund_outcomes import announce
from sandbox.work import Work, copied, differences


def create(call: Call) -> Json:
    """ "Create a refund"."""
    work, params = call.work, call.params
    refuse_both(params, "charge", "payment_intent")
    charge = _charge(call)
    if charge["balance_transaction"] is None:
        # Refunded before its money has arrived where it goes: that happens first.
        confirmation.late_settlement(work, charge["id"])
        charge = work.edit("charge", charge["id"])
    amount = _amount(charge, params.get("amount"))
    test = behaviour(work.get("payment_method", charge["payment_method"]))
    id_ = new_id("pyr" if charge["id"].startswith("py_") else "re")
    is_pending = test.refund == "is_pending" or test.is_asynchronous
    settled = work.get("balance_transaction", charge["balance_transaction"])
    movement = balance_transactions.post(
        work, work.account, "payment_refund" if test.is_asynchronous else "refund",
        -money.share(settled["amount"], _given_back(charge), amount, charge["amount_captured"]), settled["currency"],
        id_,
        description=f"REFUND FOR {'PAYMENT' if test.is_asynchronous else 'CHARGE'}",
        exchange_rate=balance_transactions.rate(charge["currency"], settled["currency"]),
    )  # fmt: skip
    refund = refund_body(
        work, id_, charge, amount, balance_transaction=movement["id"], metadata=new_metadata(params),
        reason=call.given("reason"), status="pending" if is_pending else "succeeded",
        destination_details=_destination(charge, is_pending=is_pending),
    )  # fmt: skip
    if is_pending:
        refund["pending_reason"] = "processing"
    work.add(refund)
    before = copied(charge)
    _take_back(call, charge, refund)
    _count(charge, amount)
    work.emit("charge.refunded", charge, previous=differences(before, charge))
    work.emit("refund.created", refund)
    if charge["refunded"]:
        early_fraud_warnings.settle(work, charge)
        lifecycle.charge_refunded(work, charge)
    if is_pending:
        work.later("settle_refund", id_)
    elif test.refund == "fails":
        work.later("fail_refund", id_)
    return refund


def release(work: Work, charge: Json, amount: int, *, reason: str | None = None) -> Json:
    """Let go of what was authorized and is not taken, which Stripe lists among the refunds.

    It moves no balance ("Any additional amount is automatically refunded").
    """
    body = refund_body(
        work, new_id("re"), charge, amount, reason=reason,
        destination_details={"card": {"reference_status": "pending", "type": "reversal"}, "type": "card"},
    )  # fmt: skip
    _count(charge, amount)
    return work.add(body)


def _count(charge: Json, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def _given_back(charge: Json) -> int:
    """What was captured and then refunded; what was never captured counts as refunded, too."""
    given: int = charge["amount_refunded"] - (charge["amount"] - charge["amount_captured"])
    return given


def _destination(charge: Json, *, is_pending: bool) -> Json:
    type_ = charge["payment_method_details"]["type"]
    if type_ != "card":
        return {"type": "us_bank_transfer" if type_ == "us_bank_account" else "eu_bank_transfer"}
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    if not is_pending:
        card.update(reference=random_text(12).upper(), reference_status="available")
    return {"card": card, "type": "card"}


def _charge(call: Call) -> Json:
    work, params = call.work, call.params
    if call.given("payment_intent"):
        intent = work.get("payment_intent", params["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            raise invalid(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.", "payment_intent"
            )
        return work.edit("charge", intent["latest_charge"])
    if not call.given("charge"):
        raise invalid(
            "One of the following params should be provided for this request: payment_intent or charge.", "charge",
            "parameter_missing",
        )  # fmt: skip
    charge = work.get("charge", params["charge"], "charge")
    if charge["status"] != "succeeded" or not charge["captured"] or charge["payment_method"] is None:
        raise invalid(
            f"Charge {charge['id']} cannot be refunded: it was not captured here.", "charge", "charge_not_refundable"
        )
    return work.edit("charge", charge["id"])


def _amount(charge: Json, wanted: int | None) -> int:
    left, currency = charge["amount"] - charge["amount_refunded"], charge["currency"]
    if charge.get("_charged_back"):
        raise invalid(f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed")
    if not left:
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = left if wanted is None else wanted
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if amount > left:
        raise invalid(
            f"Refund amount ({money.shown(amount, currency)}) is greater than unrefunded amount on charge "
            f"({money.shown(left, currency)})", "amount",
        )  # fmt: skip
    if currency in money.THREE_DECIMAL and amount % 10:
        raise invalid(f"Invalid amount: the last digit of an amount in {currency} must be 0.", "amount")
    return amount


def _take_back(call: Call, charge: Json, refund: Json) -> None:
    """Reverse the transfer and refund the fee, in proportion to all that was refunded so far."""
    work, params = call.work, call.params
    returned = _given_back(charge) + refund["amount"]
    wants_fee, wants_transfer = params.get("refund_application_fee"), params.get("reverse_transfer")
    fee_refund = None
    if wants_fee:
        if charge["application_fee"] is None:
            raise invalid(
                "There is no application fee to refund on this charge.", "refund_application_fee",
            )  # fmt: skip
        fee_refund = application_fees.refund_share(work, charge["application_fee"], returned, charge["amount_captured"])
    if not wants_transfer:
        if fee_refund is not None:
            application_fees.credit_host(work, fee_refund)
        return
    if charge.get("transfer") is None:
        raise invalid(
            "Cannot reverse transfer on charge without an associated transfer.", "reverse_transfer",
        )  # fmt: skip
    transfer = work.get("transfer", charge["transfer"])
    due = money.ratio(transfer["amount"] * returned, charge["amount_captured"]) - transfer["amount_reversed"]
    due = min(due, transfer["amount"] - transfer["amount_reversed"])
    if due <= 0:
        raise invalid("The transfer of this charge has already been reversed.", "reverse_transfer")
    reversal = transfers.reverse(work, transfer["id"], due, refund=refund, fee_refund=fee_refund)
    refund["transfer_reversal"] = reversal["id"]


def retrieve(call: Call) -> Json:
    """ "Retrieve a refund"."""
    return call.work.get("refund", call.path["refund"], in_path=True)


def update(call: Call) -> Json:
    """ "Update a refund": its metadata."""
    work = call.work
    work.get("refund", call.path["refund"], in_path=True)
    body = work.edit("refund", call.path["refund"])
    before = copied(body)
    update_metadata(body, call.params.get("metadata"))
    announce(work, body, before)
    return body


def cancel(call: Call) -> Json:
    """ "Cancel a refund"; only one that waits for the customer can be."""
    body = call.work.get("refund", call.path["refund"], in_path=True)
    raise ApiError(
        f"Refund {body['id']} has a status of {body['status']}. Only refunds with a status of requires_action can be "
        "canceled.",
    )  # fmt: skip


def list_(call: Call) -> Json:
    """ "List all refunds"."""
    return list_objects(call, "refund", "/v1/refunds", filters=("payment_intent", "charge"))


def list_of_charge(call: Call) -> Json:
    """ "List all refunds" of a charge."""
    charge = call.path["charge"]
    call.work.get("charge", charge, in_path=True)
    return list_objects(call, "refund", f"/v1/charges/{charge}/refunds", where={"charge": charge})


OPERATIONS = (
    Operation("POST", "/v1/refunds", create, "refund_create"),
    Operation("GET", "/v1/refunds", list_, "refund_list"),
    Operation("GET", "/v1/refunds/{refund}", retrieve, "refund_retrieve"),
    Operation("POST", "/v1/refunds/{refund}", update, "refund_update"),
    Operation("POST", "/v1/refunds/{refund}/cancel", cancel, "refund_cancel"),
    Operation("GET", "/v1/charges/{charge}/refunds", list_of_charge, "charge_list_refunds"),
)
