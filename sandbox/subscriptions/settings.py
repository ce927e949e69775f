"""What a request says of a subscription that costs nothing: how it is paid, what it is called, how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox.errors import ApiError, Json, invalid
from sandbox.operations import update_metadata
from sandbox.resources.accounts import payable
from sandbox.subscriptions import bodies

if TYPE_CHECKING:
    from sandbox.work import Work

NOT_BUILT_IN: Final = (
    "automatic_tax", "billing_schedules", "billing_thresholds", "default_source", "default_tax_rates",
    "customer_account", "pending_invoice_item_interval",
)  # fmt: skip


def apply(work: Work, subscription: Json, params: Json) -> None:
    """Take what the parameters of a creation or an update say.

    Raises: ApiError for a payment method that is not the customer's, an account that cannot be paid, or settings that
        exclude each other.
    """
    if params.get("automatic_tax") == {"enabled": False}:
        params = {name: value for name, value in params.items() if name != "automatic_tax"}
    bodies.not_built_in(params, *NOT_BUILT_IN)
    update_metadata(subscription, params.get("metadata"))
    for name in ("description", "on_behalf_of"):
        if name in params:
            subscription[name] = params[name] or None
    if params.get("default_payment_method"):
        _set_method(work, subscription, params["default_payment_method"])
    _set_collection(subscription, params)
    _set_payment(subscription, params.get("payment_settings"))
    if params.get("trial_settings"):
        end = params["trial_settings"]["end_behavior"]
        subscription["trial_settings"] = {
            "end_behavior": {"missing_payment_method": "create_invoice", **{k: v for k, v in end.items() if v}}
        }
    for name, value in (params.get("invoice_settings") or {}).items():
        subscription["invoice_settings"][name] = value or None
    if "application_fee_percent" in params:
        percent = params["application_fee_percent"]
        subscription["application_fee_percent"] = float(percent) if percent not in (None, "") else None
    if "transfer_data" in params:
        subscription["transfer_data"] = _transfer_data(work, params["transfer_data"])
    for name, value in (params.get("cancellation_details") or {}).items():
        subscription["cancellation_details"][name] = value or None


def _set_method(work: Work, subscription: Json, id_: str) -> None:
    method = work.find("payment_method", id_)
    if method is None or method["customer"] != subscription["customer"]:
        raise ApiError(
            f"The customer does not have a payment method with the ID {id_}. The payment method must be attached to "
            "the customer.", code="resource_missing", param="default_payment_method",
        )  # fmt: skip
    subscription["default_payment_method"] = id_


def _set_collection(subscription: Json, params: Json) -> None:
    if params.get("collection_method"):
        subscription["collection_method"] = params["collection_method"]
        if params["collection_method"] == "charge_automatically":
            subscription["days_until_due"] = None
    if params.get("days_until_due") is not None:
        if subscription["collection_method"] != "send_invoice":
            raise invalid(
                "You can only set `days_until_due` if `collection_method` is `send_invoice`.", "days_until_due"
            )
        subscription["days_until_due"] = params["days_until_due"]
    if subscription["collection_method"] == "send_invoice" and subscription["days_until_due"] is None:
        raise invalid(
            "You must provide `days_until_due` when `collection_method` is `send_invoice`.", "days_until_due"
        )


def _set_payment(subscription: Json, wanted: Any) -> None:
    if not wanted:
        return
    settings = subscription["payment_settings"]
    for name, value in wanted.items():
        settings[name] = value or None
    settings["save_default_payment_method"] = settings["save_default_payment_method"] or "off"


def _transfer_data(work: Work, wanted: Any) -> Json | None:
    if not wanted:
        return None
    payable(work, wanted["destination"], "transfer_data[destination]")
    percent = wanted.get("amount_percent")
    return {"amount_percent": None if percent is None else float(percent), "destination": wanted["destination"]}
