"""The people behind an account ("The Person object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.accounts import connected, refresh
from sandbox.resources.bodies import person_body, update_person
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json


def create(call: Call) -> Json:
    """ "Create a person"."""
    work = call.work
    account = connected(work, call.path["account"], in_path=True)["id"]
    person = person_body(work, account)
    person["metadata"] = new_metadata(call.params)
    update_person(person, call.params)
    work.add(person, account=account)
    work.emit("person.created", person, account=account)
    _refresh(call, account)
    return person


def _refresh(call: Call, account: str) -> None:
    body = call.work.edit("account", account, call.work.platform)
    before = copied(body)
    refresh(call.work, body)
    call.work.emit_updated("account.updated", body, before, account=account)


def _person(call: Call) -> Json:
    account = connected(call.work, call.path["account"], in_path=True)["id"]
    return call.work.get("person", call.path["person"], in_path=True, account=account)


def retrieve(call: Call) -> Json:
    """ "Retrieve a person"."""
    return _person(call)


def update(call: Call) -> Json:
    """ "Update a person"."""
    work, known = call.work, _person(call)
    person = work.edit("person", known["id"], known["account"])
    before = copied(person)
    update_person(person, call.params)
    update_metadata(person, call.params.get("metadata"))
    work.emit_updated("person.updated", person, before, account=person["account"])
    _refresh(call, person["account"])
    return person


def delete(call: Call) -> Json:
    """ "Delete a person"."""
    work, person = call.work, _person(call)
    work.emit("person.deleted", person, account=person["account"])
    gone = work.remove("person", person["id"], person["account"])
    _refresh(call, person["account"])
    return gone


def list_(call: Call) -> Json:
    """ "List all persons"."""
    account = connected(call.work, call.path["account"], in_path=True)["id"]
    wanted = call.given("relationship") or {}
    return list_objects(
        call, "person", f"/v1/accounts/{account}/persons", account=account,
        matches=lambda person: all(person["relationship"][name] == value for name, value in wanted.items()),
    )  # fmt: skip


OPERATIONS = (
    Operation("POST", "/v1/accounts/{account}/persons", create, "account_person_create"),
    Operation("GET", "/v1/accounts/{account}/persons", list_, "account_person_list"),
    Operation("GET", "/v1/accounts/{account}/persons/{person}", retrieve, "account_person_retrieve"),
    Operation("POST", "/v1/accounts/{account}/persons/{person}", update, "account_person_update"),
    Operation("DELETE", "/v1/accounts/{account}/persons/{person}", delete, "account_person_delete"),
)
