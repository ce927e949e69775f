"""Calling activities off, as clients have it: who may, who sees what of it, and how it is followed."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from models.activity_cancellations import ActivityCancellation, ActivityCancellationItem
from models.events import Event, EventSubject
from schema.ids import global_id
from services.activity_cancellation.progress import note_progress
from services.errors import Forbidden, NotFound, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.resolvers.test_subscriptions import after_next, refusal, subscribe
from tests.support.rows import add_activity, add_payment, add_refund, add_rsvp

if TYPE_CHECKING:
    from models.sets import AnyConnection
    from services.viewer import Viewer

CANCEL = """mutation($input: CancelActivityInput!) { cancelActivity(input: $input) {
    cancellation { id status version reason total done failed finishedAt activity { canceledAt seatsTaken } }
    errors { __typename code message path }
} }"""
RETRY = """mutation($input: RetryActivityCancellationInput!) { retryActivityCancellation(input: $input) {
    cancellation { status total done failed } errors { __typename code message path ... on InvalidState { state } }
} }"""
ACTIVITY = """query($id: ID!) { activity(id: $id) { canceledAt cancellation {
    id status total done failed refunded { amount currency }
    failures: items(outcome: FAILED) { edges { node { error payment { id } refund { id } } } }
    items(first: 1) { edges { node { outcome attempts } } pageInfo { hasNextPage endCursor } }
} } }"""
NODE = "query($id: ID!) { node(id: $id) { id ... on ActivityCancellation { total } } }"
PREVIEW = "query($id: ID!) { activityCancellationPreview(activityId: $id) { paymentsToRefund } }"
FOLLOW = """subscription($id: ID!, $after: String) { activityCancellationChanged(activityId: $id, after: $after) {
    cursor previousStatus status total done failed occurredAt cancellation { id version done }
} }"""


def ids(market: Market) -> str:
    return global_id("Activity", market.activity.id)


async def cancel(api: Api, market: Market, viewer: Viewer = SERVICE) -> Any:
    payload = (await api.data(CANCEL, viewer, input={"activityId": ids(market), "reason": "Storm"}))["cancelActivity"]
    assert payload["errors"] == []
    return payload["cancellation"]


async def end_items(connection: AnyConnection, outcome: str, **values: Any) -> None:
    """As the job does it."""
    await connection.execute(
        "UPDATE activity_cancellation_items SET outcome = $1, error = $2, refund_id = $3 WHERE outcome = 'PENDING'",
        outcome, values.get("error"), values.get("refund_id"),
    )  # fmt: skip


async def test_the_platform_cancels_once_and_gets_the_same_answer_again(api: Api, market: Market) -> None:
    first = await cancel(api, market)
    assert (first["status"], first["total"], first["done"], first["reason"]) == ("RUNNING", 1, 0, "Storm")
    assert first["activity"]["canceledAt"] is not None
    assert first["activity"]["seatsTaken"] == 0
    assert await cancel(api, market, ADMIN) == first
    assert await ActivityCancellation.all().count() == 1
    events = await Event.filter(subject_type=EventSubject.ACTIVITY_CANCELLATION)
    assert [(event.previous_status, event.status) for event in events] == [(None, "RUNNING")]


@pytest.mark.parametrize("document", [CANCEL, RETRY], ids=["cancel", "retry"])
async def test_users_may_never_and_unknown_ids_are_not_found(api: Api, market: Market, document: str) -> None:
    for viewer, id_, kind in (
        (user("henriette"), ids(market), "Forbidden"), (user("gustav"), ids(market), "Forbidden"),
        (SERVICE, global_id("Payment", market.activity.id), "NotFound"), (SERVICE, "nonsense", "NotFound"),
        (SERVICE, global_id("Activity", market.payment.id), "NotFound"),
    ):  # fmt: skip
        [payload] = (await api.data(document, viewer, input={"activityId": id_})).values()
        [error] = payload["errors"]
        assert error["__typename"] == kind
        assert payload["cancellation"] is None
    assert await ActivityCancellation.all().count() == 0
    assert isinstance(await api.refusal(document, None, input={"activityId": ids(market)}), Unauthenticated)


async def test_what_is_not_canceled_cannot_be_tried_again(api: Api, market: Market) -> None:
    payload = (await api.data(RETRY, SERVICE, input={"activityId": ids(market)}))["retryActivityCancellation"]
    assert [error["state"] for error in payload["errors"]] == ["NOT_CANCELED"]


async def test_host_and_platform_see_how_far_it_is_and_guests_that_it_is_off(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    assert (await api.data(ACTIVITY, SERVICE, id=ids(market)))["activity"] == {"canceledAt": None, "cancellation": None}
    other = await add_rsvp(connection, market.activity, market.stranger)
    unpaid = await add_payment(
        connection, market.stranger, host_id=market.host.id, activity_id=market.activity.id, rsvp_id=other.id
    )
    begun = await cancel(api, market)
    refund = await add_refund(connection, market.payment, status="SUCCEEDED")
    await connection.execute(
        "UPDATE activity_cancellation_items SET outcome = 'REFUNDED', refund_id = $2 WHERE payment_id = $1",
        market.payment.id, refund.id,
    )  # fmt: skip
    await end_items(connection, "FAILED", error="The bank said no.")
    for viewer in (user("henriette"), SERVICE, ADMIN):
        shown = (await api.data(ACTIVITY, viewer, id=ids(market)))["activity"]["cancellation"]
        assert shown["id"] == begun["id"]
        assert shown["refunded"] == [{"amount": f"{refund.amount.amount}", "currency": "USD"}]
        [failure] = [edge["node"] for edge in shown["failures"]["edges"]]
        assert failure == {
            "error": "The bank said no.", "payment": {"id": global_id("Payment", unpaid.id)}, "refund": None,
        }  # fmt: skip
        assert shown["items"]["pageInfo"]["hasNextPage"]
        assert (await api.data(NODE, viewer, id=begun["id"]))["node"] == {"id": begun["id"], "total": 2}
    for viewer in (user("gustav"), user("stella"), user("nobody")):
        shown = (await api.data(ACTIVITY, viewer, id=ids(market)))["activity"]
        assert shown["canceledAt"] is not None
        assert shown["cancellation"] is None
        assert (await api.data(NODE, viewer, id=begun["id"]))["node"] is None


async def test_cancellations_of_many_activities_cost_a_fixed_number_of_statements(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    query = """{ payments(first: 50) { edges { node { activity { cancellation {
        refunded { amount } items(first: 5) { edges { node { payment { id } } } }
    } } } } } }"""
    counts = []
    for _ in range(2):
        for _ in range(3):
            activity = await add_activity(connection, market.host)
            await add_payment(connection, market.guest, host_id=market.host.id, activity_id=activity.id)
            await api.data(CANCEL, SERVICE, input={"activityId": global_id("Activity", activity.id)})
        api.statements.clear()
        await api.data(query, SERVICE)
        counts.append(len(api.statements))
    assert counts[0] == counts[1], api.statements


async def test_the_preview_is_for_the_platform(api: Api, market: Market) -> None:
    for viewer in (user("henriette"), user("gustav")):
        assert isinstance(await api.refusal(PREVIEW, viewer, id=ids(market)), Forbidden)
    assert isinstance(await api.refusal(PREVIEW, SERVICE, id="nonsense"), NotFound)


async def test_it_is_followed_from_before_its_beginning_and_resumed_by_cursor(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    async with aclosing(await subscribe(api, FOLLOW, user("henriette"), id=ids(market))) as stream:
        begun = await cancel(api, market)
        first = await after_next(stream)
        assert (first["previousStatus"], first["status"], first["total"], first["done"]) == (None, "RUNNING", 1, 0)
        await end_items(connection, "FAILED", error="No.")
        id_ = (await ActivityCancellation.get(activity_id=market.activity.id)).id
        await note_progress(api.services, id_, actor="test")
        second = await after_next(stream)
        assert (second["status"], second["done"], second["failed"]) == ("FINISHED", 1, 1)
        assert second["cancellation"] == {"id": begun["id"], "version": 2, "done": 1}
        assert (await note_progress(api.services, id_, actor="test")).version == 2  # nothing has changed
    await api.data(RETRY, SERVICE, input={"activityId": ids(market)})
    async with aclosing(await subscribe(api, FOLLOW, SERVICE, id=ids(market), after=first["cursor"])) as stream:
        assert await after_next(stream) == second | {"cancellation": second["cancellation"] | {"version": 3, "done": 0}}
        third = await after_next(stream)
        assert (third["previousStatus"], third["status"], third["done"]) == ("FINISHED", "RUNNING", 0)
    assert await ActivityCancellationItem.filter(outcome="PENDING").count() == 1
    for viewer in (user("gustav"), user("stella")):
        assert isinstance(await refusal(api, FOLLOW, viewer, id=ids(market)), NotFound)
