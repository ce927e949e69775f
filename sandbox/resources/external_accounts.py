"""Where a host's payouts go ("The Bank Account object")."""

from __future__ import annotations

from sandbox.errors import Json, invalid, missing_param
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.accounts import add_external_account, connected, refresh, show_external_accounts
from sandbox.work import copied


def create(call: Call) -> Json:
    """ "Create an external account"."""
    work = call.work
    if not call.given("external_account"):
        raise missing_param("external_account")
    body = work.edit("account", connected(work, call.path["account"], in_path=True)["id"], work.platform)
    before = copied(body)
    bank = add_external_account(work, body, call.params["external_account"], new_metadata(call.params))
    work.emit("account.external_account.created", bank, account=body["id"])
    refresh(work, body)
    work.emit_updated("account.updated", body, before, account=body["id"])
    return bank


def _bank(call: Call) -> Json:
    account = connected(call.work, call.path["account"], in_path=True)["id"]
    return call.work.get("bank_account", call.path["id"], "id", in_path=True, account=account)


def retrieve(call: Call) -> Json:
    """ "Retrieve an external account"."""
    return _bank(call)


def update(call: Call) -> Json:
    """ "Update an external account"."""
    work, known = call.work, _bank(call)
    bank = work.edit("bank_account", known["id"], known["account"])
    before = copied(bank)
    for name in ("account_holder_name", "account_holder_type"):
        if name in call.params:
            bank[name] = call.given(name)
    update_metadata(bank, call.params.get("metadata"))
    body = work.edit("account", bank["account"], work.platform)
    if call.param("default_for_currency"):
        for id_ in body["_external_accounts"]:
            other = work.edit("bank_account", id_, bank["account"])
            if other["currency"] == bank["currency"]:
                other["default_for_currency"] = id_ == bank["id"]
    show_external_accounts(work, body)
    work.emit_updated("account.external_account.updated", bank, before, account=bank["account"])
    return bank


def delete(call: Call) -> Json:
    """ "Delete an external account"."""
    work, bank = call.work, _bank(call)
    if bank["default_for_currency"]:
        raise invalid(
            "You cannot delete the default external account for your default currency. Please make another external "
            "account the default using the `default_for_currency` param, and then delete this one."
        )
    body = work.edit("account", bank["account"], work.platform)
    body["_external_accounts"].remove(bank["id"])
    work.emit("account.external_account.deleted", bank, account=bank["account"])
    gone = work.remove("bank_account", bank["id"], bank["account"])
    show_external_accounts(work, body)
    refresh(work, body)
    return gone


def list_(call: Call) -> Json:
    """ "List all external accounts"."""
    account = connected(call.work, call.path["account"], in_path=True)["id"]
    return list_objects(call, "bank_account", f"/v1/accounts/{account}/external_accounts", account=account)


_PATH = "/v1/accounts/{account}/external_accounts"

OPERATIONS = (
    Operation("POST", _PATH, create, "account_external_account_create"),
    Operation("GET", _PATH, list_, "account_external_account_list"),
    Operation("GET", _PATH + "/{id}", retrieve, "account_external_account_retrieve"),
    Operation("POST", _PATH + "/{id}", update, "account_external_account_update"),
    Operation("DELETE", _PATH + "/{id}", delete, "account_external_account_delete"),
)
