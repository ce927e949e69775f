"""What an administrator is shown of other people stands in the audit trail before the answer is given."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import pytest

from models.events import EventSubject
from models.payments import Payment
from models.sets import update_rows
from resolvers.admin_reads import FIELDS_OF_NOBODY, TYPES_OF_NOBODY, AdminReads
from resolvers.transport.execution import Caller, Execution
from resolvers.transport.parameters import Parameters
from schema.audit import subject_name, subject_type
from schema.context import new_context
from schema.ids import global_id
from services.audit.reads import ARGUMENTS_MAX, StoreEntries
from services.batching import Batcher
from services.changes import ChangeSet
from services.viewer import Role, Viewer
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_payment, add_plan

if TYPE_CHECKING:
    import asyncpg

    from services.core import Services

    Connection = asyncpg.Connection[Any]


class Door:
    """The schema behind its transport, where reads are watched."""

    def __init__(self, api: Api, services: Services) -> None:
        self.execution = Execution(
            api.schema, services.settings,
            lambda viewer, accept_language: new_context(services, viewer, accept_language=accept_language),
            AdminReads(services),
        )  # fmt: skip

    async def ask(self, query: str, viewer: Viewer | None = ADMIN, **variables: Any) -> dict[str, Any]:
        """The whole answer."""
        parameters = Parameters(query, variables=variables)
        return await self.execution.execute(self.execution.prepare(parameters), parameters, Caller(viewer, None))


@pytest.fixture
def door(api: Api) -> Door:
    return Door(api, api.services)


async def reads(connection: Connection) -> list[dict[str, Any]]:
    """The entries, with what they say."""
    records = await connection.fetch("SELECT * FROM audit_entries WHERE action = 'admin.read' ORDER BY position, id")
    return [{**record, "after": orjson.loads(record["after"])} for record in records]


async def the_read(connection: Connection) -> dict[str, Any]:
    [entry] = await reads(connection)
    return entry


LIST = """query Overview($first: Int, $filter: PaymentFilter) {
    payments(first: $first, filter: $filter) { edges { node { amount { amount } payer { name } } } } }"""


async def test_a_list_is_recorded_by_its_page_and_by_what_was_on_it(
    door: Door, market: Market, connection: Connection
) -> None:
    answer = await door.ask(LIST, first=10, filter={"status": ["SUCCEEDED"]})
    assert len(answer["data"]["payments"]["edges"]) == 1
    entry = await the_read(connection)
    assert entry["actor"] == "admin:operator"
    assert (entry["subject_type"], entry["subject_id"]) == ("READ", entry["id"])
    assert entry["before"] is None
    assert entry["after"] == {
        "operation": "query",
        "name": "Overview",
        "fields": [{"field": "payments", "arguments": {"first": 10, "filter": {"status": ["SUCCEEDED"]}}}],
        "seen": {
            "Payment": {"count": 1, "ids": [str(market.payment.id)]},
            "User": {"count": 1, "ids": [str(market.guest.id)]},
        },
    }


async def test_the_log_of_one_thing_shows_who_looked_at_it(door: Door, market: Market, connection: Connection) -> None:
    id_ = global_id("Payment", market.payment.id)
    await door.ask("query($id: ID!) { payment(id: $id) { status activity { host { email } } } }", id=id_)
    entry = await the_read(connection)
    assert (entry["subject_type"], entry["subject_id"]) == ("PAYMENT", market.payment.id)
    assert entry["after"]["seen"]["User"]["ids"] == [str(market.host.id)]
    assert "Activity" not in entry["after"]["seen"]
    log = "query($id: ID!) { auditLog(subject: $id) { edges { node { actor action subject } } } }"
    [found] = (await door.ask(log, id=id_))["data"]["auditLog"]["edges"]
    assert found["node"] == {"actor": "admin:operator", "action": "admin.read", "subject": id_}
    [_, of_the_log] = await reads(connection)
    assert of_the_log["after"]["seen"] == {"AuditEntry": {"count": 1, "ids": [str(entry["id"])]}}


async def test_any_way_to_a_thing_is_recorded(door: Door, market: Market, connection: Connection) -> None:
    payment, guest = global_id("Payment", market.payment.id), global_id("User", market.guest.id)
    await door.ask("query($id: ID!) { node(id: $id) { id } }", id=payment)
    await door.ask("query($ids: [ID!]!) { nodes(ids: $ids) { __typename } }", ids=[payment, guest])
    activity = global_id("Activity", market.activity.id)
    await door.ask("query($id: ID!) { activity(id: $id) { host { name } } }", id=activity)
    one, several, by_way_of = [entry["after"]["seen"] for entry in await reads(connection)]
    assert one == {"Payment": {"count": 1, "ids": [str(market.payment.id)]}}
    assert several == {**one, "User": {"count": 1, "ids": [str(market.guest.id)]}}
    assert by_way_of == {"User": {"count": 1, "ids": [str(market.host.id)]}}


async def test_what_has_no_id_is_recorded_by_what_was_asked(door: Door, market: Market, connection: Connection) -> None:
    await door.ask('{ isEntitled(userExternalId: "gustav", feature: "lounge") }')
    entry = await the_read(connection)
    asked = {"field": "isEntitled", "arguments": {"userExternalId": "gustav", "feature": "lounge"}}
    assert entry["after"]["fields"] == [asked]
    assert entry["after"]["seen"] == {}


async def test_what_is_nobody_s_is_not(door: Door, market: Market, connection: Connection) -> None:
    await add_plan(connection)
    id_ = global_id("Activity", market.activity.id)
    for query in (
        "query($id: ID!) { activity(id: $id) { title seatsTaken } node(id: $id) { id } }",
        "query($id: ID!) { feePreview(activityId: $id) { platformFee { amount } } plans { id name } }",
        "query($id: ID!) { node(id: $id) { __typename } __schema { queryType { name } } __typename }",
    ):
        answer = await door.ask(query, id=id_)
        assert "errors" not in answer, answer
    assert await reads(connection) == []


async def test_what_is_not_there_or_was_refused_is_not(door: Door, market: Market, connection: Connection) -> None:
    await door.ask("query($id: ID!) { payment(id: $id) { id } node(id: $id) { id } }", id=global_id("Payment", uuid4()))
    await door.ask("{ payments(first: 101) { edges { node { id } } } }")
    assert await reads(connection) == []


async def test_an_admin_s_own_person_is_not(door: Door, market: Market, connection: Connection) -> None:
    own = Viewer(Role.ADMIN, "gustav")
    answer = await door.ask("{ viewer { user { email } } }", own)
    assert answer["data"]["viewer"]["user"]["email"] == "gustav@example.com"
    assert await reads(connection) == []
    await door.ask("{ viewer { payments { edges { node { activity { host { email } } } } } } }", own)
    assert (await the_read(connection))["after"]["seen"]["User"]["ids"] == [str(market.host.id)]


async def test_others_reads_are_not(door: Door, market: Market, connection: Connection) -> None:
    for viewer in (user("gustav"), user("henriette"), SERVICE, None):
        await door.ask(LIST, viewer)
        await door.ask("query($id: ID!) { node(id: $id) { id } }", viewer, id=global_id("User", market.guest.id))
    assert await reads(connection) == []


async def test_a_long_list_is_counted_whole_and_named_in_part(
    door: Door, market: Market, connection: Connection
) -> None:
    for _ in range(120):
        await add_payment(connection, market.guest)
    query = """{ newest: payments(first: 100) { edges { node { id } } }
        oldest: payments(last: 100) { edges { node { id } } } }"""
    await door.ask(query)
    said = (await the_read(connection))["after"]
    assert said["seen"]["Payment"]["count"] == 121
    assert len(said["seen"]["Payment"]["ids"]) == 100
    assert [field["arguments"] for field in said["fields"]] == [{"first": 100}, {"last": 100}]


async def test_arguments_are_kept_within_bounds(door: Door, connection: Connection) -> None:
    query = "query($who: ID!) { payments(filter: { payerId: $who }) { edges { cursor } } }"
    for who in ("gus\0tav", "x" * 5000):
        assert (await door.ask(query, who=who))["data"] == {"payments": {"edges": []}}
    short, long = [entry["after"]["fields"][0]["arguments"] for entry in await reads(connection)]
    assert short == {"filter": {"payerId": "gustav"}}
    assert isinstance(long, str)
    assert len(long) == ARGUMENTS_MAX


async def test_a_mutation_s_answer_is_a_read_without_its_arguments(
    door: Door, market: Market, connection: Connection
) -> None:
    mutation = """mutation($input: UpsertUserInput!) { upsertUser(input: $input) { user { email } errors { code } } }"""
    person = {"externalId": "gustav", "email": "new@example.com", "name": "Gustav"}
    answer = await door.ask(mutation, input=person)
    assert answer["data"]["upsertUser"] == {"user": {"email": "new@example.com"}, "errors": []}
    said = (await the_read(connection))["after"]
    assert said["operation"] == "mutation"
    assert said["fields"] == [{"field": "upsertUser", "arguments": {}}]
    assert said["seen"] == {"User": {"count": 1, "ids": [str(market.guest.id)]}}
    await door.ask(mutation, input={**person, "email": ""})  # refused, with nothing shown
    assert len(await reads(connection)) == 1


async def test_each_event_of_a_subscription_is_an_answer(
    api: Api, door: Door, market: Market, connection: Connection
) -> None:
    parameters = Parameters(
        "subscription($id: ID!) { paymentStatusChanged(paymentId: $id) { status payment { id payer { name } } } }",
        variables={"id": global_id("Payment", market.payment.id)},
    )
    operation = door.execution.prepare(parameters)
    answers = await door.execution.subscribe(operation, parameters, Caller(ADMIN, None))
    assert await reads(connection) == []
    async with aclosing(answers), asyncio.timeout(10):
        for count in (1, 2):
            await change(api, connection, market.payment)
            assert (await anext(answers))["data"]["paymentStatusChanged"]["payment"]["payer"] == {"name": "Gustav"}
            entries = await reads(connection)
            assert len(entries) == count
            assert entries[-1]["after"]["seen"]["Payment"]["ids"] == [str(market.payment.id)]


async def change(api: Api, connection: Connection, payment: Payment) -> None:
    async with connection.transaction():
        changes = ChangeSet("stripe", await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        status = payment.status.value
        changes.record(
            EventSubject.PAYMENT, payment, "payment.changed", previous_status=status, status=status, before={}, after={}
        )
        await update_rows(connection, Payment, [payment], ("version", "position"))
        await changes.write(connection)
    api.services.live.wake()


@pytest.fixture
async def unable(api: Api) -> Any:
    """A door where entries cannot be written."""

    async def connect() -> Any:
        raise OSError("the database is away")

    batcher = Batcher("admin_reads", connect, StoreEntries(), lanes=1, batch_max=10)
    yield Door(api, replace(api.services, admin_reads=batcher))
    await batcher.close()


async def test_what_cannot_be_recorded_is_not_answered(unable: Door, market: Market, connection: Connection) -> None:
    answer = await unable.ask(LIST)
    assert answer["data"] is None
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
    assert "Gustav" not in str(answer)
    nobody_s = "query($id: ID!) { activity(id: $id) { title } }"
    answer = await unable.ask(nobody_s, id=global_id("Activity", market.activity.id))
    assert answer["data"]["activity"]["title"] == "Wine tasting"
    assert (await unable.ask(LIST, SERVICE))["data"]["payments"]["edges"] != []


async def test_a_subscription_that_cannot_be_recorded_ends(
    api: Api, unable: Door, market: Market, connection: Connection
) -> None:
    parameters = Parameters(
        "subscription($id: ID!) { paymentStatusChanged(paymentId: $id) { status } }",
        variables={"id": global_id("Payment", market.payment.id)},
    )
    operation = unable.execution.prepare(parameters)
    answers = await unable.execution.subscribe(operation, parameters, Caller(ADMIN, None))
    await change(api, connection, market.payment)
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionError):
            await anext(answers)


async def test_answers_to_many_admins_at_once_are_each_recorded(
    door: Door, market: Market, connection: Connection
) -> None:
    viewers = [Viewer(Role.ADMIN, f"operator-{number}") for number in range(25)]
    await asyncio.gather(*(door.ask(LIST, viewer) for viewer in viewers))
    entries = await reads(connection)
    assert sorted(entry["actor"] for entry in entries) == sorted(viewer.caller for viewer in viewers)
    assert len({entry["position"] for entry in entries}) < 25, "some shared a transaction"


def test_what_is_listed_as_nobody_s_is_in_the_schema(api: Api) -> None:
    schema = api.schema._schema
    assert schema.query_type is not None
    assert set(schema.query_type.fields) >= FIELDS_OF_NOBODY
    assert set(schema.type_map) >= TYPES_OF_NOBODY


def test_types_have_one_name_in_entries_and_back(api: Api) -> None:
    node: Any = api.schema._schema.type_map["Node"]
    nodes = [kind.name for kind in api.schema._schema.get_possible_types(node)]
    assert {"BillingSubscription", "ConnectAccount", "Rsvp"} <= set(nodes)
    assert [subject_type(subject_name(name)) for name in nodes] == nodes
    assert subject_name("ConnectAccount") == "CONNECT_ACCOUNT"
