"""Each error of the services is exactly one type, with all that it says."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from models.money import Money as Amount
from schema.errors import Payload, UserError, error_types, payload, user_error, user_errors
from schema.money import Money
from services.errors import CardDeclined, DomainError, InvalidInput, NotFound, StaleCursor, Unauthenticated

# No payload carries these: the first belongs to every operation, the second to subscriptions alone.
NEVER_IN_PAYLOADS = {Unauthenticated, StaleCursor}


def everything(error: type[DomainError]) -> set[type[DomainError]]:
    return {error}.union(*(everything(child) for child in error.__subclasses__()))


def test_every_error_has_exactly_one_type_of_its_own_name() -> None:
    types = error_types()
    assert set(types) == everything(DomainError) - {DomainError} - NEVER_IN_PAYLOADS
    for error, kind in types.items():
        assert kind.__name__ == error.__name__


@pytest.mark.parametrize("error", list(error_types()))
def test_an_error_is_shown_with_all_that_it_says(error: type[DomainError]) -> None:
    raised = error(message="In words.", path=["input", "field"])
    shown = user_error(raised)
    assert type(shown) is error_types()[error]
    assert (shown.code, shown.message, shown.path) == (error.code, "In words.", ["input", "field"])
    for item in fields(raised):
        value, seen = getattr(raised, item.name), getattr(shown, item.name)
        assert (seen.value if isinstance(seen, Money) else seen) == value
        assert isinstance(seen, Money) is isinstance(value, Amount)


async def test_a_payload_carries_errors_of_the_services_and_nothing_else() -> None:
    @payload(Payload)
    async def raising(error: Exception) -> Payload:
        raise error

    answered = await raising(InvalidInput("quantity", "Too many."))
    [shown] = answered.errors
    assert (type(shown).__name__, shown.path) == ("InvalidInput", ["input", "quantity"])
    for error in (ValueError("a bug"), Unauthenticated(), StaleCursor()):
        with pytest.raises(type(error)):
            await raising(error)


def test_a_payload_of_what_went_well_has_no_errors() -> None:
    shown: list[Any] = user_errors(None)
    assert shown == []
    assert [type(error) for error in user_errors(NotFound())] == [error_types()[NotFound]]
    assert isinstance(user_errors(CardDeclined("No.", decline_code="lost_card"))[0], UserError)
