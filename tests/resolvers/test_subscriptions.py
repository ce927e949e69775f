from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import graphql
import pytest

from models.events import EventSubject
from models.payments import Payment, PaymentStatus
from models.sets import update_rows
from schema.ids import global_id
from services.changes import ChangeSet
from services.errors import InvalidInput, NotFound, StaleCursor, Unauthenticated
from services.payments.history import record_change, snapshot
from services.viewer import Viewer
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_account, add_payment

if TYPE_CHECKING:
    from models.sets import AnyConnection

ONE = """subscription($id: ID!, $after: String) { paymentStatusChanged(paymentId: $id, after: $after) {
    cursor previousStatus status occurredAt payment { id status version refundableAmount { amount } payer { name } }
} }"""
OF_ACTIVITY = """subscription($id: ID!) { activityPaymentStatusChanged(activityId: $id) { status payment { id } } }"""
OF_VIEWER = "subscription { viewerPaymentStatusChanged { status payment { id } } }"


async def change(
    api: Api, connection: AnyConnection, payment: Payment, status: str | None = None, **values: Any
) -> None:
    """Change a payment as the services do, with its event, and tell of it."""
    async with connection.transaction():
        xid = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        before = snapshot(payment)
        payment.status = PaymentStatus(status or payment.status)
        for name, value in values.items():
            setattr(payment, name, value)
        changes = ChangeSet("stripe", xid)
        record_change(changes, payment, "payment.changed", before)
        names = ("status", "version", "position", "captured_minor", "refund_pending_minor", "refunded_minor")
        await update_rows(connection, Payment, [payment], names)
        await changes.write(connection)
    api.services.live.wake()


async def subscribe(api: Api, document: str, viewer: Viewer | None, **variables: Any) -> Any:
    """As the transport does it: what is refused is known at once, and the stream runs from here on."""
    stream = graphql.subscribe(
        api.schema._schema, graphql.parse(document), variable_values=variables, context_value=api.context(viewer)
    )
    return await stream if inspect.isawaitable(stream) else stream


async def after_next(stream: Any) -> Any:
    async with asyncio.timeout(10):
        result = await anext(stream)
    assert result.errors is None, result.errors
    [data] = result.data.values()
    return data


async def refusal(api: Api, document: str, viewer: Viewer | None, **variables: Any) -> Any:
    """Why a subscription ends before its first event."""
    [error] = (await subscribe(api, document, viewer, **variables)).errors
    return error.original_error


@pytest.fixture
async def unpaid(connection: AnyConnection, market: Market) -> Payment:
    return await add_payment(connection, market.guest, host_id=market.host.id, activity_id=market.activity.id)


async def test_each_change_of_a_payment_is_told_with_the_payment_as_it_is_then(
    api: Api, market: Market, connection: AnyConnection, unpaid: Payment
) -> None:
    async with aclosing(await subscribe(api, ONE, user("gustav"), id=global_id("Payment", unpaid.id))) as stream:
        await change(api, connection, unpaid, "PROCESSING")
        first = await after_next(stream)
        assert (first["previousStatus"], first["status"]) == ("PENDING", "PROCESSING")
        assert first["payment"]["status"] == "PROCESSING"
        await change(api, connection, unpaid, "SUCCEEDED", captured_minor=2000)
        second = await after_next(stream)
        assert (second["previousStatus"], second["status"]) == ("PROCESSING", "SUCCEEDED")
        assert second["payment"] == {
            "id": global_id("Payment", unpaid.id), "status": "SUCCEEDED", "version": 3,
            "refundableAmount": {"amount": "20.00"}, "payer": {"name": "Gustav"},
        }  # fmt: skip
        await change(api, connection, unpaid, refund_pending_minor=500)
        third = await after_next(stream)
        assert (third["previousStatus"], third["status"]) == ("SUCCEEDED", "SUCCEEDED")
        assert third["payment"]["refundableAmount"] == {"amount": "15.00"}


async def test_history_lists_the_same_rows_as_the_subscription_carries(
    api: Api, market: Market, connection: AnyConnection, unpaid: Payment
) -> None:
    for status, values in (("PROCESSING", {}), ("SUCCEEDED", {"captured_minor": 2000})):
        await change(api, connection, unpaid, status, **values)
    id_ = global_id("Payment", unpaid.id)
    query = """query($id: ID!, $first: Int, $after: String) { payment(id: $id) { history(first: $first, after: $after) {
        edges { cursor node { cursor previousStatus status occurredAt } } pageInfo { hasNextPage hasPreviousPage }
    } } }"""
    page = (await api.data(query, user("gustav"), id=id_))["payment"]["history"]
    assert [edge["node"]["status"] for edge in page["edges"]] == ["PROCESSING", "SUCCEEDED"]
    assert all(edge["cursor"] == edge["node"]["cursor"] for edge in page["edges"])
    assert page["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": False}
    first = page["edges"][0]["cursor"]
    rest = (await api.data(query, user("gustav"), id=id_, first=1, after=first))["payment"]["history"]
    assert rest["edges"] == page["edges"][1:]
    async with aclosing(await subscribe(api, ONE, user("henriette"), id=id_, after=first)) as stream:
        told = await after_next(stream)
    assert {name: told[name] for name in page["edges"][1]["node"]} == page["edges"][1]["node"]
    result = await api.execute(query, user("gustav"), id=id_, after="nonsense")
    assert result.errors is not None
    assert isinstance(result.errors[0].original_error, InvalidInput)


async def test_a_payment_that_one_may_not_see_cannot_be_followed(api: Api, market: Market, unpaid: Payment) -> None:
    for viewer, id_ in (
        (user("stella"), global_id("Payment", unpaid.id)), (user("gustav"), global_id("Payment", uuid4())),
        (user("gustav"), "nonsense"), (ADMIN, global_id("Activity", unpaid.id)),
    ):  # fmt: skip
        assert isinstance(await refusal(api, ONE, viewer, id=id_), NotFound)
    assert isinstance(await refusal(api, ONE, None, id=global_id("Payment", unpaid.id)), Unauthenticated)
    assert api.services.live.subscribers == 0


async def test_payments_of_an_activity_are_followed_by_its_host_and_the_platform(
    api: Api, market: Market, connection: AnyConnection, unpaid: Payment
) -> None:
    id_ = global_id("Activity", market.activity.id)
    for viewer in (user("gustav"), user("stella")):
        assert isinstance(await refusal(api, OF_ACTIVITY, viewer, id=id_), NotFound)
    assert isinstance(await refusal(api, OF_ACTIVITY, SERVICE, id=global_id("Activity", uuid4())), NotFound)
    assert isinstance(await refusal(api, OF_ACTIVITY, None, id=id_), Unauthenticated)
    streams = [await subscribe(api, OF_ACTIVITY, viewer, id=id_) for viewer in (user("henriette"), SERVICE)]
    await change(api, connection, unpaid, "PROCESSING")
    for stream in streams:
        assert await after_next(stream) == {"status": "PROCESSING", "payment": {"id": global_id("Payment", unpaid.id)}}
        await stream.aclose()


async def test_the_viewer_follows_what_it_pays_and_what_it_is_paid(
    api: Api, market: Market, connection: AnyConnection, unpaid: Payment
) -> None:
    own = await add_payment(connection, market.host)
    other = await add_payment(connection, market.stranger)
    stream = await subscribe(api, OF_VIEWER, user("henriette"))
    for payment in (other, unpaid, own):
        await change(api, connection, payment, "PROCESSING")
    assert [(await after_next(stream))["payment"]["id"] for _ in range(2)] == [
        global_id("Payment", unpaid.id), global_id("Payment", own.id)
    ]  # fmt: skip
    await stream.aclose()
    assert isinstance(await refusal(api, OF_VIEWER, user("nobody")), NotFound)
    assert isinstance(await refusal(api, OF_VIEWER, None), Unauthenticated)


async def test_what_changes_between_subscribing_and_the_first_step_is_not_missed(
    api: Api, market: Market, connection: AnyConnection, unpaid: Payment
) -> None:
    stream = await subscribe(api, ONE, user("gustav"), id=global_id("Payment", unpaid.id))
    await change(api, connection, unpaid, "PROCESSING")
    assert (await after_next(stream))["status"] == "PROCESSING"
    await stream.aclose()


NO_CURSORS: list[tuple[str, type[Exception]]] = [("nonsense", InvalidInput), ("", InvalidInput)]  # fmt: skip


async def test_a_cursor_that_is_none_is_refused(api: Api, market: Market, unpaid: Payment) -> None:
    for cursor, kind in NO_CURSORS:
        stream = await subscribe(api, ONE, user("gustav"), id=global_id("Payment", unpaid.id), after=cursor)
        with pytest.raises(kind):
            await anext(stream)


async def test_a_cursor_from_before_a_restore_is_stale(
    api: Api, market: Market, connection: AnyConnection, unpaid: Payment
) -> None:
    await change(api, connection, unpaid, "PROCESSING")
    stream = await subscribe(api, ONE, SERVICE, id=global_id("Payment", unpaid.id), after=None)
    await change(api, connection, unpaid, "FAILED")
    cursor = (await after_next(stream))["cursor"]
    await stream.aclose()
    await connection.execute("INSERT INTO stream_epochs (id, epoch) VALUES ($1, 2)", uuid4())
    stream = await subscribe(api, ONE, SERVICE, id=global_id("Payment", unpaid.id), after=cursor)
    with pytest.raises(StaleCursor):
        await anext(stream)


async def test_a_host_follows_its_own_account(api: Api, market: Market, connection: AnyConnection) -> None:
    document = """subscription { connectAccountChanged { cursor occurredAt account {
        stripeAccountId chargesEnabled requirements { field urgency } user { name } } } }"""
    account = await add_account(connection, market.stranger)
    stream = await subscribe(api, document, user("stella"))
    async with connection.transaction():
        xid = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        changes = ChangeSet("stripe", xid)
        changes.record(
            EventSubject.CONNECT_ACCOUNT, account, "connect_account.updated", previous_status="READY",
            status="RESTRICTED", before={}, after={}, host_id=market.stranger.id,
        )  # fmt: skip
        await connection.execute(
            """UPDATE connect_accounts SET capabilities = '{"transfers": "inactive"}', version = 2, requirements =
            '[{"field": "external_account", "urgency": "PAST_DUE", "error": null, "deadline": null}]' WHERE id = $1""",
            account.id,
        )
        await changes.write(connection)
    api.services.live.wake()
    told = await after_next(stream)
    await stream.aclose()
    assert told["account"] == {
        "stripeAccountId": account.stripe_account_id, "chargesEnabled": False, "user": {"name": "Stella"},
        "requirements": [{"field": "external_account", "urgency": "PAST_DUE"}],
    }  # fmt: skip
    assert isinstance(await refusal(api, document, user("nobody")), NotFound)
    assert isinstance(await refusal(api, document, None), Unauthenticated)
