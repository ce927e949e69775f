from __future__ import annotations

import time
from typing import Any

import pytest
import strawberry
from graphql import OperationDefinitionNode, parse

from resolvers.transport.bounded_cache import BoundedCache
from resolvers.transport.documents import Documents, RequestRefused
from resolvers.transport.limits import CostModel, OperationCost
from settings import Settings
from tests.resolvers.transport.conftest import Server, serve


def refusal(schema: strawberry.Schema, query: str, variables: dict[str, Any] | None = None, **limits: Any) -> str:
    """What is said against a document; empty where it is accepted."""
    settings = Settings(_env_file=None, **limits)
    try:
        Documents(schema._schema, settings).read(query).operation(None).check(variables or {}, settings)
    except RequestRefused as refused:
        return refused.errors[0].message
    return ""


def cost(schema: strawberry.Schema, query: str, variables: dict[str, Any] | None = None) -> OperationCost:
    document = parse(query)
    operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return CostModel(schema._schema, document).weigh(operation, variables)


@pytest.mark.parametrize(
    ("query", "variables", "fields", "depth"),
    [
        ("{ hello }", None, 1, 1),
        ("{ item { id name } }", None, 3, 2),
        ("{ items { totalCount edges { node { id } } } }", None, 1 + 1 + 1 + 20 * 2, 4),
        ("{ items(first: 5) { edges { cursor node { id } } } }", None, 1 + 1 + 5 * 3, 4),
        ("{ items(last: 5) { edges { cursor } } }", None, 2 + 5, 3),
        ("{ items(first: 100000) { edges { cursor } } }", None, 2 + 100, 3),
        ("{ items(first: -5) { edges { cursor } } }", None, 2, 3),
        ("{ items(first: null) { edges { cursor } } }", None, 2 + 20, 3),
        ("query ($n: Int) { items(first: $n) { edges { cursor } } }", None, 2 + 100, 3),
        ("query ($n: Int) { items(first: $n) { edges { cursor } } }", {"n": 3}, 2 + 3, 3),
        ("query ($n: Int = 4) { items(first: $n) { edges { cursor } } }", {}, 2 + 4, 3),
        ("query ($n: Int = null) { items(first: $n) { edges { cursor } } }", {}, 2 + 20, 3),
        ("{ item { tags { tags { id } } } }", None, 1 + 1 + 10 * (1 + 10), 4),
        ("{ ... on Query { ...A } } fragment A on Query { item { ...B } } fragment B on Item { id }", None, 2, 2),
        ('{ nodes(ids: ["1"]) { id } }', None, 1 + 10, 2),
        (f"{{ nodes(ids: {['1'] * 40}) {{ id }} }}".replace("'", '"'), None, 1 + 40, 2),
        ("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["1"] * 300}, 301, 2),
        ("{ __schema { types { fields { type { ofType { name } } } } } }", None, 1, 1),
    ],
)
def test_the_cost_is_the_fields_times_the_lists_that_they_are_in(
    query: str, variables: dict[str, Any] | None, fields: int, depth: int, schema: strawberry.Schema
) -> None:
    found = cost(schema, query, variables)
    assert (found.fields, found.depth) == (fields, depth)


def test_a_document_that_is_too_deep_says_how_deep_it_may_be(schema: strawberry.Schema) -> None:
    query = "{ item " + "{ parent " * 14 + "{ id }" + " }" * 14 + " }"
    says = "This document has 16 levels of nesting; the limit is 15. Ask for the inner parts in a second query."
    assert refusal(schema, query) == says
    assert refusal(schema, query, query_depth=16) == ""


def test_depth_is_counted_through_fragments(schema: strawberry.Schema) -> None:
    spreads = " ".join(f"fragment F{n} on Item {{ parent {{ ...F{n + 1} }} }}" for n in range(20))
    assert "levels of nesting" in refusal(schema, "{ item { ...F0 } } " + spreads + " fragment F20 on Item { id }")


def test_too_many_aliases_are_refused(schema: strawberry.Schema) -> None:
    query = "{" + " ".join(f"a{n}: hello" for n in range(31)) + "}"
    says = "This document has 31 aliases; the limit is 30. Send fewer aliased fields at a time."
    assert refusal(schema, query) == says
    assert refusal(schema, query, query_aliases=31) == ""


def test_too_many_tokens_and_comments_are_refused_before_they_are_parsed(schema: strawberry.Schema) -> None:
    for query in ("{" + " hello" * 2000 + "}", "{ hello }" + "\n#" * 2001):
        assert "more tokens than the limit, 2000" in refusal(schema, query)


def test_a_costly_document_is_refused_whatever_its_variables(schema: strawberry.Schema) -> None:
    query = "{ items(first: 100) { edges { node { tags { tags { id name } } } } } }"
    assert "the limit is 5000. Ask for smaller pages" in refusal(schema, query)
    assert refusal(schema, query.replace("100", "10")) == ""


def test_the_size_that_a_variable_asks_for_counts(schema: strawberry.Schema) -> None:
    query = "query ($n: Int) { items(first: $n) { edges { node { tags { tags { id name } } } } } }"
    assert refusal(schema, query, {"n": 10}) == ""
    assert "up to" in refusal(schema, query, {"n": 90})
    many = "query ($ids: [ID!]!) { nodes(ids: $ids) { id name } }"
    assert refusal(schema, many, {"ids": ["1"] * 100}) == ""
    assert "up to" in refusal(schema, many, {"ids": ["1"] * 5000})


def test_fragments_that_double_and_double_again_are_weighed_in_no_time(schema: strawberry.Schema) -> None:
    spreads = " ".join(
        f"fragment F{n} on Item {{ ...F{n + 1} parent {{ ...F{n + 1} }} tags {{ ...F{n + 1} }} }}" for n in range(60)
    )
    started = time.process_time()
    says = refusal(schema, "{ item { ...F0 } } " + spreads + " fragment F60 on Item { id }", query_depth=100)
    assert "more than 10^9 fields" in says
    assert time.process_time() - started < 2


def test_fragments_that_go_in_circles_are_refused(schema: strawberry.Schema) -> None:
    for query in (
        "{ item { ...A } } fragment A on Item { ...A }",
        "{ item { ...A } } fragment A on Item { parent { ...B } } fragment B on Item { parent { ...A } }",
    ):
        assert "Cannot spread fragment 'A' within itself" in refusal(schema, query)


def test_a_document_of_mistakes_is_answered_with_some_of_them(schema: strawberry.Schema) -> None:
    settings = Settings(_env_file=None)
    with pytest.raises(RequestRefused) as caught:
        Documents(schema._schema, settings).read("{" + " ".join(f"helo{n}" for n in range(900)) + "}")
    assert len(caught.value.errors) == 21


@pytest.mark.parametrize(
    "query",
    [
        "{" + " hello" * 1990 + "}",
        "{" + " ".join(f"...F{n}" for n in range(180)) + "}"
        + "".join(f" fragment F{n} on Query {{ item {{ id }} }}" for n in range(180)),
        "{" + "item { id parent { id } } " * 240 + "}",
        "{" + " ".join("hello @include(if: true)" for _ in range(280)) + "}",
        "{ hello " + "@include(if: true) " * 300 + "}",
        "{ item " + "{ parent " * 180 + "{ id }" + " }" * 180 + " }",
    ],
    ids=["repeated", "fragments", "merged", "directives", "one directive", "nested"],
)  # fmt: skip
def test_no_document_takes_long_to_judge(query: str, schema: strawberry.Schema) -> None:
    started = time.process_time()
    refusal(schema, query)
    assert time.process_time() - started < 2


def test_introspection_is_a_setting_and_has_its_own_limit(schema: strawberry.Schema) -> None:
    assert refusal(schema, "{ __schema { queryType { name } } }") == ""
    assert "introspection" in refusal(schema, "{ __schema { queryType { name } } }", introspection=False)
    assert refusal(schema, "{ helo }", introspection=False) == "Cannot query field 'helo' on type 'Query'."
    many = "{" + " ".join(f"a{n}: __schema {{ types {{ name }} }}" for n in range(5)) + "}"
    assert "5 introspection fields; the limit is 4" in refusal(schema, many)


async def test_the_limits_hold_over_http(schema: strawberry.Schema) -> None:
    async with serve(schema, query_cost=10) as server:
        status, answer = await server.post("{ items { edges { cursor } } }")
        assert (status, "data" in answer) == (400, False)
        assert answer["errors"][0]["extensions"]["code"] == "DOCUMENT_TOO_LARGE"
        assert server.world.contexts == 0


async def test_the_same_text_is_parsed_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await server.post("{ hello viewer }"))[0] == 200
    monkeypatch.setattr("resolvers.transport.documents.parse", None)
    assert (await server.post("{ hello viewer }"))[0] == 200


def test_a_cache_is_bounded_in_entries_and_weight() -> None:
    cache: BoundedCache[int] = BoundedCache(entries=3, weight=10)
    for number in range(5):
        cache.put(str(number), number, weight=1)
    assert [cache.get(str(n)) for n in range(5)] == [None, None, 2, 3, 4]
    cache.get("2")
    cache.put("heavy", 9, weight=9)
    assert (cache.get("2"), cache.get("3"), cache.get("heavy")) == (2, None, 9)
    cache.put("heavier", 1, weight=11)
    assert (len(cache), cache.get("heavier")) == (2, None)
    cache.put("heavy", 8, weight=2)
    cache.put("light", 1, weight=7)
    assert len(cache) == 3
