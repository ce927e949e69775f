"""The bank's page of a 3-D Secure challenge, for payment and setup intents."""

from __future__ import annotations

import hmac
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sandbox import money
from sandbox.errors import ApiError, Json
from sandbox.pages.html import not_found, page
from sandbox.resources import confirmation, setup_intents

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.engine import Engine
    from sandbox.work import Work


def routes(engine: Engine) -> list[Route]:
    """The bank's pages."""
    pages = _Pages(engine)
    return [
        Route("/3ds/{intent}", pages.form, methods=["GET"]),
        Route("/3ds/{intent}", pages.submit, methods=["POST"]),
    ]


class _Pages:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def form(self, request: Request) -> Response:
        """The question: is it you?"""
        found = self._find(request)
        if found is None:
            return not_found()
        _, intent = found
        if intent["status"] != "requires_action":
            return RedirectResponse(_return_url(intent), 303)
        what = "save your card"
        if intent["object"] == "payment_intent":
            what = f"pay {money.shown(intent['amount'], intent['currency'])} {intent['currency'].upper()}"
        return page(
            "Is it you?",
            f"<p>Your bank wants you to confirm that you {escape(what)}.</p>"
            '<form method="post"><button name="outcome" value="success">Complete authentication</button>'
            '<button class="plain" name="outcome" value="failure">Fail authentication</button></form>',
        )

    async def submit(self, request: Request) -> Response:
        """The answer; then back to where the guest came from."""
        found = self._find(request)
        if found is None:
            return not_found()
        work, intent = found
        fields = parse_qs((await request.body()).decode())
        success = fields.get("outcome", ["failure"])[0] == "success"
        if intent["status"] != "requires_action":
            return RedirectResponse(_return_url(intent), 303)
        intent = work.edit(intent["object"], intent["id"])
        try:
            if intent["object"] == "payment_intent":
                confirmation.authenticated(work, intent, success=success)
            else:
                setup_intents.authenticated(work, intent, success=success)
        except ApiError as error:
            if not error.keeps_changes:
                return page("This did not work", f"<p>{escape(str(error))}</p>", status=400)
        await self._engine.finish(work)
        return RedirectResponse(_return_url(intent), 303)

    def _find(self, request: Request) -> tuple[Work, Json] | None:
        id_ = request.path_params["intent"]
        work = self._engine.work_on(id_, str(request.base_url).rstrip("/"))
        body = work.any(id_) if work is not None else None
        if work is None or body is None or body["object"] not in ("payment_intent", "setup_intent"):
            return None
        secret = request.query_params.get("client_secret", "")
        return (work, body) if hmac.compare_digest(secret.encode(), body["client_secret"].encode()) else None


def _return_url(intent: Json) -> str:
    """The guest's way back, with what Stripe adds to it."""
    kind = intent["object"]
    succeeded = intent["status"] in ("succeeded", "requires_capture", "processing")
    parts = urlsplit(intent["_return_url"] or "/")
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        (kind, intent["id"]),
        (f"{kind}_client_secret", intent["client_secret"]),
        ("redirect_status", "succeeded" if succeeded else "failed"),
    ]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), parts.fragment))
