"""Who sent a request: JSON Web Tokens, signed with a secret of ours (HS256) or a key from a JWKS URL (RS256, ES256).

A key says which algorithm it is for, never the token: a public key cannot pass as a secret, and `none` is no algorithm.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import jwt
import orjson
import structlog

from services.errors import Unauthenticated
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from settings import Settings

    Clock = Callable[[], float]
    FetchKeys = Callable[[str], Awaitable[bytes]]

log = structlog.get_logger("authentication")

LEEWAY_S: Final = 5.0
"""Seconds that clocks may differ."""
TOKEN_LENGTH: Final = 8192
SUBJECT_LENGTH: Final = 255

_CACHED_TOKENS: Final = 10_000
_KEYS_FRESH_S: Final = 600.0
_KEYS_RETRY_S: Final = 10.0
_KEYS_TIMEOUT_S: Final = 5.0
_KEYS_BYTES: Final = 1_048_576
_RSA_BITS: Final = 2048

_EXPIRED: Final = "The token has expired. Get a new one and try again."
_INVALID: Final = "The token is not valid. Sign in again to get a new one."
_UNVERIFIABLE: Final = "Tokens cannot be verified at the moment. Please try again shortly."
_MALFORMED: Final = "The authorization header must be `Bearer` followed by one token."


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A verified token: who bears it, and until when it is accepted (seconds since 1970)."""

    viewer: Viewer
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Key:
    """A public key and the one algorithm that it verifies."""

    algorithm: str
    key: Any


class KeySet:
    """The keys behind a JWKS URL, kept while it is down, asked again for a key it did not have (RFC 7517)."""

    def __init__(self, url: str, *, fetch: FetchKeys | None = None, clock: Clock = time.monotonic) -> None:
        """
        Args:
            fetch: reads the URL; aiohttp where None.
            clock: monotonic seconds.
        """
        self._url = url
        self._fetch = fetch or fetch_keys
        self._clock = clock
        self._keys: dict[str, _Key] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self.generation = 0
        """Grows when a key goes away or changes: what it verified has to be verified anew."""

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever read."""
        return not self._keys

    async def key_for(self, kid: str | None, algorithm: str) -> Any | None:
        """The key of that id for that algorithm; without an id, the only one there is."""
        key = self._find(kid, algorithm)
        if key is None:
            await self._refresh()
            return self._find(kid, algorithm)
        if self._clock() - self._fetched_at > _KEYS_FRESH_S and (self._refreshing is None or self._refreshing.done()):
            # Nobody waits for this: the keys at hand are good until the URL says otherwise.
            self._refreshing = asyncio.create_task(self._refresh())
        return key

    def _find(self, kid: str | None, algorithm: str) -> Any | None:
        if kid is not None:
            found = self._keys.get(kid)
            return found.key if found is not None and found.algorithm == algorithm else None
        fitting = [key for key in self._keys.values() if key.algorithm == algorithm]
        return fitting[0].key if len(fitting) == 1 else None

    async def _refresh(self) -> None:
        """Read the URL, but not more often than every ten seconds, whatever key ids tokens make up."""
        asked_at = self._clock()
        async with self._lock:
            if self._tried_at >= asked_at or self._clock() - self._tried_at < _KEYS_RETRY_S:
                return
            self._tried_at = self._clock()
            try:
                keys = _read_keys(await self._fetch(self._url))
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.warning("authentication.keys_unavailable", url=self._url, error=repr(error), kept=len(self._keys))
                return
            self._fetched_at = self._clock()
            if any(keys.get(kid) is None or not _same(keys[kid], key) for kid, key in self._keys.items()):
                self.generation += 1
            self._keys = keys


async def fetch_keys(url: str) -> bytes:
    """The body of a JWKS URL.

    Raises: aiohttp.ClientError, TimeoutError after five seconds, ValueError where it is larger than 1 MiB.
    """
    timeout = aiohttp.ClientTimeout(total=_KEYS_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url, headers={"accept": "application/json"}, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        body = await response.content.read(_KEYS_BYTES + 1)
        while len(body) <= _KEYS_BYTES and (more := await response.content.read(_KEYS_BYTES)):
            body += more
    if len(body) > _KEYS_BYTES:
        raise ValueError("larger than 1 MiB")
    return body


def _same(one: _Key, other: _Key) -> bool:
    return one.algorithm == other.algorithm and bool(one.key.public_numbers() == other.key.public_numbers())


def _read_keys(body: bytes) -> dict[str, _Key]:
    """The signing keys of a JWKS; keys of other kinds are passed over."""
    document = orjson.loads(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JWKS")  # noqa: TRY004 - what was read is at fault, not its caller
    keys: dict[str, _Key] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        key = _read_key(entry)
        if key is not None:
            kid = entry.get("kid")
            keys[kid if isinstance(kid, str) else f"#{number}"] = key
    return keys


def _read_key(entry: Mapping[str, Any]) -> _Key | None:
    kind = entry.get("kty"), entry.get("crv")
    algorithm = "RS256" if kind[0] == "RSA" else "ES256" if kind == ("EC", "P-256") else None
    if algorithm is None or entry.get("alg", algorithm) != algorithm or "d" in entry:
        return None
    try:
        key = jwt.PyJWK.from_dict(dict(entry), algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if algorithm == "RS256" and key.key_size < _RSA_BITS:
        return None
    return _Key(algorithm, key)


class Authenticator:
    """Turns an `Authorization` header into a viewer."""

    def __init__(
        self,
        *,
        secrets: Sequence[str] = (),
        key_set: KeySet | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        clock: Clock = time.time,
        cached_tokens: int = _CACHED_TOKENS,
    ) -> None:
        """
        Args:
            secrets: any of them may have signed an HS256 token.
            key_set: where the public keys of RS256 and ES256 tokens are.
            issuer: the `iss` that a token must have, if set.
            audience: an `aud` that a token must have, if set.
            clock: seconds since 1970.
            cached_tokens: verified tokens that are remembered at most.
        """
        self._secrets = tuple(secrets)
        self._key_set = key_set
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._cached_tokens = cached_tokens
        self._verified: OrderedDict[bytes, Authenticated] = OrderedDict()
        self._generation = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Authenticator:
        """One with the secrets, URL, issuer and audience of the settings."""
        return cls(
            secrets=[secret.get_secret_value() for secret in settings.jwt_secret],
            key_set=KeySet(settings.jwks_url) if settings.jwks_url else None,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )

    async def authenticate(self, authorization: str | None) -> Authenticated | None:
        """Who sent this header; None where there is none.

        Raises: Unauthenticated, saying whether to get a new token or to mend the header.
        """
        if authorization is None:
            return None
        scheme, _, token = authorization.strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or " " in token:
            raise Unauthenticated(_MALFORMED)
        if len(token) > TOKEN_LENGTH or not token.isascii():
            raise Unauthenticated(_INVALID)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._recall(digest)
        if known is not None:
            return known
        authenticated = self._accept(await self._verify(token))
        self._verified[digest] = authenticated
        if len(self._verified) > self._cached_tokens:
            self._verified.popitem(last=False)
        return authenticated

    def _recall(self, digest: bytes) -> Authenticated | None:
        if self._key_set is not None and self._key_set.generation != self._generation:
            self._generation = self._key_set.generation
            self._verified.clear()
        known = self._verified.get(digest)
        if known is None:
            return None
        if known.expires_at <= self._clock():
            del self._verified[digest]
            raise Unauthenticated(_EXPIRED)
        self._verified.move_to_end(digest)
        return known

    async def _verify(self, token: str) -> dict[str, Any]:
        """The claims of a token whose signature is right."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            raise Unauthenticated(_INVALID) from None
        algorithm, kid = header.get("alg"), header.get("kid")
        keys: Sequence[Any] = ()
        if algorithm == "HS256":
            keys = self._secrets
        elif algorithm in {"RS256", "ES256"} and self._key_set is not None and isinstance(kid, str | None):
            key = await self._key_set.key_for(kid, algorithm)
            if key is None and self._key_set.is_empty:
                raise Unauthenticated(_UNVERIFIABLE)
            keys = () if key is None else (key,)
        for key in keys:
            try:
                return self._decode(token, key, str(algorithm))
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError):
                break
        raise Unauthenticated(_INVALID)

    def _decode(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        # The times are checked in `_accept`, against this object's own clock.
        return jwt.decode(
            token, key, algorithms=[algorithm], issuer=self._issuer, audience=self._audience,
            options={
                "require": ["sub", "role", "exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                "verify_aud": self._audience is not None, "verify_iss": self._issuer is not None,
            },
        )  # fmt: skip

    def _accept(self, claims: Mapping[str, Any]) -> Authenticated:
        """Hold the claims of a token against what they must be."""
        now = self._clock()
        expires, starts = claims["exp"], claims.get("nbf", 0)
        if not _is_time(expires) or not _is_time(starts):
            raise Unauthenticated(_INVALID)
        if expires + LEEWAY_S <= now:
            raise Unauthenticated(_EXPIRED)
        subject, role = claims["sub"], claims["role"]
        if (
            starts - LEEWAY_S > now
            or not isinstance(subject, str)
            or not 0 < len(subject) <= SUBJECT_LENGTH
            or "\0" in subject
            or any("\ud800" <= character <= "\udfff" for character in subject)
            or not isinstance(role, str)
            or role not in set(Role)
        ):
            raise Unauthenticated(_INVALID)
        return Authenticated(Viewer(Role(role), subject), expires + LEEWAY_S)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def mint_token(secret: str, *, sub: str, role: Role | str, ttl_s: float, now: float | None = None) -> str:
    """An HS256 token for development, operators and tests.

    Args:
        ttl_s: seconds until it expires.
        now: seconds since 1970; the clock's where None.
    """
    issued = time.time() if now is None else now
    claims = {"sub": sub, "role": str(role), "iat": int(issued), "exp": int(issued + ttl_s)}
    return jwt.encode(claims, secret, algorithm="HS256")
