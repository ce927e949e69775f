from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from services.authentication import LEEWAY_S, Authenticator, KeySet, fetch_keys, mint_token
from services.errors import Unauthenticated
from services.viewer import Role, Viewer

SECRET = "a-secret-of-more-than-thirty-two-bytes"
OLDER = "another-secret-of-more-than-thirty-two-bytes"
NOW = 1_800_000_000.0
CLAIMS = {"sub": "guest-1", "role": "user", "exp": int(NOW) + 60}


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Keys:
    """A JWKS URL that counts who asks."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries)
        self.asked = 0
        self.is_down = False
        self.body: bytes | None = None

    async def fetch(self, url: str) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise TimeoutError
        return json.dumps({"keys": self.entries}).encode() if self.body is None else self.body


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(clock: Clock) -> Authenticator:
    return Authenticator(secrets=[SECRET, OLDER], clock=clock)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_entry(key: rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, **more}


def ec_entry(key: ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": kid}


def bearer(claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    return "Bearer " + jwt.encode(claims, key, algorithm=algorithm, headers=headers or None)


async def refused(authenticator: Authenticator, header: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(header)
    assert header.partition(" ")[2] not in str(caught.value) or not header.partition(" ")[2]
    return str(caught.value)


async def test_a_token_says_who_its_bearer_is_and_until_when(authenticator: Authenticator) -> None:
    found = await authenticator.authenticate(bearer(CLAIMS))
    assert found is not None
    assert found.viewer == Viewer(Role.USER, "guest-1")
    assert found.expires_at == NOW + 60 + LEEWAY_S


async def test_no_header_is_nobody(authenticator: Authenticator) -> None:
    assert await authenticator.authenticate(None) is None


@pytest.mark.parametrize("role", list(Role))
async def test_minted_tokens_are_accepted_for_every_role(role: Role, authenticator: Authenticator) -> None:
    token = mint_token(SECRET, sub="someone", role=role, ttl_s=10, now=NOW)
    found = await authenticator.authenticate(f"Bearer {token}")
    assert found is not None
    assert found.viewer == Viewer(role, "someone")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEARER"])
async def test_the_scheme_is_read_in_any_case(scheme: str, authenticator: Authenticator) -> None:
    assert await authenticator.authenticate(f"{scheme}   {mint_token(SECRET, sub='a', role='user', ttl_s=9, now=NOW)} ")


async def test_any_of_several_secrets_may_have_signed(authenticator: Authenticator) -> None:
    assert await authenticator.authenticate(bearer(CLAIMS, OLDER))


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dTpw", "Token abc", "Bearer a b", "abc"])
async def test_a_malformed_header_is_told_its_form(header: str, authenticator: Authenticator) -> None:
    assert "must be `Bearer` followed by one token" in await refused(authenticator, header)


@pytest.mark.parametrize("token", ["abc", "a.b.c", "...", "ä.ö.ü", "a" * 9000, "e30.e30.e30", "bnVsbA.e30."])
async def test_what_is_no_token_is_refused(token: str, authenticator: Authenticator) -> None:
    assert "not valid" in await refused(authenticator, f"Bearer {token}")


async def test_an_expired_token_says_so_also_when_it_was_known(authenticator: Authenticator, clock: Clock) -> None:
    header = bearer(CLAIMS)
    assert await authenticator.authenticate(header)
    clock.now += 60 + LEEWAY_S - 0.1
    assert await authenticator.authenticate(header)
    clock.now += 0.2
    assert "expired" in await refused(authenticator, header)
    assert "expired" in await refused(authenticator, header)


async def test_a_token_with_another_signature_is_refused(authenticator: Authenticator) -> None:
    assert "not valid" in await refused(authenticator, bearer(CLAIMS, "x" * 40))


async def test_a_known_token_with_a_changed_signature_is_refused(authenticator: Authenticator) -> None:
    header = bearer(CLAIMS)
    assert await authenticator.authenticate(header)
    await refused(authenticator, header[:-4] + ("AAAA" if header[-4:] != "AAAA" else "BBBB"))


async def test_alg_none_is_refused(authenticator: Authenticator) -> None:
    for algorithm in ("none", "None", "nOnE", ""):
        head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()).rstrip(b"=").decode()
        claims = base64.urlsafe_b64encode(json.dumps(CLAIMS).encode()).rstrip(b"=").decode()
        assert "not valid" in await refused(authenticator, f"Bearer {head}.{claims}.")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_with_the_same_secret_is_refused(algorithm: str) -> None:
    secret = "s" * 64
    header = bearer(CLAIMS, secret, algorithm)
    assert "not valid" in await refused(Authenticator(secrets=[secret], clock=Clock()), header)


@pytest.mark.parametrize(
    "changed",
    [
        {"sub": None}, {"sub": ""}, {"sub": 7}, {"sub": "a" * 256}, {"sub": "a\0b"}, {"sub": "a\ud800"}, {"sub": ["a"]},
        {"role": None}, {"role": "root"}, {"role": ["admin"]}, {"role": {"a": 1}}, {"role": "ADMIN"}, {"role": 1},
        {"exp": None}, {"exp": "tomorrow"}, {"exp": True}, {"nbf": NOW + 60}, {"nbf": "later"},
    ],
)  # fmt: skip
async def test_claims_that_are_missing_or_wrong_are_refused(
    changed: dict[str, Any], authenticator: Authenticator
) -> None:
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    assert "not valid" in await refused(authenticator, bearer(claims))


async def test_an_endless_token_is_refused(authenticator: Authenticator) -> None:
    signed = jwt.api_jws.encode(b'{"sub": "a", "role": "user", "exp": Infinity}', SECRET, algorithm="HS256")
    assert "not valid" in await refused(authenticator, f"Bearer {signed}")


async def test_issuer_and_audience_are_checked_where_they_are_set(clock: Clock) -> None:
    strict = Authenticator(secrets=[SECRET], issuer="https://id.example", audience="paydesk", clock=clock)
    right = {**CLAIMS, "iss": "https://id.example", "aud": ["paydesk", "other"]}
    assert await strict.authenticate(bearer(right))
    for wrong in ({"iss": "https://evil.example"}, {"aud": "other"}):
        await refused(strict, bearer({**right, **wrong}))
    await refused(strict, bearer(CLAIMS))


async def test_an_audience_that_nobody_asked_for_does_no_harm(authenticator: Authenticator) -> None:
    assert await authenticator.authenticate(bearer({**CLAIMS, "aud": "x", "iss": "y", "iat": NOW + 30}))


async def test_the_tokens_that_are_remembered_are_bounded(clock: Clock) -> None:
    small = Authenticator(secrets=[SECRET], clock=clock, cached_tokens=3)
    for number in range(10):
        assert await small.authenticate(bearer({**CLAIMS, "sub": str(number)}))
    assert len(small._verified) == 3


async def test_keys_of_a_url_verify_rs256_and_es256(
    rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey, clock: Clock
) -> None:
    keys = Keys(rsa_entry(rsa_key, "r"), ec_entry(ec_key, "e"), {"kty": "oct", "k": "AAAA", "kid": "s"})
    both = Authenticator(key_set=KeySet("https://id", fetch=keys.fetch, clock=clock), clock=clock)
    assert await both.authenticate(bearer(CLAIMS, rsa_key, "RS256", kid="r"))
    assert await both.authenticate(bearer(CLAIMS, ec_key, "ES256", kid="e"))
    assert await both.authenticate(bearer(CLAIMS, ec_key, "ES256"))  # the only one of its kind needs no id
    assert keys.asked == 1
    await refused(both, bearer(CLAIMS, rsa_key, "RS256", kid="e"))
    await refused(both, bearer(CLAIMS, ec_key, "ES256", kid="r"))
    await refused(both, bearer(CLAIMS, rsa_key, "RS512", kid="r"))
    await refused(both, bearer(CLAIMS, SECRET))


async def test_a_public_key_is_no_secret(rsa_key: rsa.RSAPrivateKey, clock: Clock) -> None:
    keys = Keys(rsa_entry(rsa_key, "r"))
    confused = Authenticator(secrets=[SECRET], key_set=KeySet("https://id", fetch=keys.fetch), clock=clock)
    pem = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"r"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(CLAIMS).encode()).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.digest(pem, head + b"." + body, "sha256")).rstrip(b"=")
    assert "not valid" in await refused(confused, f"Bearer {(head + b'.' + body + b'.' + signature).decode()}")
    assert keys.asked == 0


async def test_an_unknown_key_is_asked_for_but_not_more_often_than_every_ten_seconds(
    rsa_key: rsa.RSAPrivateKey, clock: Clock
) -> None:
    keys = Keys(rsa_entry(rsa_key, "first"))
    rotating = Authenticator(key_set=KeySet("https://id", fetch=keys.fetch, clock=clock), clock=clock)
    assert await rotating.authenticate(bearer(CLAIMS, rsa_key, "RS256", kid="first"))
    clock.now += 11
    keys.entries = [rsa_entry(rsa_key, "second")]
    fresh = bearer({**CLAIMS, "exp": NOW + 99}, rsa_key, "RS256", kid="second")
    assert await rotating.authenticate(fresh)
    assert keys.asked == 2
    for number in range(5):
        await refused(rotating, bearer(CLAIMS, rsa_key, "RS256", kid=f"made up {number}"))
    assert keys.asked == 2


async def test_many_tokens_at_once_ask_for_the_keys_once(rsa_key: rsa.RSAPrivateKey, clock: Clock) -> None:
    keys = Keys(rsa_entry(rsa_key, "r"))
    waiting = Authenticator(key_set=KeySet("https://id", fetch=keys.fetch, clock=clock), clock=clock)
    headers = [bearer({**CLAIMS, "sub": str(n)}, rsa_key, "RS256", kid="r") for n in range(20)]
    assert all(await asyncio.gather(*(waiting.authenticate(header) for header in headers)))
    assert keys.asked == 1


async def test_keys_are_kept_while_the_url_is_down(rsa_key: rsa.RSAPrivateKey, clock: Clock) -> None:
    keys = Keys(rsa_entry(rsa_key, "r"))
    patient = Authenticator(key_set=KeySet("https://id", fetch=keys.fetch, clock=clock), clock=clock)
    assert await patient.authenticate(bearer(CLAIMS, rsa_key, "RS256", kid="r"))
    for trouble in ("down", "garbage"):
        keys.is_down, keys.body = trouble == "down", b"<html>"
        clock.now += 1000
        claims = {**CLAIMS, "exp": clock.now + 60}
        assert await patient.authenticate(bearer(claims, rsa_key, "RS256", kid="r"))
        assert await patient.authenticate(bearer({**claims, "sub": "b"}, rsa_key, "RS256", kid="r"))
        await asyncio.sleep(0.01)
    assert keys.asked == 3


async def test_without_any_key_yet_the_answer_is_to_try_again(rsa_key: rsa.RSAPrivateKey, clock: Clock) -> None:
    keys = Keys()
    keys.is_down = True
    blind = Authenticator(key_set=KeySet("https://id", fetch=keys.fetch, clock=clock), clock=clock)
    assert "try again" in await refused(blind, bearer(CLAIMS, rsa_key, "RS256", kid="r"))


async def test_a_key_that_was_taken_back_ends_the_tokens_that_it_verified(
    rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey, clock: Clock
) -> None:
    keys = Keys(rsa_entry(rsa_key, "r"), ec_entry(ec_key, "e"))
    key_set = KeySet("https://id", fetch=keys.fetch, clock=clock)
    careful = Authenticator(key_set=key_set, clock=clock)
    header = bearer({**CLAIMS, "exp": NOW + 9999}, rsa_key, "RS256", kid="r")
    assert await careful.authenticate(header)
    keys.entries.pop(0)
    clock.now += 20
    assert await careful.authenticate(header)
    await refused(careful, bearer({**CLAIMS, "exp": NOW + 9999}, rsa_key, "RS256", kid="unknown"))
    assert "not valid" in await refused(careful, header)


async def test_keys_that_are_weak_private_or_for_encryption_are_passed_over(
    rsa_key: rsa.RSAPrivateKey, clock: Clock
) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    keys = Keys(
        rsa_entry(weak, "weak"),
        rsa_entry(rsa_key, "enc", use="enc"),
        rsa_entry(rsa_key, "other", alg="RS512"),
        {**json.loads(RSAAlgorithm.to_jwk(rsa_key)), "kid": "private"},
        {"kty": "RSA", "n": "!", "e": "!", "kid": "broken"},
    )
    keys.entries.append("no object")  # type: ignore[arg-type]
    picky = Authenticator(key_set=KeySet("https://id", fetch=keys.fetch, clock=clock), clock=clock)
    for kid in ("enc", "other", "private", "broken"):
        await refused(picky, bearer(CLAIMS, rsa_key, "RS256", kid=kid))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        header = bearer(CLAIMS, weak, "RS256", kid="weak")
    await refused(picky, header)


@pytest.fixture
async def jwks_url() -> AsyncIterator[str]:
    """A real server: `/keys` answers, `/large` does not end, `/moved` redirects, all else is missing."""

    async def keys(request: web.Request) -> web.Response:
        return web.json_response({"keys": []})

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b" " * 2_000_000)

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/keys")

    app = web.Application()
    app.add_routes([web.get("/keys", keys), web.get("/large", large), web.get("/moved", moved)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_keys_are_read_over_http_and_nothing_else_is_taken_for_them(jwks_url: str) -> None:
    assert json.loads(await fetch_keys(f"{jwks_url}/keys")) == {"keys": []}
    for path in ("large", "moved", "missing"):
        with pytest.raises(ValueError):
            await fetch_keys(f"{jwks_url}/{path}")
