"""Automatic persisted queries: a client sends the hash of a document that the server has seen, in place of its text.

The protocol is Apollo's: `extensions.persistedQuery` has `version` 1 and `sha256Hash`. An unknown hash is answered
with PERSISTED_QUERY_NOT_FOUND, upon which the client sends the text with the hash.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from graphql import GraphQLError

from resolvers.transport.bounded_cache import BoundedCache
from resolvers.transport.documents import RequestRefused

if TYPE_CHECKING:
    from resolvers.transport.parameters import Parameters

_ENTRIES: Final = 1_000
_CHARACTERS: Final = 1024 * 1024


class PersistedQueries:
    """Documents by the SHA-256 of their text; in this process only, since clients fall back to the text."""

    def __init__(self) -> None:
        self._texts: BoundedCache[str] = BoundedCache(entries=_ENTRIES, weight=_CHARACTERS)

    def text_of(self, parameters: Parameters) -> str:
        """The document of a request.

        Raises: RequestRefused where there is neither text nor a known hash, or where they do not belong together.
        """
        digest = _hash_of(parameters.extensions)
        text = parameters.query
        if digest is None:
            if text is None:
                raise RequestRefused(GraphQLError("Send the document as a string named `query`."))
            return text
        if text is None:
            text = self._texts.get(digest)
            if text is None:
                # Clients compare both the message and the code.
                raise RequestRefused(
                    GraphQLError("PersistedQueryNotFound", extensions={"code": "PERSISTED_QUERY_NOT_FOUND"})
                )
        elif hashlib.sha256(text.encode()).hexdigest() != digest:
            raise RequestRefused(GraphQLError("`sha256Hash` is not the SHA-256 of `query`."))
        return text

    def remember(self, parameters: Parameters, text: str) -> None:
        """Keep a document that came with its hash and is valid."""
        digest = _hash_of(parameters.extensions) if parameters.query is not None else None
        if digest is not None:
            self._texts.put(digest, text, weight=len(text))


def _hash_of(extensions: dict[str, Any] | None) -> str | None:
    persisted = extensions.get("persistedQuery") if extensions else None
    if persisted is None:
        return None
    digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(digest, str) or persisted.get("version") != 1:
        raise RequestRefused(
            GraphQLError("`persistedQuery` must have `version` 1 and `sha256Hash`, as automatic persisted queries do.")
        )
    return digest
