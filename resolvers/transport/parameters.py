"""The parameters of a GraphQL request, read strictly: from JSON, from a URL, from a websocket message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping


class MalformedRequest(Exception):
    """A request that is no GraphQL request; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """`query` may be missing where a persisted document is meant."""

    query: str | None
    operation_name: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    extensions: dict[str, Any] | None = None


def parse_json(body: bytes) -> Any:
    """The JSON of a body.

    Raises: MalformedRequest.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            body.decode()
        except UnicodeDecodeError:
            raise MalformedRequest("The body is not valid UTF-8.") from None
        raise MalformedRequest(f"The body is not valid JSON: {error.msg} (line {error.lineno}).") from None


def read_parameters(given: Any) -> Parameters:
    """The parameters in a JSON value; unknown ones are passed over, as the specification asks.

    Raises: MalformedRequest.
    """
    if isinstance(given, list):
        raise MalformedRequest("Batches are not supported: send one operation as a JSON object.")
    if not isinstance(given, dict):
        raise MalformedRequest("The request must be a JSON object with the document as `query`.")
    query, name = given.get("query"), given.get("operationName")
    variables, extensions = given.get("variables"), given.get("extensions")
    if query is not None and not isinstance(query, str):
        raise MalformedRequest("`query` must be a string.")
    if name is not None and not isinstance(name, str):
        raise MalformedRequest("`operationName` must be a string.")
    if variables is not None and not isinstance(variables, dict):
        raise MalformedRequest("`variables` must be an object.")
    if extensions is not None and not isinstance(extensions, dict):
        raise MalformedRequest("`extensions` must be an object.")
    if query is None and not (extensions and "persistedQuery" in extensions):
        raise MalformedRequest("Send the document as a string named `query`.")
    if variables and has_nul(variables):
        raise MalformedRequest("Text in `variables` must not contain the character U+0000.")
    return Parameters(query, name or None, variables or {}, extensions)


def read_url_parameters(query: Mapping[str, str]) -> Parameters:
    """The parameters in a URL: `variables` and `extensions` are JSON there.

    Raises: MalformedRequest.
    """
    given: dict[str, Any] = {name: query[name] for name in ("query", "operationName") if name in query}
    for name in ("variables", "extensions"):
        text = query.get(name)
        if text:
            try:
                given[name] = orjson.loads(text)
            except orjson.JSONDecodeError:
                raise MalformedRequest(f"`{name}` in the URL is not valid JSON.") from None
    return read_parameters(given)


def has_nul(value: Any) -> bool:
    """Whether a text within contains U+0000, which PostgreSQL cannot store."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False
