"""Where guests and hosts may be sent back to: only where the settings allow, or a payment page could lead anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from services.errors import InvalidInput

if TYPE_CHECKING:
    from settings import Settings

LENGTH_MAX = 2_000
_PORTS = {"http": 80, "https": 443}


def allowed_return_url(settings: Settings, url: str | None, *, field: str) -> str:
    """The URL, where it lies under an allowed prefix; the default one for None.

    Raises: InvalidInput naming the field.
    """
    prefixes = settings.return_prefixes
    if url is None:
        return settings.return_url or prefixes[0]
    # Browsers read backslashes as slashes and drop control characters: what they would see must be what is compared.
    if len(url) > LENGTH_MAX or "\\" in url or any(character <= " " or character == "\x7f" for character in url):
        raise InvalidInput(field, "This is not a URL that can be returned to.")
    if not any(_lies_under(url, prefix) for prefix in prefixes):
        raise InvalidInput(field, f"Only URLs under {', '.join(prefixes)} can be returned to.")
    return url


def _lies_under(url: str, prefix: str) -> bool:
    try:
        here, allowed = urlsplit(url), urlsplit(prefix)
        same = _origin(here) == _origin(allowed)
    except ValueError:
        return False
    if not same or here.username is not None or here.password is not None:
        return False
    root = allowed.path.rstrip("/")
    segments = here.path.split("/")
    if ".." in segments or "%2e" in here.path.lower():
        return False
    return here.path == root or here.path.startswith(f"{root}/")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
