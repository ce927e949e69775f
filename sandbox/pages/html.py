"""One plain page."""

from __future__ import annotations

from html import escape
from typing import Final

from starlette.responses import HTMLResponse

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; background: #f6f8fa; color: #1a1f36 }
main { max-width: 30rem; margin: 3rem auto; padding: 2rem; background: #fff; border: 1px solid #dde3ea;
  border-radius: 8px }
h1 { font-size: 1.35rem; margin: 0 0 .5rem } label { display: block; margin: 1rem 0 .25rem; font-weight: 600 }
input, select { width: 100%; box-sizing: border-box; padding: .55rem; border: 1px solid #8792a2;
  border-radius: 5px; font: inherit }
button { font: inherit; padding: .6rem 1.2rem; margin: 1.25rem .5rem 0 0; border: 1px solid #635bff; border-radius: 5px;
  background: #635bff; color: #fff; cursor: pointer }
button.plain { background: #fff; color: #3c4257; border-color: #8792a2 }
.note { color: #596171; font-size: .9rem }
.bar { background: #ffde92; color: #4a2c00; text-align: center; padding: .35rem }
li { margin: .15rem 0 } code { background: #f1f3f6; padding: .1rem .3rem; border-radius: 3px }
"""


def page(title: str, content: str, *, status: int = 200) -> HTMLResponse:
    """A page; `content` is HTML, in which what others wrote is escaped."""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        '<body><div class="bar">Sandbox: no real money, no real people</div>'
        f"<main><h1>{escape(title)}</h1>{content}</main></body></html>",
        status,
        headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )


def not_found() -> HTMLResponse:
    """404, which does not say what there is."""
    return page("Not found", "<p>There is nothing here, or the link is no longer valid.</p>", status=404)
