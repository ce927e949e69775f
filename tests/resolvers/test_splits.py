"""Several hosts of a payment, and hosts who are paid after the activity, as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from schema.ids import global_id
from tests.resolvers.conftest import ADMIN, SERVICE, Api, user
from tests.support.hosts import Hosts

if TYPE_CHECKING:
    import strawberry

    from models.users import User
    from tests.support.shop import Shop

SPLITS = """splits { host { externalId } amount { amount } transferred transferredAmount { amount }
    reversedAmount { amount } owedAmount { amount } held releaseAt }"""
PAY = """mutation($input: PayForActivityInput!) { payForActivity(input: $input) {
    payment { id } errors { __typename code message path }
} }"""
PAYMENT = f"query($id: ID!) {{ payment(id: $id) {{ id refunds {{ edges {{ node {{ id }} }} }} {SPLITS} }} }}"
UPSERT = """mutation($input: UpsertActivityInput!) { upsertActivity(input: $input) {
    activity { id startsAt endsAt payoutTiming } errors { __typename code message path }
} }"""


@pytest.fixture
def hosts(shop: Shop) -> Hosts:
    return Hosts(shop)


@pytest.fixture
def api(shop: Shop, schema: strawberry.Schema) -> Api:
    return Api(schema, shop.services)


async def paid(api: Api, shop: Shop, *splits: tuple[User, str], **values: Any) -> Any:
    given = {
        "activityId": global_id("Activity", shop.activity.id), "paymentMethod": "pm_card_visa",
        "idempotencyKey": uuid4().hex, **values,
    }  # fmt: skip
    if splits:
        given["splits"] = [{"hostExternalId": host.external_id, "share": share} for host, share in splits]
    answer = (await api.data(PAY, user(shop.guest.external_id), input=given))["payForActivity"]
    assert answer["errors"] == []
    return (await api.data(PAYMENT, SERVICE, id=answer["payment"]["id"]))["payment"]


def split(host: User, amount: str, **values: Any) -> dict[str, Any]:
    """A part that was sent."""
    nothing = {"amount": "0.00"}
    return {
        "host": {"externalId": host.external_id}, "amount": {"amount": amount}, "transferred": True,
        "transferredAmount": {"amount": amount}, "reversedAmount": nothing, "owedAmount": nothing, "held": None,
        "releaseAt": None, **values,
    }  # fmt: skip


async def test_a_payment_shows_who_got_what_of_it_and_why_the_rest_waits(api: Api, shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    payment = await paid(api, shop, (shop.host, "0.25"), (unready, "0.75"))
    waits = {
        "transferred": False, "transferredAmount": {"amount": "0.00"}, "owedAmount": {"amount": "13.50"},
        "held": "HOST_NOT_READY",
    }  # fmt: skip
    assert payment["splits"] == [split(shop.host, "4.50"), split(unready, "13.50", **waits)]
    await hosts.onboard(unready)
    await hosts.work()
    seen = (await api.data(PAYMENT, SERVICE, id=payment["id"]))["payment"]
    assert seen["splits"] == [split(shop.host, "4.50"), split(unready, "13.50")]


async def test_what_waits_and_what_is_owed_only_that_host_and_the_platform_see(
    api: Api, shop: Shop, hosts: Hosts
) -> None:
    unready = await hosts.add(ready=False)
    payment = await paid(api, shop, (shop.host, "0.25"), (unready, "0.75"))
    hidden: dict[str, Any] = {"transferredAmount": None, "owedAmount": None, "held": None, "releaseAt": None}
    theirs, others = payment["splits"]
    for viewer, seen in (
        (user(shop.guest.external_id), [{**theirs, **hidden}, {**others, **hidden}]),
        (user(shop.host.external_id), [theirs, {**others, **hidden}]),
        (user(unready.external_id), [{**theirs, **hidden}, others]),
        (ADMIN, [theirs, others]),
    ):
        assert (await api.data(PAYMENT, viewer, id=payment["id"]))["payment"]["splits"] == seen


async def test_a_plain_payment_has_one_part(api: Api, shop: Shop) -> None:
    payment = await paid(api, shop)
    assert payment["splits"] == [split(shop.host, "18.00")]


async def test_a_payment_that_is_not_made_holds_nothing(api: Api, shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await paid(api, shop, (other, "1"), captureLater=True)
    nothing = {"transferred": False, "transferredAmount": {"amount": "0.00"}}
    assert payment["splits"] == [split(other, "18.00", **nothing)]


async def test_everybody_who_has_a_part_sees_the_payment_and_nobody_else(api: Api, shop: Shop, hosts: Hosts) -> None:
    other, stranger = await hosts.add(), await hosts.add()
    payment = await paid(api, shop, (shop.host, "0.5"), (other, "0.5"))
    own = await paid(api, shop, (shop.host, "1"))
    for viewer in (user(shop.guest.external_id), user(shop.host.external_id), SERVICE, ADMIN):
        assert (await api.data(PAYMENT, viewer, id=payment["id"]))["payment"]["id"] == payment["id"]
        listed = (await api.data("{ payments { totalCount edges { node { id } } } }", viewer))["payments"]
        assert listed["totalCount"] == 2
        assert [edge["node"]["id"] for edge in listed["edges"]] == [own["id"], payment["id"]]
    theirs = user(other.external_id)
    assert (await api.data(PAYMENT, theirs, id=payment["id"]))["payment"]["id"] == payment["id"]
    listed = (await api.data("{ payments { totalCount edges { node { id } } } }", theirs))["payments"]
    assert listed == {"totalCount": 1, "edges": [{"node": {"id": payment["id"]}}]}
    nobody = user(stranger.external_id)
    assert (await api.data(PAYMENT, nobody, id=payment["id"]))["payment"] is None
    assert (await api.data("{ payments { totalCount } }", nobody))["payments"]["totalCount"] == 0


async def test_an_activity_that_pays_its_host_later_says_when(api: Api, shop: Shop, hosts: Hosts) -> None:
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    given = {
        "externalId": "later", "title": "Later", "hostExternalId": shop.host.external_id,
        "price": {"amount": "20.00", "currency": "USD"}, "startsAt": starts.isoformat(),
        "endsAt": (starts + timedelta(hours=2)).isoformat(), "payoutTiming": "AFTER_ACTIVITY",
    }  # fmt: skip
    answer = (await api.data(UPSERT, SERVICE, input=given))["upsertActivity"]
    assert answer["errors"] == []
    activity = answer["activity"]
    assert datetime.fromisoformat(activity["endsAt"]) == starts + timedelta(hours=2)
    payment = await paid(api, shop, activityId=activity["id"])
    (part,) = payment["splits"]
    assert (part["held"], part["transferred"], part["owedAmount"]["amount"]) == ("ACTIVITY_NOT_OVER", False, "18.00")
    assert datetime.fromisoformat(part["releaseAt"]) == starts + timedelta(hours=26)
    await hosts.work(hours=51)
    seen = (await api.data(PAYMENT, user(shop.host.external_id), id=payment["id"]))["payment"]
    assert seen["splits"] == [split(shop.host, "18.00")]


async def test_what_was_taken_back_before_it_was_sent_counts_as_reversed(api: Api, shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    payment = await paid(api, shop, (shop.host, "0.5"), (unready, "0.5"))
    refund = """mutation($input: RefundPaymentInput!) { refundPayment(input: $input) {
        refund { status } errors { message }
    } }"""
    given = {"paymentId": payment["id"], "amount": {"amount": "10.00", "currency": "USD"}, "idempotencyKey": "half"}
    answer = (await api.data(refund, user(shop.host.external_id), input=given))["refundPayment"]
    assert answer["errors"] == []
    seen = (await api.data(PAYMENT, SERVICE, id=payment["id"]))["payment"]
    half = {"reversedAmount": {"amount": "4.50"}}
    waits = {
        "transferred": False, "transferredAmount": {"amount": "0.00"}, "owedAmount": {"amount": "4.50"},
        "held": "HOST_NOT_READY",
    }  # fmt: skip
    assert seen["splits"] == [split(shop.host, "9.00", **half), split(unready, "9.00", **half, **waits)]
