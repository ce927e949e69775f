from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import strawberry
from graphql import OperationType
from graphql.execution.values import get_variable_values

from resolvers.transport.documents import Documents
from resolvers.transport.graphiql_page import Example, read_examples
from services.viewer import Role
from settings import Settings
from tests.resolvers.transport.conftest import Server, serve

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="session")
def paydesk() -> strawberry.Schema:
    from resolvers.api import build_schema  # noqa: PLC0415 - the rest of this file needs no schema of Paydesk's

    return build_schema()


@pytest.fixture
async def with_tokens(schema: strawberry.Schema) -> AsyncIterator[Server]:
    async with serve(schema, tokens={"guest": "the-guest's-token</script>"}) as running:
        yield running


async def page_of(server: Server, **headers: str) -> str:
    async with server.http.get(server.url, headers={"accept": BROWSER, **headers}) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        return await response.text()


@pytest.mark.parametrize("example", read_examples(), ids=lambda example: example.name)
def test_every_example_is_valid_within_the_limits_and_fits_its_variables(
    example: Example, paydesk: strawberry.Schema
) -> None:
    operation = Documents(paydesk._schema, Settings(_env_file=None)).read(example.query).operation(None)
    coerced = get_variable_values(paydesk._schema, operation.node.variable_definitions or (), example.variables)
    assert not isinstance(coerced, list), coerced
    assert example.role in {"host", "guest", *Role}
    assert example.query.startswith("# ")


def test_the_examples_cover_a_first_payment_and_a_first_subscription(paydesk: strawberry.Schema) -> None:
    examples = read_examples()
    fields = set(re.findall(r"^  (?:\w+: )?(\w+)\(", "\n".join(example.query for example in examples), re.MULTILINE))
    assert fields >= {
        "upsertUser", "upsertActivity", "createConnectAccount", "createOnboardingLink", "feePreview", "payForActivity",
        "retryPayment", "viewerPaymentStatusChanged", "payment", "refundPreview", "refundPayment", "cancelRsvp",
        "payments", "auditLog", "webhookEvents", "upsertPlan", "attachPaymentMethod", "createSubscription",
        "subscriptionStatusChanged", "planChangePreview", "changeSubscriptionPlan", "subscription",
        "cancelSubscription", "resumeSubscription",
    }  # fmt: skip
    documents = Documents(paydesk._schema, Settings(_env_file=None))
    kinds = {documents.read(example.query).operation(None).kind for example in examples}
    assert kinds == set(OperationType)


async def test_a_browser_gets_a_page_that_needs_nothing_from_elsewhere(server: Server) -> None:
    page = await page_of(server)
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) == 8
    assert all(link.startswith(("/graphiql/", "data:,")) for link in links)
    async with server.http.get(server.url, headers={"accept": BROWSER}) as response:
        policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'self';" in policy


async def test_the_files_are_compressed_and_kept_for_long(server: Server) -> None:
    origin = server.url.removesuffix("/graphql")
    for link in re.findall(r'(?:src|href)="(/graphiql/[^"]+)"', await page_of(server)):
        sizes = []
        for encoding in ("gzip", "identity"):
            async with server.http.get(origin + link, headers={"accept-encoding": encoding}) as response:
                assert response.status == 200
                assert "immutable" in response.headers["cache-control"]
                assert response.headers["content-type"].startswith(("text/javascript", "text/css"))
                sizes.append(int(response.headers["content-length"]))
        assert sizes[1] < 4096 or sizes[0] < sizes[1] * 0.7
    for path in ("", "../routes.py", "%2e%2e/routes.py", "examples/01-people.json"):
        async with server.http.get(f"{origin}/graphiql/{path}") as response:
            assert response.status == 404


async def test_ready_made_tokens_are_for_pages_on_this_machine_alone(with_tokens: Server) -> None:
    page = await page_of(with_tokens)
    config = re.search(r'<script id="config" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert config is not None
    assert json.loads(config[1])["tokens"] == {"guest": "the-guest's-token</script>"}
    assert "the-guest" not in await page_of(with_tokens, host="evil.example:8000")


async def test_graphiql_can_be_switched_off(schema: strawberry.Schema) -> None:
    async with serve(schema, graphiql=False) as server:
        async with server.http.get(server.url, headers={"accept": BROWSER}) as response:
            assert (response.status, response.content_type) == (400, "application/json")
        async with server.http.get(server.url.removesuffix("graphql") + "graphiql/page.js") as response:
            assert response.status == 404
