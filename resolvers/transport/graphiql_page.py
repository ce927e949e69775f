"""GraphiQL for browsers: a page and its files, shipped with the project, so that it works offline.

The libraries in `graphiql/vendor` are as their authors published them, each with its licence. Every example in
`graphiql/examples` is a GraphQL document, and beside it, as JSON, the role whose token it needs and its variables.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Send

_FOLDER: Final = Path(__file__).parent / "graphiql"
_ASSETS: Final = (
    "vendor/graphiql-3.8.3/graphiql.min.css",
    "page.css",
    "vendor/react-18.3.1/react.production.min.js",
    "vendor/react-dom-18.3.1/react-dom.production.min.js",
    "vendor/graphql-ws-5.16.2/graphql-ws.min.js",
    "vendor/graphiql-3.8.3/graphiql.min.js",
    "page.js",
)
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_COMPRESSED_FROM: Final = 4096
# GraphiQL's editor sets styles of its own; no script but the ones here runs, and nothing else is talked to.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Paydesk GraphiQL</title>
<link rel="icon" href="data:,">
{styles}
</head>
<body>
<div id="graphiql"><p id="loading">Loading GraphiQL …</p></div>
<script id="config" type="application/json">{config}</script>
{scripts}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Example:
    """An operation to try: its document, its variables, and whose token it needs."""

    name: str
    query: str
    role: str
    variables: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    compressed: bytes | None
    media_type: str


def read_examples() -> list[Example]:
    """The examples, in their order."""
    examples = []
    for path in sorted((_FOLDER / "examples").glob("*.graphql")):
        beside = orjson.loads(path.with_suffix(".json").read_bytes())
        examples.append(Example(path.stem, path.read_text("utf-8"), beside["role"], beside["variables"]))
    return examples


class Graphiql:
    """The page and the files that it needs."""

    def __init__(self, *, path: str, tokens: Mapping[str, str]) -> None:
        """
        Args:
            path: where GraphQL is.
            tokens: ready-made tokens by role, which pages on this machine are given; none in production.
        """
        self._path = path
        self._tokens = dict(tokens)
        self._examples = [
            {"query": example.query, "role": example.role, "variables": example.variables}
            for example in read_examples()
        ]
        self._links = {name: f"/graphiql/{name}?v={_version(name)}" for name in _ASSETS}
        self._assets: dict[str, _Asset] = {}

    def routes(self) -> list[Route]:
        """The routes of the files."""
        return [Route("/graphiql/{name:path}", self._file, methods=["GET"])]

    async def send_page(self, host: str, send: Send) -> None:
        """Answer a browser's GET with the page."""
        # A page of a foreign site that points its own name here must not read the tokens.
        tokens = self._tokens if host.rpartition(":")[0] in _LOOPBACK or host in _LOOPBACK else {}
        config = orjson.dumps({"path": self._path, "examples": self._examples, "tokens": tokens}).decode()
        page = _PAGE.format(
            styles="\n".join(f'<link rel="stylesheet" href="{self._links[n]}">' for n in _ASSETS if n.endswith(".css")),
            scripts="\n".join(f'<script src="{self._links[n]}"></script>' for n in _ASSETS if n.endswith(".js")),
            config=config.replace("<", "\\u003c"),
        ).encode()
        headers = {
            "content-type": "text/html; charset=utf-8", "content-length": str(len(page)), "vary": "Accept",
            "cache-control": "no-store", "content-security-policy": _POLICY, "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }  # fmt: skip
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": page})

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            return Response("There is no such file.", HTTPStatus.NOT_FOUND, media_type="text/plain")
        asset = self._assets.get(name)
        if asset is None:
            asset = self._assets[name] = await asyncio.to_thread(_load, name)
        # The address changes with the content, so nobody needs to ask again.
        headers = {
            "cache-control": "public, max-age=31536000, immutable", "vary": "Accept-Encoding",
            "x-content-type-options": "nosniff",
        }  # fmt: skip
        if asset.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(asset.compressed, headers=headers, media_type=asset.media_type)
        return Response(asset.content, headers=headers, media_type=asset.media_type)


def _version(name: str) -> str:
    return hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest()[:12]


def _load(name: str) -> _Asset:
    content = (_FOLDER / name).read_bytes()
    compressed = gzip.compress(content, mtime=0) if len(content) >= _COMPRESSED_FROM else None
    return _Asset(content, compressed, _TYPES[Path(name).suffix])
