from __future__ import annotations

import json

import asyncpg
import pytest
import structlog
from graphql import GraphQLError

from models.money import Money
from resolvers.transport.masking import domain_extensions, masked, masked_all
from services.batching import OutcomeUnknownError
from services.errors import DomainError, InvalidInput, PriceChanged, SoldOut
from tests.resolvers.transport.conftest import Server


async def test_a_bug_is_shown_as_an_id_and_logged_once_under_it(server: Server) -> None:
    with structlog.testing.capture_logs() as logs:
        status, answer = await server.post("query Q { hello bug }")
    assert (status, answer["data"]) == (200, {"hello": "Hello, world!", "bug": None})
    (error,) = answer["errors"]
    assert (error["message"], error["path"], error["extensions"]["code"]) == ("internal error", ["bug"], "INTERNAL")
    assert "secret detail" not in json.dumps(answer)
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert entry["error_id"] == error["extensions"]["errorId"]
    assert (entry["operation"], entry["path"]) == ("Q", ["bug"])
    assert str(entry["exc_info"]) == "secret detail"


async def test_a_null_where_none_may_be_is_a_bug(server: Server) -> None:
    with structlog.testing.capture_logs() as logs:
        status, answer = await server.post("{ item { mustNotBeNull } }")
    assert (status, answer["data"]) == (200, None)
    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert len(logs) == 1


async def test_a_domain_error_says_what_to_do(server: Server) -> None:
    with structlog.testing.capture_logs() as logs:
        _, answer = await server.post("{ missing unavailable }")
    first, second = answer["errors"]
    assert (first["message"], first["extensions"]) == ("There is no such thing.", {"code": "NOT_FOUND"})
    assert second["extensions"] == {"code": "STRIPE_UNAVAILABLE", "retryAfterSeconds": 7}
    _, answer = await server.post("{ invalid }")
    assert answer["errors"][0]["extensions"] == {"code": "INVALID_INPUT", "inputPath": ["input", "quantity"]}
    assert logs == []


async def test_graphqls_own_errors_stay(server: Server) -> None:
    _, answer = await server.post("{ helo }")
    assert answer["errors"][0]["message"] == "Cannot query field 'helo' on type 'Query'. Did you mean 'hello'?"
    _, answer = await server.post("query ($n: String!) { hello(name: $n) }", variables={"n": 1})
    assert "String cannot represent a non string value" in answer["errors"][0]["message"]


def test_one_exception_behind_many_fields_is_logged_once() -> None:
    bug = RuntimeError("secret")
    errors = [GraphQLError("secret", path=["a", n], original_error=bug) for n in range(5)]
    with structlog.testing.capture_logs() as logs:
        shown = masked_all(errors, operation=None)
    assert len(logs) == 1
    assert len({entry["extensions"]["errorId"] for entry in shown}) == 1
    assert [entry["path"] for entry in shown] == [["a", n] for n in range(5)]


def test_a_graphql_error_that_a_resolver_raised_keeps_its_text() -> None:
    raised = GraphQLError("No.", extensions={"code": "NO"})
    shown = masked(GraphQLError("No.", path=["a"], original_error=raised), operation=None)
    assert shown == {"message": "No.", "extensions": {"code": "NO"}, "path": ["a"]}


@pytest.mark.parametrize("kind", [kind for kind in DomainError.__subclasses__() if kind is not InvalidInput])
def test_every_domain_error_can_be_shown_as_json(kind: type[DomainError]) -> None:
    shown = masked(kind("Words for a guest."), operation=None)
    assert (shown["message"], shown["extensions"]["code"]) == ("Words for a guest.", kind.code)
    json.dumps(shown)


def test_what_an_error_carries_is_shown_in_the_names_of_the_api() -> None:
    assert domain_extensions(SoldOut(seats_left=2)) == {"code": "SOLD_OUT", "seatsLeft": 2}
    shown = domain_extensions(PriceChanged(price=Money(1250, "EUR")))
    assert shown["price"] == {"minorUnits": 1250, "currency": "EUR"}


@pytest.mark.parametrize(
    "raised",
    [
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.CannotConnectNowError("starting"),
        asyncpg.InterfaceError("closed"),
        ConnectionRefusedError(),
        OutcomeUnknownError(),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_a_database_that_is_away_is_said_in_words_and_without_a_traceback(raised: Exception) -> None:
    shown = masked(GraphQLError("No.", path=["a"], original_error=raised), operation=None)
    assert shown["extensions"] == {"code": "UNAVAILABLE", "retryAfterSeconds": 2}
    assert "try again" in shown["message"]
    assert str(raised) not in shown["message"] or not str(raised)
