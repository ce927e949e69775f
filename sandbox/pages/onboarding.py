"""Connect onboarding, the Express dashboard, and receipts, as far as a sandbox needs them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sandbox import money
from sandbox.pages.html import not_found, page
from sandbox.resources import account_links, onboarding

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.engine import Engine
    from sandbox.errors import Json


def routes(engine: Engine) -> list[Route]:
    """The pages of hosts."""
    pages = _Pages(engine)
    return [
        Route("/connect/onboarding/{account}/{token}", pages.form, methods=["GET"]),
        Route("/connect/onboarding/{account}/{token}", pages.submit, methods=["POST"]),
        Route("/express/{account}/{token}", pages.dashboard, methods=["GET"]),
        Route("/receipts/{charge}", pages.receipt, methods=["GET"]),
    ]


class _Pages:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def form(self, request: Request) -> Response:
        """Opening a link uses it up; an old or used one leads back for a new one ("refresh_url")."""
        account, token = request.path_params["account"], request.path_params["token"]
        work = self._engine.work_on(account)
        link = account_links.link(work, account, token) if work is not None else None
        if work is None or link is None:
            return not_found()
        if link["opened"] or link["expires_at"] <= work.now:
            return RedirectResponse(link["refresh_url"], 303)
        account_links.mark(work, link, opened=True)
        await self._engine.finish(work)
        body = work.get("account", account, account=work.platform)
        due = "".join(f"<li><code>{escape(name)}</code></li>" for name in body["requirements"]["currently_due"])
        return page(
            "Tell us about yourself",
            f"<p>The platform works with Stripe to pay you in {escape(body['country'])}. Still wanted:</p>"
            f"<ul class=note>{due or '<li>nothing</li>'}</ul>"
            '<form method="post"><label for="first">First name</label>'
            '<input id="first" name="first_name" value="Jenny" required autocomplete="given-name">'
            '<label for="last">Last name</label>'
            '<input id="last" name="last_name" value="Rosen" required autocomplete="family-name">'
            '<p class="note">All else (address, date of birth, identity number, bank account) is filled in with '
            "Stripe's test values, which pass every check.</p>"
            '<button name="outcome" value="submit">Agree and submit</button>'
            '<button class="plain" name="outcome" value="later" formnovalidate>Save for later</button></form>',
        )

    async def submit(self, request: Request) -> Response:
        """The form, once; then back to the platform, which has to ask how things stand ("return_url")."""
        account, token = request.path_params["account"], request.path_params["token"]
        work = self._engine.work_on(account)
        link = account_links.link(work, account, token) if work is not None else None
        if work is None or link is None or not link["opened"]:
            return not_found()
        if link["done"]:
            return RedirectResponse(link["refresh_url"], 303)
        fields = {name: values[0][:100] for name, values in parse_qs((await request.body()).decode()).items()}
        account_links.mark(work, link, done=True)
        if fields.get("outcome", "submit") == "submit":
            onboarding.onboard(
                work, account, first_name=fields.get("first_name"), last_name=fields.get("last_name")
            )
        await self._engine.finish(work)
        return RedirectResponse(link["return_url"], 303)

    async def dashboard(self, request: Request) -> Response:
        """What a host with the Express dashboard has."""
        account = request.path_params["account"]
        work = self._engine.work_on(account)
        body = work.find("account", account, work.platform) if work is not None else None
        if work is None or body is None:
            return not_found()
        rows = "".join(
            f"<li>{escape(currency.upper())}: {money.shown(available, currency)} available, "
            f"{money.shown(pending, currency)} on its way</li>"
            for currency, (available, pending) in sorted(work.balance(account).items())
        )
        return page("Express dashboard", f"<p>{escape(_name(body))}</p><ul>{rows or '<li>No payments yet</li>'}</ul>")

    async def receipt(self, request: Request) -> Response:
        """A guest's receipt."""
        row = self._engine.store.row(request.path_params["charge"])
        if row is None or row.kind != "charge":
            return not_found()
        charge = row.body
        paid = money.shown(charge["amount_captured"] or charge["amount"], charge["currency"])
        return page(
            "Receipt", f"<p>{paid} {escape(charge['currency'].upper())}</p><p class=note>{escape(charge['id'])}</p>"
        )


def _name(account: Json) -> str:
    return str(account["business_profile"]["name"] or account["email"] or account["id"])
