"""What every command needs: the settings, a way to the running parts, and a way to say no."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Any

import asyncpg
import typer
import uvloop
from pydantic import SecretStr
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from services.embedded.sandbox import SECRET_KEY
from services.endpoints import read_endpoints
from services.logs import configure_logs
from settings import Settings, load_settings, variable_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from datetime import datetime

    from rich.console import Console


class RefusedError(Exception):
    """A command cannot do what it is asked; the text says why."""


def run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command to its exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise typer.Exit(runner.run(work))


def command_settings() -> Settings:
    """The settings, with logs as they say.

    Raises: ConfigurationError.
    """
    settings = load_settings()
    configure_logs(settings)
    return settings


def reach(settings: Settings) -> Settings:
    """The settings with the parts of a running development system filled in.

    Raises: RefusedError.
    """
    missing = [name for name in ("database_url", "redis_url", "stripe_secret_key") if getattr(settings, name) is None]
    if not missing:
        return settings
    endpoints = read_endpoints(settings.data_dir)
    if endpoints is None:
        variables = ", ".join(map(variable_of, missing))
        raise RefusedError(f"Set {variables}, or start a development system with `make run`.")
    filled: dict[str, Any] = {}
    if settings.database_url is None:
        filled["database_url"] = SecretStr(endpoints["database"])
    if settings.redis_url is None:
        filled["redis_url"] = SecretStr(endpoints["redis"])
    if settings.stripe_secret_key is None:
        filled["stripe_secret_key"] = SecretStr(SECRET_KEY)
        filled["stripe_api_base"] = endpoints["sandbox"]
    return settings.model_copy(update=filled)


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection to the database, for the time of the block."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def database_url(settings: Settings) -> str:
    """Where the database is: by the settings, or that of a running development system.

    Raises: RefusedError.
    """
    url = reach(settings).database_url if settings.database_url is None else settings.database_url
    if url is None:
        raise RefusedError("Set DATABASE_URL.")
    return url.get_secret_value()


def in_utc(at: datetime | None) -> datetime | None:
    """A time that an operator gave, which is UTC where it does not say."""
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def progress_bar(console: Console) -> Progress:
    """A bar with a count and the time that is left; nothing where nobody looks."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
