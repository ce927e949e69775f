"""Starting what the settings leave unset."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from services.embedded.folders import data_folder, kept_secret, locked
from services.embedded.postgres import postgres
from services.embedded.sandbox import SECRET_KEY, WebhookEndpoint, sandbox
from services.embedded.valkey import valkey
from settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from settings import Settings


@dataclass(frozen=True, slots=True)
class EmbeddedParts:
    """What runs now."""

    settings: Settings
    """The settings that were given, with what was unset filled in."""
    database_is_embedded: bool
    redis_is_embedded: bool
    stripe_is_embedded: bool


@asynccontextmanager
async def embedded_parts(settings: Settings, *, api_base: str) -> AsyncIterator[EmbeddedParts]:
    """Run PostgreSQL, Valkey and the sandbox, each where its setting is unset, all at once; stop them in the end.

    They listen on 127.0.0.1 only, keep their data in the settings' `data_dir`, and die with this process.

    Args:
        settings: what is set in them is not started.
        api_base: where the sandbox's webhooks find this server, such as http://127.0.0.1:8000.
    Raises: ConfigurationError where a part cannot be started, or the data folder is in use.
    """
    parts = EmbeddedParts(
        settings,
        database_is_embedded=settings.database_url is None,
        redis_is_embedded=settings.redis_url is None,
        stripe_is_embedded=settings.stripe_secret_key is None,
    )
    if not (parts.database_is_embedded or parts.redis_is_embedded or parts.stripe_is_embedded):
        yield parts
        return
    if settings.is_production:
        raise ConfigurationError("DATABASE_URL, REDIS_URL, STRIPE_SECRET_KEY: must be set in production.")
    folder = data_folder(settings.data_dir)
    logs = folder / "logs"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(locked(folder))
        starting: dict[str, AbstractAsyncContextManager[str]] = {}
        filled: dict[str, Any] = {}
        if parts.database_is_embedded:
            starting["database_url"] = postgres(folder / "postgres", log=logs / "postgres.log")
        if parts.redis_is_embedded:
            starting["redis_url"] = valkey(folder / "valkey", log=logs / "valkey.log")
        if parts.stripe_is_embedded:
            filled = _stripe_settings(settings, folder)
            starting["stripe_api_base"] = sandbox(
                folder / "sandbox", log=logs / "sandbox.log",
                platform=_endpoint(api_base, "/webhooks/stripe", filled["stripe_webhook_secret"]),
                connect=_endpoint(api_base, "/webhooks/stripe/connect", filled["stripe_connect_webhook_secret"]),
            )  # fmt: skip
        urls = await _start(stack, starting)
        filled |= {name: url if name == "stripe_api_base" else SecretStr(url) for name, url in urls.items()}
        yield EmbeddedParts(
            settings.model_copy(update=filled),
            parts.database_is_embedded, parts.redis_is_embedded, parts.stripe_is_embedded,
        )  # fmt: skip


async def _start(stack: AsyncExitStack, parts: dict[str, AbstractAsyncContextManager[str]]) -> dict[str, str]:
    """Enter all at once; where one fails, those that started are stopped with the stack."""
    results = await asyncio.gather(*map(stack.enter_async_context, parts.values()), return_exceptions=True)
    problems = [result for result in results if isinstance(result, BaseException)]
    unexpected = [problem for problem in problems if not isinstance(problem, ConfigurationError)]
    if unexpected:
        raise unexpected[0]
    if problems:
        raise ConfigurationError("\n".join(map(str, problems)))
    return {name: str(result) for name, result in zip(parts, results, strict=True)}


def _stripe_settings(settings: Settings, folder: Path) -> dict[str, Any]:
    secret = f"whsec_{kept_secret(folder / 'webhook_secret')}"
    connect_secret = f"whsec_{kept_secret(folder / 'connect_webhook_secret')}"
    return {
        "stripe_secret_key": SecretStr(SECRET_KEY),
        "stripe_webhook_secret": settings.stripe_webhook_secret or (SecretStr(secret),),
        "stripe_connect_webhook_secret": settings.stripe_connect_webhook_secret or (SecretStr(connect_secret),),
    }


def _endpoint(api_base: str, path: str, secrets: tuple[SecretStr, ...]) -> WebhookEndpoint:
    parts = urlsplit(api_base)
    # A server that listens on every address is found on the local one.
    everywhere = parts.hostname in {"0.0.0.0", "::"}  # noqa: S104  compared, not bound
    address = f"127.0.0.1:{parts.port}" if everywhere else parts.netloc
    return WebhookEndpoint(f"{parts.scheme}://{address}{path}", secrets[0].get_secret_value())
