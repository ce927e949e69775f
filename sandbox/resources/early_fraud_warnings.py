"""What card issuers report as fraud before it is disputed ("The Early Fraud Warning object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.errors import invalid
from sandbox.ids import new_id
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

KIND: Final = "radar.early_fraud_warning"
FRAUD_TYPES: Final = frozenset(
    "card_never_received fraudulent_card_application made_with_counterfeit_card made_with_lost_card "
    "made_with_stolen_card misc unauthorized_use_of_card".split()
)


def open_(work: Work, charge_id: str, fraud_type: str = "unauthorized_use_of_card") -> Json:
    """A card's issuer reports a charge as fraud.

    Raises: ApiError for a charge that was not paid with a card.
    """
    charge = work.edit("charge", charge_id)
    if charge["status"] != "succeeded" or (charge["payment_method_details"] or {}).get("type") != "card":
        raise invalid(f"Charge {charge_id} was not paid with a card.", "charge")
    charge["_warned"] = True
    warning = work.add(
        {
            "id": new_id("issfr"), "object": KIND, "actionable": not (charge["refunded"] or charge["disputed"]),
            "charge": charge_id, "created": work.now, "fraud_type": fraud_type, "livemode": False,
            "payment_intent": charge["payment_intent"],
        }
    )  # fmt: skip
    work.emit(f"{KIND}.created", warning)
    return warning


def settle(work: Work, charge: Json) -> None:
    """Nothing can be done of a warning once its charge was disputed, or given back whole."""
    if not charge.get("_warned") or not (charge["refunded"] or charge["disputed"]):
        return
    for known in work.listed(KIND, link=("charge", charge["id"])):
        if known["actionable"]:
            warning = work.edit(KIND, known["id"])
            before = copied(warning)
            warning["actionable"] = False
            work.emit_updated(f"{KIND}.updated", warning, before)


def open_by_card(work: Work, charge_id: str) -> None:
    """What a test card's issuer reports a moment after the payment."""
    open_(work, charge_id)


def retrieve(call: Call) -> Json:
    """ "Retrieve an early fraud warning"."""
    return call.work.get(KIND, call.path["early_fraud_warning"], "early_fraud_warning", in_path=True)


def list_(call: Call) -> Json:
    """ "List all early fraud warnings"."""
    return list_objects(call, KIND, "/v1/radar/early_fraud_warnings", filters=("charge", "payment_intent"))


OPERATIONS = (
    Operation("GET", "/v1/radar/early_fraud_warnings", list_, "radar.early_fraud_warning_list"),
    Operation(
        "GET", "/v1/radar/early_fraud_warnings/{early_fraud_warning}", retrieve, "radar.early_fraud_warning_retrieve"
    ),
)
