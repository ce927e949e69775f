"""The ASGI application: Stripe's API, Stripe's pages, and the controls of the sandbox."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from sandbox import API_VERSION, control
from sandbox.api import ApiApp, Receive, Scope, Send
from sandbox.engine import Engine, Options
from sandbox.pages import invoice, onboarding, three_d_secure
from sandbox.pages.html import page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import HTMLResponse


class SandboxApp:
    """Sends /v1 to the API and all else to the pages and controls."""

    def __init__(self, options: Options) -> None:
        self.engine = Engine(options)
        self._api = ApiApp(self.engine)
        self._site = Starlette(
            routes=[
                Route("/", _front, methods=["GET"]),
                *control.routes(self.engine, self._api),
                *invoice.routes(self.engine),
                *onboarding.routes(self.engine),
                *three_d_secure.routes(self.engine),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with self.engine.running():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await self._api(scope, receive, send)
            return
        await self._site(scope, receive, send)


async def _front(_request: Request) -> HTMLResponse:
    return page(
        "The sandbox is running",
        f"<p>It speaks Stripe's API, version <code>{API_VERSION}</code>, at <code>/v1</code>. Any key of the form "
        "<code>sk_test_…</code> opens it.</p>",
    )
