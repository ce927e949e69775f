"""The schema explains itself, and says the same as the file that clients are made from."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, GraphQLSchema

from resolvers.api import build_schema, export_schema
from resolvers.nodes import node_types


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema()._schema


def test_everything_in_the_schema_is_described(schema: GraphQLSchema) -> None:
    silent = []
    for name, kind in schema.type_map.items():
        if name.startswith("__"):
            continue
        if not kind.description:
            silent.append(name)
        if isinstance(kind, GraphQLEnumType):
            silent += [f"{name}.{value}" for value, said in kind.values.items() if not said.description]
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            silent += [f"{name}.{field}" for field, said in kind.fields.items() if not said.description]
        if isinstance(kind, GraphQLObjectType):
            for field, said in kind.fields.items():
                silent += [f"{name}.{field}({given})" for given, text in said.args.items() if not text.description]
    assert silent == []


def test_every_node_can_be_found_by_its_id(schema: GraphQLSchema) -> None:
    implementations = schema.get_implementations(schema.type_map["Node"])  # type: ignore[arg-type]
    assert {kind.name for kind in implementations.objects} == set(node_types())


def test_no_argument_is_null_by_default(schema: GraphQLSchema) -> None:
    assert "= null" not in export_schema()


def test_the_exported_file_is_the_schema() -> None:
    kept = Path(__file__).parents[2] / "schema.graphql"
    assert kept.read_text() == export_schema(), "run `make schema`"


def test_what_cannot_be_done_yet_is_not_there(schema: GraphQLSchema) -> None:
    """No stubs: what the schema names works."""
    for name in ("FxQuote",):
        assert name not in schema.type_map
