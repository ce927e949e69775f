from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from models.sets import insert_rows
from models.webhook_events import WebhookEvent, WebhookEventStatus
from schema.ids import global_id
from services.errors import Forbidden, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, user

if TYPE_CHECKING:
    from models.sets import AnyConnection

EVENTS = """query($status: WebhookEventStatus, $first: Int, $after: String) {
    webhookEvents(status: $status, first: $first, after: $after) {
        edges { cursor node { id stripeEventId type account status attempts lastError processedAt } }
        pageInfo { hasNextPage }
    }
}"""
REPLAY = """mutation($input: ReplayWebhookEventInput!) { replayWebhookEvent(input: $input) {
    webhookEvent { id status attempts lastError } errors { __typename path }
} }"""


async def add_event(
    connection: AnyConnection, name: str, status: WebhookEventStatus = WebhookEventStatus.PROCESSED, account: str = ""
) -> WebhookEvent:
    event = WebhookEvent(
        stripe_event_id=name, account=account, stripe_created_at=datetime.now(UTC), type="payment_intent.succeeded",
        payload={}, status=status, attempts=8, last_error="It broke." if status is WebhookEventStatus.FAILED else None,
    )  # fmt: skip
    await insert_rows(connection, WebhookEvent, [event])
    return event


async def test_admins_see_what_stripe_sent_and_what_became_of_it(api: Api, connection: AnyConnection) -> None:
    await add_event(connection, "evt_1")
    failed = await add_event(connection, "evt_2", WebhookEventStatus.FAILED, "acct_1")
    page = (await api.data(EVENTS, ADMIN, first=1))["webhookEvents"]
    assert page["pageInfo"]["hasNextPage"] is True
    assert page["edges"][0]["node"] == {
        "id": global_id("WebhookEvent", failed.id), "stripeEventId": "evt_2", "type": "payment_intent.succeeded",
        "account": "acct_1", "status": "FAILED", "attempts": 8, "lastError": "It broke.", "processedAt": None,
    }  # fmt: skip
    page = (await api.data(EVENTS, ADMIN, first=1, after=page["edges"][0]["cursor"]))["webhookEvents"]
    assert [(edge["node"]["stripeEventId"], edge["node"]["account"]) for edge in page["edges"]] == [("evt_1", None)]
    page = (await api.data(EVENTS, ADMIN, status="FAILED"))["webhookEvents"]
    assert [edge["node"]["stripeEventId"] for edge in page["edges"]] == ["evt_2"]


async def test_others_do_not(api: Api, connection: AnyConnection) -> None:
    for viewer in (user("gustav"), SERVICE):
        assert isinstance(await api.refusal(EVENTS, viewer), Forbidden)
    assert isinstance(await api.refusal(EVENTS, None), Unauthenticated)


async def test_an_admin_has_an_event_handled_again(api: Api, connection: AnyConnection) -> None:
    event = await add_event(connection, "evt_1", WebhookEventStatus.FAILED)
    id_ = global_id("WebhookEvent", event.id)
    for viewer in (user("gustav"), SERVICE):
        refused = (await api.data(REPLAY, viewer, input={"webhookEventId": id_}))["replayWebhookEvent"]
        assert [error["__typename"] for error in refused["errors"]] == ["Forbidden"]
    assert await connection.fetchval("SELECT status FROM webhook_events") == "FAILED"
    for unknown in ("nonsense", global_id("WebhookEvent", uuid4()), global_id("Payment", event.id)):
        refused = (await api.data(REPLAY, ADMIN, input={"webhookEventId": unknown}))["replayWebhookEvent"]
        assert refused["errors"] == [{"__typename": "NotFound", "path": ["input", "webhookEventId"]}]
    replayed = (await api.data(REPLAY, ADMIN, input={"webhookEventId": id_}))["replayWebhookEvent"]
    assert replayed == {
        "webhookEvent": {"id": id_, "status": "RECEIVED", "attempts": 0, "lastError": None}, "errors": []
    }  # fmt: skip
