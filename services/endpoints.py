"""Where a development system is and how to get in: `endpoints.json` in the data folder, and the same for people."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import SecretStr

from services.authentication import mint_token
from services.embedded.folders import data_folder
from settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rich.console import Console

    from settings import Settings

FILE = "endpoints.json"
STRIPE_API = "https://api.stripe.com"
SIGNING_KEY_FILE = "jwt_secret"
TOKEN_TTL_S = 30 * 24 * 3600
TOKENS = (("service", "platform", "service"), ("admin", "admin", "admin"), ("host", "host", "user"),
          ("guest", "guest", "user"), ("guest2", "guest2", "user"))  # fmt: skip


def development_secret(settings: Settings) -> Settings:
    """The settings with a secret for tokens, made once and kept in the data folder, where development has none.

    Raises: ConfigurationError where the folder cannot be written in.
    """
    if settings.is_production or settings.jwt_secret:
        return settings
    path = data_folder(settings.data_dir) / SIGNING_KEY_FILE
    try:
        with suppress(FileExistsError):
            _write_privately(path, secrets.token_hex(32).encode(), os.O_EXCL)
        secret = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"PAYDESK_DATA_DIR: cannot use {path} ({error.strerror}).") from None
    return settings.model_copy(update={"jwt_secret": (SecretStr(secret),)})


def base_url(host: str, port: int) -> str:
    """The URL of what listens there; an address of IPv6 goes in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_endpoints(data_dir: Path) -> dict[str, Any] | None:
    """What a running system wrote; None where none runs."""
    try:
        endpoints: dict[str, Any] = orjson.loads((data_dir / FILE).read_bytes())
        os.kill(endpoints["pid"], 0)
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError, orjson.JSONDecodeError, KeyError):
        return None
    return endpoints


@contextmanager
def endpoints_file(settings: Settings, endpoints: Mapping[str, Any]) -> Iterator[None]:
    """The file, for as long as the system runs; production writes none."""
    if settings.is_production:
        yield
        return
    path = settings.data_dir / FILE
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    _write_privately(path.with_suffix(".new"), orjson.dumps(endpoints, option=orjson.OPT_INDENT_2), os.O_TRUNC)
    path.with_suffix(".new").replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def introduce(endpoints: Mapping[str, Any], console: Console) -> None:
    """Say where things are and what to try next."""
    # In one line each, however narrow the terminal: they are there to be copied.
    for name in ("graphql", "websocket", "webhooks", "sandbox", "database", "redis"):
        if endpoints[name]:
            console.print(f"[bold]{name:9}[/bold]  {endpoints[name]}", soft_wrap=True, highlight=False)
    if not endpoints["tokens"]:
        return
    console.print("\nTokens (header [bold]authorization: Bearer …[/bold]):")
    for name, token in endpoints["tokens"].items():
        console.print(f"  [bold]{name}[/bold]", f"  {token}", sep="\n", soft_wrap=True, highlight=False)
    console.print(
        f"\nNext: open {endpoints['graphql']} in a browser for GraphiQL with examples, or run [bold]make demo[/bold]"
        " in another terminal. Ctrl-C stops everything.\n"
    )


def describe(settings: Settings, base: str) -> dict[str, Any]:
    """Where everything of a system at this base URL is; what holds a secret in development alone."""
    tokens: dict[str, str] = {}
    if settings.jwt_secret and not settings.is_production:
        secret, now = settings.jwt_secret[0].get_secret_value(), int(time.time())
        tokens = {
            name: mint_token(secret, sub=sub, role=role, ttl_s=TOKEN_TTL_S, now=now) for name, sub, role in TOKENS
        }
    return {
        "pid": os.getpid(),
        "graphql": f"{base}/graphql",
        "websocket": f"{base.replace('http', 'ws', 1)}/graphql",
        "webhooks": f"{base}/webhooks/stripe",
        "sandbox": None if settings.stripe_api_base == STRIPE_API else settings.stripe_api_base,
        "database": None if settings.is_production else _reveal(settings.database_url),
        "redis": None if settings.is_production else _reveal(settings.redis_url),
        "tokens": tokens,
    }


def _reveal(url: SecretStr | None) -> str | None:
    return None if url is None else url.get_secret_value()


def _write_privately(path: Path, content: bytes, flags: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
