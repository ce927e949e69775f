"""What a host does on the onboarding page, and what Stripe may do to an account later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.resources.accounts import add_external_account, application, refresh
from sandbox.resources.bodies import person_body, update_person
from sandbox.work import Work, copied

if TYPE_CHECKING:
    from sandbox.errors import Json

_PERSON: dict[str, Any] = {
    "address": {"city": "San Francisco", "line1": "address_full_match", "postal_code": "94111", "state": "CA"},
    "dob": {"day": 1, "month": 1, "year": 1901},
    "first_name": "Jenny",
    "last_name": "Rosen",
    "phone": "+10000000000",
    "id_number": "000000000",
    "relationship": {"representative": True, "title": "Owner"},
}


def onboard(work: Work, account: str, *, first_name: str | None = None, last_name: str | None = None) -> Json:
    """Fill in everything that is asked for."""
    body = work.edit("account", account, work.platform)
    before = copied(body)
    body["_forced_due"], body["_disabled"], body["_deadline"] = [], None, None
    body["business_type"] = body["business_type"] or "individual"
    if body["business_type"] != "individual":
        _fill_company(body)
    _fill_person(work, body, first_name, last_name)
    profile = body["business_profile"]
    profile["mcc"] = profile["mcc"] or "7999"
    profile["url"] = profile["url"] or "https://accessible.stripe.com"
    profile["name"] = profile["name"] or "Sandbox host"
    body["tos_acceptance"] = {"date": work.now, "ip": "127.0.0.1", "user_agent": None}
    if not body["_external_accounts"]:
        bank = add_external_account(work, body, "btok_us_verified")
        work.emit("account.external_account.created", bank, account=account)
    body["email"] = body["email"] or "jenny.rosen@example.com"
    body["details_submitted"] = True
    if not body["_requested"]:
        body["_requested"] = {"card_payments": work.now, "transfers": work.now}
    refresh(work, body)
    if not before["details_submitted"]:
        work.emit("account.application.authorized", application(work.platform), account=account)
    work.emit_updated("account.updated", body, before, account=account)
    return body


def _fill_company(body: Json) -> None:
    body["_company"] = {
        "address": dict(_PERSON["address"]), "name": "Sandbox company", "phone": "+10000000000",
        "tax_id_provided": True, "owners_provided": True, **body["_company"],
    }  # fmt: skip


def _fill_person(work: Work, body: Json, first_name: str | None, last_name: str | None) -> None:
    known = next((p for p in work.listed("person", account=body["id"]) if p["relationship"]["representative"]), None)
    params: dict[str, Any] = {**_PERSON, "address": {**_PERSON["address"], "country": body["country"]}}
    params["first_name"] = first_name or params["first_name"]
    params["last_name"] = last_name or params["last_name"]
    params["email"] = body["email"] or "jenny.rosen@example.com"
    if known is None:
        person = person_body(work, body["id"])
        update_person(person, params)
        work.add(person, account=body["id"])
        work.emit("person.created", person, account=body["id"])
        return
    person = work.edit("person", known["id"], body["id"])
    before = copied(person)
    update_person(person, params)
    work.emit_updated("person.updated", person, before, account=body["id"])


def restrict(
    work: Work, account: str, *, due: list[str], disabled_reason: str | None, deadline: int | None = None
) -> Json:
    """Ask for more, as Stripe does when a check fails, or switch the account off.

    Args:
        deadline: seconds since the epoch; until then the account can do what it could.
    """
    body = work.edit("account", account, work.platform)
    before = copied(body)
    body["_forced_due"], body["_disabled"], body["_deadline"] = due, disabled_reason, deadline
    refresh(work, body)
    work.emit_updated("account.updated", body, before, account=account)
    if deadline is not None and deadline > work.now:
        work.later("pass_deadline", account, after_s=deadline - work.now)
    return body


def pass_deadline(work: Work, account: str) -> None:
    """What was wanted by now and is not there stops the account."""
    body = work.edit("account", account, work.platform)
    before = copied(body)
    refresh(work, body)
    work.emit_updated("account.updated", body, before, account=account)


def deauthorize(work: Work, account: str) -> Json:
    """The host takes away the platform's access ("Revoke an account's access")."""
    body = work.edit("account", account, work.platform)
    body["_deauthorized"] = True
    work.emit("account.application.deauthorized", application(work.platform), account=account)
    return body
