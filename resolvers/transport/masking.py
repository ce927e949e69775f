"""What clients see of errors: what they can act on in full, and of bugs an id alone."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import asyncpg
import structlog
from graphql import GraphQLError
from tortoise.exceptions import DBConnectionError

from models.money import Money
from services.batching import OutcomeUnknownError
from services.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger("graphql")

INTERNAL: Final = "INTERNAL"
UNAVAILABLE: Final = "UNAVAILABLE"

_AWAY: Final = "This is not available at the moment. Nothing was lost: please try again with the same idempotency key."
# The database went away, or is not ready yet; asyncpg and Tortoise say it each in their own way.
_OUTAGES: Final = (
    asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.InterfaceError, ConnectionError,
    DBConnectionError, OutcomeUnknownError,
)  # fmt: skip


def formatted(error: GraphQLError) -> dict[str, Any]:
    """An error of a request that was not executed: it is about what the client sent."""
    return dict(error.formatted)


def masked(error: Exception, *, operation: str | None) -> dict[str, Any]:
    """An error of the execution, as the client may see it; a bug is logged under the id that the client gets."""
    cause = _cause(error)
    shown: dict[str, Any] = {"message": str(cause)}
    if isinstance(cause, DomainError):
        shown["extensions"] = domain_extensions(cause)
    elif isinstance(cause, _OUTAGES):
        log.error("graphql.unavailable", operation=operation, error=type(cause).__name__)
        shown = {"message": _AWAY, "extensions": {"code": UNAVAILABLE, "retryAfterSeconds": 2}}
    elif isinstance(cause, GraphQLError):
        shown["message"] = cause.message
        if cause.extensions:
            shown["extensions"] = cause.extensions
    else:
        error_id = uuid4().hex
        path = error.path if isinstance(error, GraphQLError) else None
        log.error("graphql.internal_error", error_id=error_id, operation=operation, path=path, exc_info=cause)
        shown = {"message": "internal error", "extensions": {"code": INTERNAL, "errorId": error_id}}
    if isinstance(error, GraphQLError):
        if error.locations:
            shown["locations"] = [location.formatted for location in error.locations]
        if error.path is not None:
            shown["path"] = error.path
    return shown


def masked_all(errors: Iterable[GraphQLError], *, operation: str | None) -> list[dict[str, Any]]:
    """Each of them masked; one exception that reached several fields is logged once."""
    seen: dict[int, dict[str, Any]] = {}
    shown = []
    for error in errors:
        cause = _cause(error)
        first = seen.get(id(cause))
        if first is None or isinstance(cause, GraphQLError):
            entry = seen[id(cause)] = masked(error, operation=operation)
        else:
            entry = {**first, "path": error.path}
        shown.append(entry)
    return shown


def domain_extensions(error: DomainError) -> dict[str, Any]:
    """The code of a domain error and what it carries, in the API's names."""
    extensions: dict[str, Any] = {"code": error.code}
    for item in fields(error):
        value = getattr(error, item.name)
        if item.name == "message" or value is None:
            continue
        head, *tail = item.name.split("_")
        name = "inputPath" if item.name == "path" else head + "".join(word.title() for word in tail)
        extensions[name] = _plain(value)
    return extensions


def _plain(value: Any) -> Any:
    return {"minorUnits": value.minor, "currency": value.currency} if isinstance(value, Money) else value


def _cause(error: Exception) -> Exception:
    """What a resolver raised, out of the wrappings that say where."""
    cause = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause
