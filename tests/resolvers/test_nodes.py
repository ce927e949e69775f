from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from models.refunds import Refund
from schema.ids import global_id
from services.errors import InvalidInput, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_refund

if TYPE_CHECKING:
    from models.sets import AnyConnection

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


def ids_of(market: Market, refund: Refund) -> dict[str, UUID]:
    return {
        "Activity": market.activity.id, "Rsvp": market.rsvp.id, "Payment": market.payment.id,
        "PaymentMethod": market.payment.id, "Refund": refund.id, "User": market.guest.id,
    }  # fmt: skip


async def test_a_guest_and_a_host_find_what_is_theirs_by_its_id(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    refund = await add_refund(connection, market.payment)
    for viewer in (user("gustav"), user("henriette"), SERVICE, ADMIN):
        for kind, id_ in ids_of(market, refund).items():
            known = global_id(kind, id_)
            data = await api.data(NODE, viewer, id=known)
            assert data == {"node": {"__typename": kind, "id": known}}


async def test_what_one_may_not_see_is_null_as_if_it_were_not_there(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    refund = await add_refund(connection, market.payment)
    for kind, id_ in ids_of(market, refund).items():
        data = await api.data(NODE, user("stella"), id=global_id(kind, id_))
        assert (data["node"] is not None) == (kind == "Activity"), kind
    assert await api.data(NODE, user("nobody"), id=global_id("User", market.guest.id)) == {"node": None}


async def test_a_host_is_known_to_everyone_and_a_guest_to_the_host_alone(api: Api, market: Market) -> None:
    host, guest = global_id("User", market.host.id), global_id("User", market.guest.id)
    assert (await api.data(NODE, user("stella"), id=host))["node"] is not None
    assert (await api.data(NODE, user("henriette"), id=guest))["node"] is not None
    assert (await api.data(NODE, user("stella"), id=guest))["node"] is None


NO_IDS: list[str] = [
    "", "x", "%%%", "Payment:1", b64encode(b"Payment").decode(), b64encode(b"Payment:").decode(),
    b64encode(b"Payment:not-a-uuid").decode(), b64encode(b"Nothing:" + str(uuid4()).encode()).decode(),
    b64encode(b"Payment:" + uuid4().hex.encode()).decode(), b64encode(b"\xff\xfe:1").decode(), "ä" * 10,
    b64encode(b"Query:" + str(uuid4()).encode()).decode(), "\x00", "A" * 10_000, str(uuid4()), "1' OR '1'='1",
]  # fmt: skip


async def test_a_malformed_id_is_null_never_an_error(api: Api, market: Market) -> None:
    for text in NO_IDS:
        query = """query($id: ID!) {
            node(id: $id) { id } nodes(ids: [$id]) { id } payment(id: $id) { id } activity(id: $id) { id }
            payments(filter: {activityId: $id}) { edges { cursor } totalCount }
        }"""
        data = await api.data(query, SERVICE, id=text)
        assert data == {
            "node": None, "nodes": [None], "payment": None, "activity": None,
            "payments": {"edges": [], "totalCount": 0},
        }  # fmt: skip


async def test_an_id_of_one_type_is_none_of_another(api: Api, market: Market) -> None:
    query = "query($id: ID!) { payment(id: $id) { id } }"
    data = await api.data(query, SERVICE, id=global_id("Rsvp", market.payment.id))
    assert data == {"payment": None}


async def test_nodes_come_in_the_order_of_their_ids_with_nulls_between(api: Api, market: Market) -> None:
    ids = [global_id("Payment", market.payment.id), "nonsense", global_id("User", market.host.id)]
    data = await api.data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", user("gustav"), ids=ids)
    assert data == {"nodes": [{"id": ids[0]}, None, {"id": ids[2]}]}


async def test_at_most_100_nodes_are_found_at_once_and_each_kind_costs_one_statement(api: Api, market: Market) -> None:
    ids = [global_id("Payment", market.payment.id), *(global_id("Payment", uuid4()) for _ in range(99))]
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    await api.data(query, user("gustav"), ids=ids)
    api.statements.clear()
    await api.data(query, user("gustav"), ids=ids)
    assert len(api.statements) == 1
    assert isinstance(await api.refusal(query, user("gustav"), ids=[*ids, ids[0]]), InvalidInput)


async def test_without_a_token_nothing_is_found(api: Api, market: Market) -> None:
    payment = global_id("Payment", market.payment.id)
    assert isinstance(await api.refusal(NODE, None, id=payment), Unauthenticated)
    query = "query($id: ID!) { payment(id: $id) { id } }"
    result = await api.execute(query, None, id=payment)
    assert result.data == {"payment": None}
    assert result.errors is not None
    assert isinstance(result.errors[0].original_error, Unauthenticated)
    assert await api.data("{ viewer { user { id } } }", None) == {"viewer": None}


async def test_audit_entries_and_webhook_events_are_for_admins(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    entry, event = uuid4(), uuid4()
    await connection.execute(
        "INSERT INTO audit_entries (id, actor, action, subject_type, subject_id) VALUES ($1, 'job', 'x', 'USER', $1)",
        entry,
    )
    await connection.execute(
        """INSERT INTO webhook_events (id, stripe_event_id, account, stripe_created_at, type, payload)
        VALUES ($1, 'evt_1', '', now(), 'ping', '{}')""",
        event,
    )
    for kind, id_ in (("AuditEntry", entry), ("WebhookEvent", event)):
        for viewer, seen in ((ADMIN, True), (SERVICE, False), (user("gustav"), False)):
            data = await api.data(NODE, viewer, id=global_id(kind, id_))
            assert (data["node"] is not None) is seen
