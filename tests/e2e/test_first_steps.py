"""What newcomers try first: the demo, and GraphiQL's examples one after the other."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from io import StringIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import pytest
from rich.console import Console

from demo.people import Person
from demo.walk import run_demo
from resolvers.transport.graphiql_page import Example, read_examples
from tests.e2e.system import eventually, token

if TYPE_CHECKING:
    from tests.e2e.system import System

PEOPLE = ("host", "guest", "guest2", "service", "admin")
REFUSED = {"10-pay-declined": ["CARD_DECLINED"]}


@pytest.fixture
async def endpoints(system: System) -> dict[str, Any]:
    await system.start()
    return {
        "graphql": f"http://127.0.0.1:{system.port}/graphql", "websocket": f"ws://127.0.0.1:{system.port}/graphql",
        "sandbox": system.sandbox, "tokens": {who: token(who) for who in PEOPLE},
    }  # fmt: skip


async def test_the_demo_can_be_walked_again_and_leaves_nothing_that_is_offered_or_saved(
    system: System, endpoints: dict[str, Any]
) -> None:
    for _ in range(2):
        said = StringIO()
        await run_demo(endpoints, Console(file=said, width=160))
        assert re.findall("─ (.+) ─", said.getvalue()) == ["A payment", "The hosts' money", "A subscriber"]
    left = await system.ask("guest", "{ plans { id } viewer { paymentMethods { id } entitlements { feature } } }")
    assert left == {"plans": [], "viewer": {"paymentMethods": [], "entitlements": []}}


async def test_every_example_works_in_turn_with_the_ids_that_those_before_it_answered(
    system: System, endpoints: dict[str, Any]
) -> None:
    ids: dict[str, str] = {}
    async with aiohttp.ClientSession() as http, AsyncExitStack() as watching:
        quiet = Console(file=StringIO())
        people = {who: Person(who, token(who), endpoints, http, quiet) for who in PEOPLE}
        for example in read_examples():
            person, variables = people[example.role], filled(example.variables, ids)
            if is_live(example):
                await watching.enter_async_context(person.listening(example.query, str, **variables))
                continue
            answer = await person.ask(example.query, **variables)
            assert codes_in(answer) == REFUSED.get(example.name, []), example.name
            ids |= ids_in(answer)
            if example.name == "03-onboarding-link":
                await onboard(system, person)
            if example.name == "33-pay-disputed":
                await disputed(people["host"])
        guest = people["guest"]
        await guest.until(lambda change: "payment" in change and change["status"] == "FAILED")
        await guest.until(lambda change: "payment" in change and change["status"] == "SUCCEEDED")
        await guest.until(lambda change: change.get("subscription", {}).get("plan") == {"name": "Club Plus"})


def is_live(example: Example) -> bool:
    return re.search("^subscription ", example.query, re.MULTILINE) is not None


def filled(value: Any, ids: dict[str, str]) -> Any:
    """As page.js fills in what a request needs."""
    if isinstance(value, dict):
        return {name: filled(inner, ids) for name, inner in value.items()}
    if value == "{{key}}":
        return str(uuid4())
    wanted = re.fullmatch(r"\{\{(\w+)\}\}", value) if isinstance(value, str) else None
    return value if wanted is None else ids[wanted[1]]


def ids_in(value: Any) -> dict[str, str]:
    """As page.js remembers them: by the name of the field, the last one wins."""
    if isinstance(value, list):
        return {name: id_ for inner in value for name, id_ in ids_in(inner).items()}
    found: dict[str, str] = {}
    for name, inner in value.items() if isinstance(value, dict) else ():
        if isinstance(inner, dict) and "id" in inner:
            found[name] = inner["id"]
        found |= ids_in(inner)
    return found


def codes_in(answer: dict[str, Any]) -> list[str]:
    """The errors of all of its mutations."""
    payloads = [payload for payload in answer.values() if isinstance(payload, dict)]
    return [error["code"] for payload in payloads for error in payload.get("errors", [])]


async def disputed(host: Person) -> None:
    """The guest's bank has disputed it, and Stripe's webhook has come in."""

    async def there() -> bool:
        found = await host.ask("{ disputes { edges { node { withdrawnAmount { minorUnits } } } } }")
        return [int(edge["node"]["withdrawnAmount"]["minorUnits"]) for edge in found["disputes"]["edges"]] == [4500]

    await eventually(there)


async def onboard(system: System, host: Person) -> None:
    """The host fills in Stripe's form, and Stripe's webhook has come in."""
    mine = "{ viewer { connectAccount { stripeAccountId chargesEnabled } } }"
    account = (await host.ask(mine))["viewer"]["connectAccount"]["stripeAccountId"]
    await system.person(f"accounts/{account}/onboard")

    async def ready() -> bool:
        return bool((await host.ask(mine))["viewer"]["connectAccount"]["chargesEnabled"])

    await eventually(ready)
