"""Payouts to banks and debit cards ("The Payout object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import money, pricing
from sandbox.errors import invalid
from sandbox.listing import list_objects, time_range
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.payouts import lifecycle
from sandbox.resources.accounts import own
from sandbox.resources.external_account_bodies import KINDS
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

_DESCRIPTOR_LENGTH: Final = 22
_REVERSIBLE: Final = ("US", "CA")


def create(call: Call) -> Json:
    """ "Create a payout"."""
    work, params = call.work, call.params
    account = own(work, work.account)
    amount, currency = params["amount"], money.check_currency(params["currency"])
    method = params.get("method", "standard")
    pricing.check_payout_amount(amount, currency, is_instant=method == "instant")
    if not account["payouts_enabled"]:
        raise invalid(
            "Payouts have been disabled on this account. Check its requirements to see what is needed of it.",
            code="payouts_not_allowed",
        )  # fmt: skip
    if call.given("payout_method"):
        raise invalid("Financial accounts are not built into the sandbox.", "payout_method")
    descriptor = call.param("statement_descriptor", account["settings"]["payouts"]["statement_descriptor"])
    if descriptor is not None and len(descriptor) > _DESCRIPTOR_LENGTH:
        raise invalid(
            f"The statement descriptor must be at most {_DESCRIPTOR_LENGTH} characters.", "statement_descriptor"
        )
    destination = _destination(call, account, currency)
    if method == "instant":
        _check_instant(account, destination)
    _check_covered(work, account, amount, currency, method, params.get("source_type", "card"))
    fields: dict[str, Any] = {
        "description": call.given("description"), "metadata": new_metadata(params), "statement_descriptor": descriptor,
    }  # fmt: skip
    return lifecycle.make(work, account, amount, currency, destination, method=method, **fields)


def _destination(call: Call, account: Json, currency: str) -> Json:
    work, wanted = call.work, call.given("destination")
    if wanted is None:
        found = lifecycle.destination_for(work, account, currency)
        if found is None:
            raise invalid(f"Sorry, you don't have any external accounts in that currency ({currency})")
    else:
        found = next((one for kind in KINDS if (one := work.find(kind, wanted)) is not None), None)
        if found is None:
            raise invalid(f"No such external account: '{wanted}'", "destination", "resource_missing")
        if found["currency"] != currency:
            raise invalid(
                f"The external account {wanted} is in {found['currency']}: it cannot be paid out to in {currency}.",
                "destination",
            )
    if found["status"] != "new":
        raise invalid(
            f"The external account {found['id']} cannot be used for payouts, since a payout to it has failed. Update "
            "its details, or use another.", "destination", "bank_account_unusable",
        )  # fmt: skip
    return found


def _check_instant(account: Json, destination: Json) -> None:
    if pricing.pays_out_instantly(account["country"]) and "instant" in destination["available_payout_methods"]:
        return
    what = "debit card" if destination["object"] == "card" else "bank account"
    raise invalid(
        f"The {what} provided as an external account doesn't support Instant Payouts. Provide another debit card or "
        "bank account, or use a standard payout.", "method", "instant_payouts_unsupported",
    )  # fmt: skip


def _check_covered(work: Work, account: Json, amount: int, currency: str, method: str, source_type: str) -> None:
    """Refuse more than there is. Within minutes, what is pending can be paid out as well."""
    available, pending = work.balance(account["id"]).get(currency, (0, 0))
    if source_type != "card":
        available = pending = 0
    wanted = amount
    if method == "instant":
        available += pending
        wanted += 0 if lifecycle.platform_pays(account) else pricing.instant_payout_fee(amount, currency)
    if wanted > available:
        raise invalid(
            f"You have insufficient funds in your Stripe account for this transfer. Your {source_type} balance is too "
            "low.  You can use the /v1/balance endpoint to view your Stripe balance (for more details, see "
            "stripe.com/docs/api#balance).", code="balance_insufficient",
        )  # fmt: skip


def retrieve(call: Call) -> Json:
    """ "Retrieve a payout"."""
    return call.work.get("payout", call.path["payout"], in_path=True)


def _edited(call: Call) -> Json:
    return call.work.edit("payout", retrieve(call)["id"])


def update(call: Call) -> Json:
    """ "Update a payout": its metadata."""
    payout = _edited(call)
    before = copied(payout)
    update_metadata(payout, call.params.get("metadata"))
    call.work.emit_updated("payout.updated", payout, before)
    return payout


def cancel(call: Call) -> Json:
    """ "Cancel a payout"."""
    payout = _edited(call)
    lifecycle.cancel(call.work, payout)
    return payout


def reverse(call: Call) -> Json:
    """ "Reverse a payout": a connected account's, from a bank account in the US or Canada."""
    work, payout = call.work, _edited(call)
    account, destination = own(work, work.account), work.find("bank_account", payout["destination"])
    if account["id"] == work.platform:
        raise invalid("Only payouts of connected accounts can be reversed.")
    if destination is None or destination["country"] not in _REVERSIBLE:
        raise invalid("Only payouts to US and Canadian bank accounts can be reversed.")
    if payout["status"] == "pending" and not payout["automatic"]:
        raise invalid("This payout is pending: cancel it instead.")
    if payout["status"] not in ("in_transit", "paid") or payout["reversed_by"] or payout["amount"] < 0:
        raise invalid(f"This payout has a status of {payout['status']}: it cannot be reversed.")
    before = copied(payout)
    made = lifecycle.make(
        work, account, -payout["amount"], payout["currency"], destination, original=payout["id"],
        metadata=new_metadata(call.params),
    )  # fmt: skip
    payout["reversed_by"] = made["id"]
    work.emit_updated("payout.updated", payout, before)
    return made


def list_(call: Call) -> Json:
    """ "List all payouts"."""
    first, last = time_range(call, "arrival_date")
    return list_objects(
        call, "payout", "/v1/payouts", filters=("destination", "status"),
        matches=lambda payout: first <= payout["arrival_date"] <= last,
    )  # fmt: skip


OPERATIONS = (
    Operation("POST", "/v1/payouts", create, "payout_create"),
    Operation("GET", "/v1/payouts", list_, "payout_list"),
    Operation("GET", "/v1/payouts/{payout}", retrieve, "payout_retrieve"),
    Operation("POST", "/v1/payouts/{payout}", update, "payout_update"),
    Operation("POST", "/v1/payouts/{payout}/cancel", cancel, "payout_cancel"),
    Operation("POST", "/v1/payouts/{payout}/reverse", reverse, "payout_reverse"),
)
