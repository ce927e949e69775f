"""Where a host's payouts go ("The Bank Account object", "The Card object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.errors import Json, invalid, missing_object, missing_param
from sandbox.listing import page_of
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.accounts import add_external_account, connected, kind_of, refresh, show_external_accounts
from sandbox.resources.external_account_bodies import KINDS
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.work import Work


def create(call: Call) -> Json:
    """ "Create an external account"."""
    work = call.work
    if not call.given("external_account"):
        raise missing_param("external_account")
    body = work.edit("account", connected(work, call.path["account"], in_path=True)["id"], work.platform)
    before = copied(body)
    added = add_external_account(
        work, body, call.params["external_account"], new_metadata(call.params),
        is_default=bool(call.param("default_for_currency", default=False)),
    )  # fmt: skip
    work.emit("account.external_account.created", added, account=body["id"])
    refresh(work, body)
    work.emit_updated("account.updated", body, before, account=body["id"])
    return added


def _found(call: Call) -> Json:
    """The external account that the path names, to be read only."""
    account = connected(call.work, call.path["account"], in_path=True)["id"]
    for kind in KINDS:
        found = call.work.find(kind, call.path["id"], account)
        if found is not None:
            return found
    raise missing_object("external account", call.path["id"], "id", in_path=True)


def retrieve(call: Call) -> Json:
    """ "Retrieve an external account"."""
    return _found(call)


_OF_A_BANK = ("account_holder_name", "account_holder_type", "account_type")
_OF_A_CARD = (
    "address_city", "address_country", "address_line1", "address_line2", "address_state", "address_zip", "name",
)  # fmt: skip


def update(call: Call) -> Json:
    """ "Update an external account"; one that a payout failed to is tried again after that."""
    work, known = call.work, _found(call)
    found = work.edit(known["object"], known["id"], known["account"])
    before = copied(found)
    for name in _OF_A_CARD if found["object"] == "card" else _OF_A_BANK:
        if name in call.params:
            found[name] = call.given(name)
    for name in ("exp_month", "exp_year"):
        if found["object"] == "card" and name in call.params:
            found[name] = _number(call.params[name], name)
    found["status"] = "new"
    update_metadata(found, call.params.get("metadata"))
    body = work.edit("account", found["account"], work.platform)
    if call.param("default_for_currency"):
        _make_default(work, body, found)
    show_external_accounts(work, body)
    work.emit_updated("account.external_account.updated", found, before, account=found["account"])
    return found


def _number(value: str, name: str) -> int:
    if not value.isdecimal() or len(value) > 4:
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def _make_default(work: Work, body: Json, found: Json) -> None:
    for id_ in body["_external_accounts"]:
        other = work.edit(kind_of(work, id_), id_, body["id"])
        if other["currency"] == found["currency"]:
            other["default_for_currency"] = id_ == found["id"]


def delete(call: Call) -> Json:
    """ "Delete an external account"."""
    work, found = call.work, _found(call)
    if found["default_for_currency"]:
        raise invalid(
            "You cannot delete the default external account for your default currency. Please make another external "
            "account the default using the `default_for_currency` param, and then delete this one."
        )
    body = work.edit("account", found["account"], work.platform)
    body["_external_accounts"].remove(found["id"])
    work.emit("account.external_account.deleted", found, account=found["account"])
    gone = work.remove(found["object"], found["id"], found["account"])
    show_external_accounts(work, body)
    refresh(work, body)
    return gone


def list_(call: Call) -> Json:
    """ "List all external accounts"."""
    account = connected(call.work, call.path["account"], in_path=True)
    found = [call.work.any(id_) for id_ in reversed(account["_external_accounts"])]
    wanted = call.given("object")
    items = [item for item in found if item is not None and wanted in (None, item["object"])]
    return page_of(call, items, f"/v1/accounts/{account['id']}/external_accounts")


_PATH = "/v1/accounts/{account}/external_accounts"

OPERATIONS = (
    Operation("POST", _PATH, create, "account_external_account_create"),
    Operation("GET", _PATH, list_, "account_external_account_list"),
    Operation("GET", _PATH + "/{id}", retrieve, "account_external_account_retrieve"),
    Operation("POST", _PATH + "/{id}", update, "account_external_account_update"),
    Operation("DELETE", _PATH + "/{id}", delete, "account_external_account_delete"),
)
