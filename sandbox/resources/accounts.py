"""Connected accounts ("The Account object"): what they are, what they may do, what Stripe still wants of them."""

from __future__ import annotations

from typing import Any, Final

from sandbox import money
from sandbox.errors import ApiError, Json, invalid, missing_object, missing_param
from sandbox.ids import new_account_id
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.payouts import schedule
from sandbox.resources import requirements
from sandbox.resources.account_bodies import account_body, no_requirements
from sandbox.resources.bodies import person_body, update_person
from sandbox.resources.external_account_bodies import external_account_body
from sandbox.work import Work, copied, visible

_CONTROLLERS: Final = {
    "express": ("application_express", "application", "stripe", "express"),
    "custom": ("application_custom", "application", "application", "none"),
    "standard": ("account", "stripe", "stripe", "full"),
}


def application_of(platform: str) -> str:
    """The Connect application of a platform."""
    return f"ca_{platform.removeprefix('acct_')}"


def application(platform: str) -> Json:
    """A platform's Connect application, as events show it."""
    return {"id": application_of(platform), "object": "application", "name": "Sandbox platform"}


def own(work: Work, id_: str) -> Json:
    """An account by its id, the platform's own included; it is there."""
    body = work.any(id_)
    if body is None or body["object"] != "account":
        raise missing_object("account", id_, "account")
    return body


def create(call: Call) -> Json:
    """ "Create an account", by its controller properties or its older type."""
    work, params = call.work, call.params
    country = params.get("country") or own(work, work.platform)["country"]
    if money.country_currency(country) is None:
        raise invalid(f"{country} is not currently supported by Stripe.", "country", "country_unsupported")
    id_ = new_account_id()
    body = account_body(id_, country, work.now, email=call.given("email"))
    body["_owner"] = work.platform
    body["metadata"] = new_metadata(params)
    body["controller"], body["type"] = _controller(params)
    body["_by_type"] = "controller" not in params
    collects = body["controller"]["requirement_collection"]
    body["settings"]["payouts"]["debit_negative_balances"] = collects == "stripe"
    for name, what in (params.get("capabilities") or {}).items():
        if what.get("requested"):
            request_capability(body, name, work.now)
    if body["type"] == "standard" and not body["_requested"]:
        for name in ("card_payments", "transfers"):
            request_capability(body, name, work.now)
    work.add(body, account=work.platform)
    apply(call, body)
    refresh(work, body, silently=True)
    work.emit("account.updated", body, account=id_)
    return body


def _controller(params: Json) -> tuple[Json, str]:
    """The controller's properties, and the type that they amount to."""
    given = params.get("controller")
    type_ = params.get("type")
    if given is not None and type_ is not None:
        raise invalid("You may not provide the `type` parameter and `controller` parameters simultaneously.", "type")
    if given is None:
        # An account is standard, unless it says otherwise.
        fees, losses, collects, dashboard = _CONTROLLERS[type_ or "standard"]
    else:
        fees = (given.get("fees") or {}).get("payer", "account")
        losses = (given.get("losses") or {}).get("payments", "stripe")
        collects = given.get("requirement_collection", "stripe")
        dashboard = (given.get("stripe_dashboard") or {}).get("type", "full")
        if collects == "application" and (dashboard != "none" or losses != "application" or fees != "application"):
            raise invalid(
                "When `controller[requirement_collection]=application`, you must also set "
                "`controller[losses][payments]=application`, `controller[fees][payer]=application` and "
                "`controller[stripe_dashboard][type]=none`.", "controller[requirement_collection]",
            )  # fmt: skip
        if dashboard == "express" and losses != "application":
            raise invalid(
                "When `controller[stripe_dashboard][type]=express`, you must also set "
                "`controller[losses][payments]=application`.", "controller[losses][payments]",
            )  # fmt: skip
        type_ = "none"
        if collects == "stripe" and (fees, losses, dashboard) == ("account", "stripe", "full"):
            type_ = "standard"
    controller: Json = {
        "fees": {"payer": fees}, "is_controller": True, "losses": {"payments": losses},
        "requirement_collection": collects, "stripe_dashboard": {"type": dashboard}, "type": "application",
    }  # fmt: skip
    return controller, type_ or "standard"


def request_capability(body: Json, capability: str, now: int) -> None:
    """Note that a capability is wanted."""
    body["_requested"].setdefault(capability, now)


def apply(call: Call, body: Json) -> None:
    """Take what a create or an update says of an account."""
    params = call.params
    for name in ("business_type", "email"):
        if name in params:
            body[name] = call.given(name)
    if call.given("default_currency"):
        body["default_currency"] = money.check_currency(params["default_currency"], "default_currency")
    for name in ("business_profile", "tos_acceptance"):
        if isinstance(params.get(name), dict):
            body[name].update({key: value if value != "" else None for key, value in params[name].items()})
    if isinstance(params.get("settings"), dict):
        for name, values in params["settings"].items():
            if name == "payouts" and "schedule" in values:
                schedule.change(body, values["schedule"], "settings[payouts][schedule]")
            others = {key: value for key, value in values.items() if (name, key) != ("payouts", "schedule")}
            _merge(body["settings"].setdefault(name, {}), others)
    if isinstance(params.get("company"), dict):
        _take_company(body, params["company"])
    if isinstance(params.get("individual"), dict):
        _take_individual(call.work, body, params["individual"])
    if isinstance(params.get("external_account"), dict | str):
        add_external_account(call.work, body, params["external_account"])


def _take_individual(work: Work, body: Json, individual: Json) -> None:
    known = next((p for p in work.listed("person", account=body["id"]) if p["relationship"]["representative"]), None)
    if known is None:
        person = work.add(person_body(work, body["id"]), account=body["id"])
    else:
        person = work.edit("person", known["id"], body["id"])
    update_person(
        person, {**individual, "relationship": {**(individual.get("relationship") or {}), "representative": True}}
    )


def add_external_account(
    work: Work, body: Json, details: Any, metadata: dict[str, str] | None = None, *, is_default: bool = True
) -> Json:
    """Give an account a bank account or debit card, by its test number or token ("btok_us_verified").

    Args:
        is_default: whether payouts in its currency go there; the first of a currency is where they go anyway.
    """
    added = external_account_body(body, details, metadata or {})
    others = [work.edit(kind_of(work, id_), id_, body["id"]) for id_ in body["_external_accounts"]]
    others = [other for other in others if other["currency"] == added["currency"]]
    added["default_for_currency"] = is_default or not others
    for other in others:
        other["default_for_currency"] = other["default_for_currency"] and not added["default_for_currency"]
    work.add(added, account=body["id"])
    body["_external_accounts"].append(added["id"])
    show_external_accounts(work, body)
    return added


def kind_of(work: Work, id_: str) -> str:
    """Whether an external account, which is there, is a bank account or a card."""
    found = work.any(id_)
    return "" if found is None else str(found["object"])


def show_external_accounts(work: Work, body: Json) -> None:
    """Bring the list in the account up to date."""
    banks = [work.any(id_) for id_ in body["_external_accounts"]]
    body["external_accounts"]["data"] = [visible(bank) for bank in banks if bank is not None]


def _merge(target: Json, values: Json) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        else:
            target[name] = None if value == "" else value


def _take_company(body: Json, company: Json) -> None:
    for name, value in company.items():
        if name in ("tax_id", "vat_id"):
            body["_company"][f"{name}_provided"] = value != ""
        elif isinstance(value, dict):
            body["_company"].setdefault(name, {}).update(value)
        else:
            body["_company"][name] = value
    body["company"] = {
        "address": {
            part: (body["_company"].get("address") or {}).get(part)
            for part in ("city", "country", "line1", "line2", "postal_code", "state")
        },
        "directors_provided": body["_company"].get("directors_provided", False),
        "executives_provided": body["_company"].get("executives_provided", False),
        "name": body["_company"].get("name"), "owners_provided": body["_company"].get("owners_provided", False),
        "phone": body["_company"].get("phone"), "tax_id_provided": body["_company"].get("tax_id_provided", False),
        "verification": {"document": {"back": None, "details": None, "details_code": None, "front": None}},
    }  # fmt: skip


def refresh(work: Work, body: Json, *, silently: bool = False) -> None:
    """Work out an account's requirements, capabilities and what it may do; say so in events.

    Args:
        silently: no events, as for an account that is only being made.
    """
    persons = work.listed("person", account=body["id"])
    due = requirements.due(body, persons) if not body["_disabled"] else []
    deadline = body.get("_deadline") or 0
    late = [name for name in due if deadline <= work.now or name not in body["_forced_due"]]
    before = dict(body["capabilities"])
    rejected = body["_disabled"]
    for name in body["_requested"]:
        missing = rejected or any(_stops(name, item) for item in late)
        unable = name != "transfers" and money.is_cross_border_only(body["country"])
        body["capabilities"][name] = "inactive" if missing or unable else "active"
    body["details_submitted"] = body["details_submitted"] or not due
    body["charges_enabled"] = body["capabilities"].get("card_payments") == "active"
    body["payouts_enabled"] = not late and not rejected and bool(body["_external_accounts"])
    reason = rejected or ("requirements.past_due" if late else None)
    body["requirements"].update(
        currently_due=due, eventually_due=due, past_due=late, disabled_reason=reason,
        current_deadline=deadline if len(late) < len(due) else None,
        errors=[
            {"code": "verification_failed_other", "reason": "This has to be provided again.", "requirement": name}
            for name in body["_forced_due"] if name in due
        ],
    )  # fmt: skip
    if silently:
        return
    for name, status in body["capabilities"].items():
        if before.get(name) != status:
            work.emit(
                "capability.updated", capability(body, name), account=body["id"], previous={"status": before.get(name)}
            )


def _stops(capability_: str, requirement: str) -> bool:
    """Whether a capability waits for something; what is sold does not matter to one who is only paid."""
    return capability_ != "transfers" or not requirement.startswith("business_profile.")


def capability(account: Json, name: str) -> Json:
    """One capability of an account ("The Capability object")."""
    requested_at = account["_requested"].get(name)
    due = [item for item in account["requirements"]["currently_due"] if _stops(name, item)] if requested_at else []
    late = [item for item in due if item in account["requirements"]["past_due"]]
    reason = account["_disabled"] or ("requirements.fields_needed" if late else None)
    empty = no_requirements()
    return {
        "id": name, "object": "capability", "account": account["id"], "future_requirements": empty,
        "requested": requested_at is not None, "requested_at": requested_at,
        "requirements": {
            **no_requirements(), "currently_due": due, "eventually_due": due, "past_due": late,
            "disabled_reason": reason
        },
        "status": account["capabilities"].get(name, "unrequested"),
    }  # fmt: skip


def connected(work: Work, id_: str, param: str = "account", *, in_path: bool = False) -> Json:
    """An account that is connected to the platform, to be read only."""
    body = work.find("account", id_, work.platform)
    if body is None or body["_deauthorized"]:
        if in_path:
            raise no_access(id_)
        raise missing_object("account", id_, param)
    return body


def no_access(id_: str) -> ApiError:
    """403 account_invalid, which does not tell whether there is such an account."""
    return ApiError(
        f"The provided key 'sk_test_***' does not have access to account '{id_}' (or that account does not exist). "
        "Application access may have been revoked.", status=403, code="account_invalid",
    )  # fmt: skip


def payable(work: Work, id_: str, param: str) -> Json:
    """A host that the platform can transfer to.

    Raises: ApiError where it cannot, and why.
    """
    body = work.find("account", id_, work.platform)
    if body is None or body["_deauthorized"]:
        raise ApiError(f"No such destination: '{id_}'", code="resource_missing", param=param)
    if body["_by_type"] and body["type"] == "standard":
        # Made the older way: never asked who bears its losses, and payable before it has been onboarded.
        return body
    if body["controller"]["losses"]["payments"] == "stripe":
        raise invalid(
            "Destination charges and transfers need an account for whose losses the platform is liable: this one has "
            "`controller[losses][payments]=stripe`.", param, "account_invalid",
        )  # fmt: skip
    if body["capabilities"].get("transfers") != "active":
        raise invalid(
            "Your destination account needs to have at least one of the following capabilities enabled: transfers, "
            "crypto_transfers, legacy_payments", code="insufficient_capabilities_for_transfer",
        )  # fmt: skip
    return body


def target(call: Call) -> Json:
    """The account that the path names: one that is connected, or the platform's own."""
    id_ = call.path["account"]
    if id_ == call.work.platform:
        return own(call.work, id_)
    return connected(call.work, id_, in_path=True)


def retrieve(call: Call) -> Json:
    """ "Retrieve account"."""
    return target(call)


def retrieve_own(call: Call) -> Json:
    """ "Retrieve account": the one whose key, or whose `Stripe-Account`, it is."""
    return own(call.work, call.work.account)


def update(call: Call) -> Json:
    """ "Update an account"."""
    work = call.work
    account = target(call)
    terms = call.given("tos_acceptance")
    if terms and account["controller"].get("requirement_collection") == "stripe":
        raise invalid(
            "You cannot accept the Terms of Service on behalf of accounts where "
            "`controller[requirement_collection]` is `stripe`, which includes Standard and Express accounts.",
            "tos_acceptance",
        )  # fmt: skip
    body = work.edit("account", account["id"], work.platform)
    before = copied(body)
    apply(call, body)
    for name, what in (call.given("capabilities") or {}).items():
        if what.get("requested"):
            request_capability(body, name, work.now)
        elif what.get("requested") is False:
            body["_requested"].pop(name, None)
            body["capabilities"].pop(name, None)
    update_metadata(body, call.params.get("metadata"))
    refresh(work, body)
    work.emit_updated("account.updated", body, before, account=body["id"])
    return body


def delete(call: Call) -> Json:
    """ "Delete an account"."""
    work, account = call.work, target(call)
    if account["id"] == work.platform:
        raise invalid("You cannot delete your own account through the API.")
    if any(available or pending for available, pending in work.balance(account["id"]).values()):
        raise invalid("This account still has a balance, so that it cannot be deleted.", code="account_invalid")
    work.emit("account.application.deauthorized", application(work.platform), account=account["id"])
    return work.remove("account", account["id"], work.platform)


def list_(call: Call) -> Json:
    """ "List all connected accounts"."""
    return list_objects(
        call, "account", "/v1/accounts", account=call.work.platform,
        matches=lambda body: not body["_deauthorized"],
    )  # fmt: skip


def reject(call: Call) -> Json:
    """ "Reject an account"."""
    work = call.work
    if not call.given("reason"):
        raise missing_param("reason")
    body = work.edit("account", target(call)["id"], work.platform)
    before = copied(body)
    reason: Any = call.params["reason"]
    body["_disabled"] = {
        "fraud": "rejected.platform_fraud",
        "terms_of_service": "rejected.platform_terms_of_service",
    }.get(reason, "rejected.platform_other")
    refresh(work, body)
    work.emit_updated("account.updated", body, before, account=body["id"])
    return body


OPERATIONS = (
    Operation("GET", "/v1/account", retrieve_own, "account_retrieve_current"),
    Operation("POST", "/v1/accounts", create, "account_create"),
    Operation("GET", "/v1/accounts", list_, "account_list"),
    Operation("GET", "/v1/accounts/{account}", retrieve, "account_retrieve"),
    Operation("POST", "/v1/accounts/{account}", update, "account_update"),
    Operation("DELETE", "/v1/accounts/{account}", delete, "account_delete"),
    Operation("POST", "/v1/accounts/{account}/reject", reject, "account_reject"),
)
