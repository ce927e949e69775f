"""Links to Stripe's pages for a host: onboarding, and the Express dashboard ("Account Links", "Login Links")."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from sandbox.errors import Json, invalid, missing_param
from sandbox.ids import new_id, random_text
from sandbox.operations import Call, Operation
from sandbox.resources.accounts import connected
from sandbox.work import Work, copied

LIFETIME_S: Final = 300


def create(call: Call) -> Json:
    """ "Create an account link": it can be opened once, for five minutes."""
    work, params = call.work, call.params
    account = connected(work, params["account"])
    for name in ("refresh_url", "return_url"):
        if not call.given(name):
            raise missing_param(name)
        url = urlsplit(params[name])
        if url.scheme not in ("http", "https") or not url.netloc:
            raise invalid("Not a valid URL", name, "url_invalid")
    if params["type"] == "account_update" and account["controller"]["requirement_collection"] != "application":
        raise invalid(
            "You cannot create `account_update` type Account Links for this account. Valid types: account_onboarding.",
            "type",
        )
    token = random_text(24)
    work.add(
        {
            "id": f"alink_{token}", "object": "account_link", "account": account["id"], "created": work.now,
            "expires_at": work.now + LIFETIME_S, "return_url": params["return_url"],
            "refresh_url": params["refresh_url"], "opened": False, "done": False,
        },
        account=work.platform,
    )  # fmt: skip
    return {
        "object": "account_link", "created": work.now, "expires_at": work.now + LIFETIME_S,
        "url": f"{work.base_url}/connect/onboarding/{account['id']}/{token}",
    }  # fmt: skip


def create_login_link(call: Call) -> Json:
    """ "Create a login link"; only accounts with the Express dashboard have one."""
    work = call.work
    account = connected(work, call.path["account"], in_path=True)
    if account["controller"]["stripe_dashboard"]["type"] != "express":
        raise invalid(
            "Cannot create a login link for an account that is not an Express account "
            "(`controller[stripe_dashboard][type]=express`)."
        )
    if not account["details_submitted"]:
        raise invalid("Cannot create a login link for an account that has not completed onboarding.")
    token = new_id("ll")
    return {"object": "login_link", "created": work.now, "url": f"{work.base_url}/express/{account['id']}/{token}"}


def link(work: Work, account: str, token: str) -> Json | None:
    """An account link by what its address says."""
    body = work.find("account_link", f"alink_{token}", work.platform)
    return body if body is not None and body["account"] == account else None


def mark(work: Work, body: Json, **what: bool) -> Json:
    """Note that a link was opened, or that onboarding was finished on it."""
    changed = work.edit("account_link", body["id"], work.platform)
    changed.update(what)
    return copied(changed)


OPERATIONS = (
    Operation("POST", "/v1/account_links", create, "account_link_create"),
    Operation("POST", "/v1/accounts/{account}/login_links", create_login_link, "account_login_link_create"),
)
