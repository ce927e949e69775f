"""A payment's history: the rows of its live updates, with their cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from models.events import EventSubject
from services.errors import InvalidInput, StaleCursor
from services.event_stream import begin_epoch
from services.history import histories
from tests.services.test_live import committed, live_updates, of, take, versions
from tests.support.rows import add_payment, add_user

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from models.payments import Payment
    from models.users import User
    from services.core import Services
    from services.database import Database
    from services.event_stream import LiveChange
    from services.pages import Page


class OnlyADatabase:
    """As much of the services as a list needs."""

    def __init__(self, database: Database) -> None:
        self.database = database


@pytest.fixture
def services(database: Database) -> Services:
    return cast("Services", OnlyADatabase(database))


@pytest.fixture
async def payer(connection: asyncpg.Connection[Any]) -> User:
    return await add_user(connection)


@pytest.fixture
async def payment(connection: asyncpg.Connection[Any], payer: User) -> Payment:
    payment = await add_payment(connection, payer)
    await committed(connection, payment.id, 5)
    return payment


async def payment_history(services: Services, id_: UUID, *, first: int | None, after: str | None) -> Page[LiveChange]:
    return (await histories(services, EventSubject.PAYMENT, [id_], first=first, after=after))[id_]


async def test_it_is_paged_oldest_first_and_its_cursors_are_those_of_live_updates(
    services: Services, database: Database, payment: Payment
) -> None:
    page = await payment_history(services, payment.id, first=2, after=None)
    assert (versions(list(page.items)), page.has_next, page.has_previous) == ([2, 3], True, False)
    rest = await payment_history(services, payment.id, first=None, after=page.items[-1].cursor)
    assert (versions(list(rest.items)), rest.has_next, rest.has_previous) == ([4, 5, 6], False, True)
    async with live_updates(database) as live:
        changes = live.follow(of(payment), page.items[0].cursor)
        followed = await take(changes, 4)
        await changes.aclose()
    assert [item.cursor for item in followed] == [item.cursor for item in [*page.items[1:], *rest.items]]


async def test_many_histories_come_in_one_statement_each_with_its_own_page(
    services: Services, connection: asyncpg.Connection[Any], payer: User, payment: Payment
) -> None:
    other, untouched = await add_payment(connection, payer), await add_payment(connection, payer)
    await committed(connection, other.id, 2)
    pages = await histories(services, EventSubject.PAYMENT, [other.id, untouched.id, payment.id], first=3, after=None)
    assert {id_: versions(list(page.items)) for id_, page in pages.items()} == {
        payment.id: [2, 3, 4], other.id: [2, 3], untouched.id: [],
    }  # fmt: skip
    assert pages[payment.id].has_next
    assert not pages[other.id].has_next


async def test_a_page_of_a_wrong_size_or_after_no_cursor_is_refused(services: Services, payment: Payment) -> None:
    for first in (-1, 101):
        with pytest.raises(InvalidInput) as refusal:
            await payment_history(services, payment.id, first=first, after=None)
        assert refusal.value.path == ["first"]
    with pytest.raises(InvalidInput):
        await payment_history(services, payment.id, first=1, after="x")


async def test_after_a_restore_old_cursors_are_stale_and_the_history_is_whole(
    services: Services, connection: asyncpg.Connection[Any], payment: Payment
) -> None:
    page = await payment_history(services, payment.id, first=1, after=None)
    await begin_epoch(connection)
    with pytest.raises(StaleCursor):
        await payment_history(services, payment.id, first=1, after=page.items[0].cursor)
    await committed(connection, payment.id)
    whole = await payment_history(services, payment.id, first=None, after=None)
    assert versions(list(whole.items)) == [2, 3, 4, 5, 6, 7]
    rest = await payment_history(services, payment.id, first=None, after=whole.items[2].cursor)
    assert versions(list(rest.items)) == [5, 6, 7]
