"""No card number gets in, by whatever door and however it is written; and nothing else is taken for one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import string
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from resolvers.transport.card_numbers import REFUSAL, has_card_number, has_card_number_in_url
from resolvers.transport.socket_messages import CloseCode
from sandbox import test_cards
from schema.ids import global_id
from services.event_stream import StreamKey, encode_cursor
from tests.resolvers.transport.conftest import Server, token
from tests.resolvers.transport.test_sockets import Client, connected

CARD = "4242424242424242"

# How a brand's numbers begin, and how long they are ("ISO/IEC 7812", the brands' own pages).
BRANDS = {
    "visa": (["4"], [13, 16, 19]),
    "mastercard": (["51", "52", "53", "54", "55", "2221", "2229", "2230", "2399", "2699", "2710", "2720"], [16]),
    "amex": (["34", "37"], [15]),
    "discover": (["6011", "644", "649", "65"], [16, 19]),
    "diners": (["300", "305", "3095", "38", "39"], [14, 16, 19]),
    "diners_36": (["36"], [14, 16, 19]),
    "jcb": (["3528", "3529", "3530", "3589"], [16, 19]),
    "unionpay": (["62", "81"], [16, 17, 18, 19]),
    "maestro": (["5018", "5020", "5038", "5893", "6304", "6759", "6761", "6762", "6763"], [13, 16, 18, 19]),
}


def with_check_digit(digits: str) -> str:
    """A number that passes the Luhn check."""
    return next(digits + last for last in string.digits if test_cards.is_card_number(digits + last))


@st.composite
def cards(draw: st.DrawFn) -> str:
    begins, lengths = BRANDS[draw(st.sampled_from(sorted(BRANDS)))]
    begin, length = draw(st.sampled_from(begins)), draw(st.sampled_from(lengths))
    middle = draw(st.text(string.digits, min_size=length - len(begin) - 1, max_size=length - len(begin) - 1))
    return with_check_digit(begin + middle)


@st.composite
def written(draw: st.DrawFn) -> str:
    """A card's number as people write it: in groups of four, or as on an American Express, or any other."""
    number = draw(cards())
    gap = draw(st.sampled_from(["", " ", "-", " - ", "\u00a0", "\u2009", "–"]))
    sizes = draw(st.sampled_from([[4] * 5, [4, 6, 9], [5] * 4, [3] * 7, [2] * 10, [1] * 19]))
    groups, left = [], number
    for size in sizes:
        groups.append(left[:size])
        left = left[size:]
    return gap.join(group for group in groups if group)


@given(
    written(), st.sampled_from(["", "Gustav ", "card:", "pm_", '"', "(", "x", "No. 12 "]),
    st.sampled_from(["", " ", "!", "z"]),
)  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_a_card_is_found_however_it_is_written(number: str, before: str, after: str) -> None:
    text = f"{before}{number}{after}"
    assert has_card_number(text.encode())
    assert has_card_number(json.dumps({"query": "{ a }", "variables": {"name": text}}).encode())
    assert has_card_number(json.dumps({"query": f"{{ a(b: {json.dumps(text)}) }}"}).encode())
    assert has_card_number_in_url(f"query={quote(text)}".encode())
    assert has_card_number_in_url(f"query={quote_plus(text)}".encode())


@given(cards())
@settings(deadline=None)
def test_a_card_is_found_behind_escapes_too(number: str) -> None:
    escaped = "".join(f"\\u{ord(digit):04x}" for digit in number)
    assert has_card_number(f'{{"query": "{escaped}"}}'.encode())
    assert has_card_number(json.dumps({"query": f'{{ a(b: "{escaped}") }}'}).encode())
    assert has_card_number(f'{{"variables": {{"n": {number}}}}}'.encode())
    assert has_card_number_in_url("".join(f"%{ord(digit):02X}" for digit in number).encode())
    assert not has_card_number_in_url(b"")


@given(written(), st.sampled_from(["٠", "۰", "०", "０"]))  # noqa: RUF001 - meant
@settings(deadline=None)
def test_a_card_is_found_in_the_digits_of_other_scripts(number: str, zero: str) -> None:
    text = number.translate({ord(str(digit)): chr(ord(zero) + digit) for digit in range(10)})
    assert has_card_number(text.encode())
    assert has_card_number(json.dumps({"name": text}).encode())
    assert has_card_number(json.dumps({"name": text}).replace("\\uff", "\\uFF").encode())
    assert has_card_number(json.dumps({"query": f"{{ a(b: {json.dumps(text)}) }}"}).encode())
    assert has_card_number_in_url(f"query={quote(text)}".encode())


@pytest.mark.parametrize("method", {m.number: m for m in vars(test_cards)["_CARDS"]}.values(), ids=lambda m: m.number)
def test_every_one_of_stripes_test_cards_is_one(method: Any) -> None:
    assert has_card_number(method.number.encode())
    grouped = " ".join(method.number[start : start + 4] for start in range(0, len(method.number), 4))
    assert has_card_number(f"my card is {grouped}, thanks".encode())


@given(cards(), st.integers(0, 18), st.integers(1, 9))
@settings(deadline=None)
def test_one_wrong_digit_is_no_card(number: str, at: int, by: int) -> None:
    at %= len(number)
    wrong = number[:at] + str((int(number[at]) + by) % 10) + number[at + 1 :]
    # The check digit sees to it; with another beginning it may be no brand's at all.
    assert not has_card_number(wrong.encode())


@given(st.integers(0, 10**12 - 1), st.integers(0, 10**20))
@settings(max_examples=300, deadline=None)
def test_amounts_are_no_cards(minor: int, fraction: int) -> None:
    for text in (str(minor), f"{minor}.{fraction}", f"0.{fraction}", f"-{minor}", f"{minor:,}"):
        assert not has_card_number(json.dumps({"amount": text}).encode())
        assert not has_card_number(f'{{"amount": {{"amount": "{text}", "currency": "COP"}}}}'.encode())


@given(
    st.integers(1_420_070_400, 1_980_000_000), st.integers(0, 999),
    st.sampled_from(["", "order-", "442-", "4021-", "51 "]),
)  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_times_are_no_cards(seconds: int, serial: int, before: str) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    for text in (
        moment.isoformat(), moment.isoformat(sep=" "), moment.strftime("%Y%m%d%H%M%S"), moment.strftime("%Y-%m-%d"),
        str(seconds), f"{seconds}{serial:03}", f"{seconds}{serial:06}", f"{seconds}{serial:09}",
        f"{moment:%Y-%m-%d}-{serial:04}", f"{moment:%Y%m%d}-{serial:04}",
    ):  # fmt: skip
        assert not has_card_number(f"{before}{text}".encode()), text


@given(st.uuids(), st.binary(min_size=0, max_size=64))
@settings(max_examples=500, deadline=None)
def test_ids_hashes_and_cursors_are_no_cards(id_: UUID, content: bytes) -> None:
    for text in (
        str(id_), id_.hex, str(uuid7()), global_id("PaymentMethod", id_), hashlib.sha256(content).hexdigest(),
        hashlib.md5(content).hexdigest(), b64encode(content).decode(), token(sub=str(id_)),
        encode_cursor(StreamKey(id_.int % 2**48, 3, id_), 1), f"key:{id_}:{id_}",
    ):  # fmt: skip
        assert not has_card_number(f'{{"id": "{text}"}}'.encode()), text


DIGITS_ONLY = [
    "42424242-4242-4242-8242-424242424242", "4242-4242", "+49 151 23456789", "+4242424242428", "999999999999999999",
    "1764028800123", "1764028800123456789", "4" * 64, CARD + "4242424242", "0" * 16,
    # A hash with a card's digits at its end, and one in its middle.
    "9f86d081884c7d659a2feaa0" + CARD, "9f86d081884c7d65" + CARD + "9a2feaa0c55ad015",
]  # fmt: skip


@pytest.mark.parametrize("text", DIGITS_ONLY)
def test_other_long_numbers_are_no_cards(text: str) -> None:
    assert not has_card_number(text.encode())


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_answered(content: bytes) -> None:
    has_card_number(content)
    has_card_number_in_url(content)


def test_looking_costs_microseconds_and_no_body_makes_it_dear() -> None:
    query = "mutation($input: PayForActivityInput!) { payForActivity(input: $input) { payment { id status } } }"
    body = json.dumps({"query": query * 8, "variables": {"input": {"idempotencyKey": str(uuid7())}}}).encode()
    assert best_of(5, lambda: has_card_number(body), times=1000) < 100e-6
    megabyte = 1_048_576
    dice = random.Random(1)
    for part in (b"4 ", b"1 ", b"4", b"-", b"42-", b"4    ", b"\\u0034", b"\xc2\xa04", b"444444444444.", b"[42,12]"):
        evil = part * (megabyte // len(part))
        assert best_of(1, lambda evil=evil: has_card_number(evil), times=1) < 2
    noise = bytes(dice.choice(b"0123456789 -") for _ in range(megabyte))
    assert best_of(1, lambda: has_card_number(noise), times=1) < 2


def best_of(tries: int, run: Any, *, times: int) -> float:
    """Seconds of CPU of the fastest of several tries, each of which runs it so many times."""
    took = []
    for _ in range(tries):
        started = time.process_time()
        for _ in range(times):
            run()
        took.append((time.process_time() - started) / times)
    return min(took)


async def refused(server: Server, **request: Any) -> None:
    """The request is answered 400 with an error that does not repeat the number, and nothing is done."""
    method = request.pop("method", "POST")
    async with server.http.request(method, request.pop("url", server.url), **request) as response:
        text = await response.text()
        assert response.status == 400
    assert json.loads(text) == {"errors": [{"message": REFUSAL, "extensions": {"code": "CARD_NUMBER"}}]}
    assert "Stripe.js" in REFUSAL
    assert CARD not in text
    assert server.world.moved == []
    assert server.world.contexts == 0


async def test_a_request_with_a_card_number_is_refused_by_whatever_door(server: Server) -> None:
    document = f'mutation {{ move(what: "{CARD}") }}'
    await refused(server, json={"query": document})
    await refused(server, json={"query": document}, headers={"accept": "application/json"})
    variables = {"query": "mutation($w: String!) { move(what: $w) }", "variables": {"w": "4242 4242 4242 4242"}}
    await refused(server, json=variables)
    await refused(server, json={"query": "{ hello }", "operationName": CARD})
    await refused(server, json={"query": "{ hello }", "extensions": {"note": CARD}})
    await refused(server, data=f"not even JSON {CARD}", headers={"content-type": "application/json"})
    await refused(server, json={"query": "{ hello }"}, url=f"{server.url}?name={CARD}")
    await refused(server, method="GET", params={"query": f'{{ hello(name: "{CARD}") }}'})
    spaced = "4242+4242+4242+4242"
    await refused(server, method="GET", url=f"{server.url}?query=%7Bhello(name:%22{spaced}%22)%7D")
    assert await server.post("{ hello }") == (200, {"data": {"hello": "Hello, world!"}})


async def test_a_token_is_asked_for_first_and_the_body_not_read(server: Server) -> None:
    headers = {"authorization": "Bearer nonsense"}
    async with server.http.post(server.url, json={"query": CARD}, headers=headers) as response:
        assert response.status == 401
        assert CARD not in await response.text()


async def test_an_operation_with_a_card_number_is_refused_and_the_connection_lives(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("1", f'mutation {{ move(what: "{CARD}") }}')
        error = {"message": REFUSAL, "extensions": {"code": "CARD_NUMBER"}}
        assert await client.read() == {"id": "1", "type": "error", "payload": [error]}
        await client.subscribe("1", "{ hello }")
        assert (await client.read())["payload"] == {"data": {"hello": "Hello, world!"}}
    assert server.world.moved == []


async def ended(client: Client) -> CloseCode:
    code, reason = await client.closed()
    assert CARD not in reason
    assert code is not None
    return CloseCode(code)


async def test_other_messages_with_a_card_number_end_the_connection_and_are_not_echoed(server: Server) -> None:
    for message in (
        {"type": "ping", "payload": {"note": CARD}}, {"type": "connection_init", "payload": {"note": CARD}},
        {"type": "subscribe", "id": CARD, "payload": {"query": "{ hello }"}}, {"type": CARD},
    ):  # fmt: skip
        async with connected(server) as client:
            if message["type"] != "connection_init":
                await client.init()
            await client.socket.send_json(message)
            assert await ended(client) is CloseCode.BAD_REQUEST
    async with connected(server) as client:  # who has not said who it is gets no answer to operations
        await client.subscribe("1", CARD)
        assert await ended(client) is CloseCode.UNAUTHORIZED
    url = f"{server.socket_url}?card={CARD}"
    async with server.http.ws_connect(url, protocols=["graphql-transport-ws"]) as socket:
        assert await ended(Client(socket)) is CloseCode.BAD_REQUEST


async def test_nothing_that_a_client_says_is_ever_logged() -> None:
    """Not even at the most talkative level, and not with the bugs that it runs into."""
    said = "SaidByAClient"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.resolvers.transport.quiet_server", said, CARD,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert "graphql.internal_error" in output
    assert "asked" in output
    assert said not in output
    assert CARD not in output
