"""What an account may do ("The Capability object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.listing import as_list
from sandbox.operations import Call, Operation
from sandbox.resources.accounts import capability, refresh, request_capability, target
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json


def list_capabilities(call: Call) -> Json:
    """ "List all account capabilities"."""
    account = target(call)
    names = sorted(account["_requested"])
    return as_list([capability(account, name) for name in names], f"/v1/accounts/{account['id']}/capabilities")


def retrieve_capability(call: Call) -> Json:
    """ "Retrieve an Account Capability"."""
    return capability(target(call), call.path["capability"])


def update_capability(call: Call) -> Json:
    """ "Update an Account Capability"."""
    work = call.work
    body = work.edit("account", target(call)["id"], work.platform)
    before = copied(body)
    name = call.path["capability"]
    if call.param("requested"):
        request_capability(body, name, work.now)
    elif call.param("requested") is False:
        body["_requested"].pop(name, None)
        body["capabilities"].pop(name, None)
    refresh(work, body)
    work.emit_updated("account.updated", body, before, account=body["id"])
    return capability(body, name)


_ALL = "/v1/accounts/{account}/capabilities"
_ONE = "/v1/accounts/{account}/capabilities/{capability}"

OPERATIONS = (
    Operation("GET", _ALL, list_capabilities, "account_capability_list"),
    Operation("GET", _ONE, retrieve_capability, "account_capability_retrieve"),
    Operation("POST", _ONE, update_capability, "account_capability_update"),
)
