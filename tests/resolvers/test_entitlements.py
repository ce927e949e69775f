"""What plans grant and what is done about failed renewals, as clients ask for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.invoices import InvoiceStatus
from models.plans import Plan
from models.subscriptions import BillingSubscriptionStatus
from schema.ids import global_id
from services.errors import Forbidden, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_dunning, add_invoice, add_plan, add_subscription

if TYPE_CHECKING:
    from models.invoices import Invoice
    from models.sets import AnyConnection
    from models.subscriptions import BillingSubscription

OWN = "{ viewer { entitlements { feature expiresAt grantedBy { id plan { name } } } } }"
LIST = "query($of: String!) { entitlements(userExternalId: $of) { feature expiresAt grantedBy { id } } }"
ASK = "query($of: String!, $feature: String!) { isEntitled(userExternalId: $of, feature: $feature) }"
DUNNING = """query($id: ID!) { subscription(id: $id) { dunning {
    attempt attemptsLeft nextAttempt endsAt endsAs message needsNewPaymentMethod needsConfirmation invoice { id status }
} } }"""
UNTIL = datetime(2040, 1, 1, tzinfo=UTC)


def shown_as(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


@pytest.fixture
async def subscription(connection: AnyConnection, market: Market) -> BillingSubscription:
    price = await add_plan(connection)
    await Plan.filter(id=price.plan_id).update(features=["priority", "lounge"])
    return await add_subscription(connection, market.guest, price, entitled_until=UNTIL)


@pytest.fixture
async def invoice(connection: AnyConnection, subscription: BillingSubscription) -> Invoice:
    return await add_invoice(connection, subscription, attempt_count=1)


async def test_guests_see_what_their_plans_grant(api: Api, market: Market, subscription: BillingSubscription) -> None:
    id_ = global_id("BillingSubscription", subscription.id)
    granted = {"expiresAt": "2040-01-01T00:00:00Z", "grantedBy": {"id": id_, "plan": {"name": "Premium"}}}
    viewer = (await api.data(OWN, user(market.guest.external_id)))["viewer"]
    assert viewer["entitlements"] == [{"feature": "lounge", **granted}, {"feature": "priority", **granted}]
    assert (await api.data(OWN, user(market.stranger.external_id)))["viewer"]["entitlements"] == []


@pytest.mark.parametrize("viewer", [SERVICE, ADMIN])
async def test_a_platform_s_backend_asks_for_anybody_in_one_statement(
    api: Api, market: Market, subscription: BillingSubscription, viewer: Any
) -> None:
    of = market.guest.external_id
    api.statements.clear()
    assert await api.data(ASK, viewer, of=of, feature="priority") == {"isEntitled": True}
    assert len(api.statements) == 1
    assert await api.data(ASK, viewer, of=of, feature="helicopter") == {"isEntitled": False}
    assert await api.data(ASK, viewer, of="nobody", feature="priority") == {"isEntitled": False}
    assert await api.data(ASK, viewer, of="", feature="") == {"isEntitled": False}
    listed = (await api.data(LIST, viewer, of=of))["entitlements"]
    assert [entry["feature"] for entry in listed] == ["lounge", "priority"]
    assert await api.data(LIST, viewer, of="nobody") == {"entitlements": []}


async def test_what_others_have_is_the_platform_s_to_ask(
    api: Api, market: Market, subscription: BillingSubscription
) -> None:
    of = market.guest.external_id
    for query, given in ((ASK, {"feature": "priority"}), (LIST, {})):
        assert isinstance(await api.refusal(query, user(market.stranger.external_id), of=of, **given), Forbidden)
        assert isinstance(await api.refusal(query, None, of=of, **given), Unauthenticated)
    assert isinstance(await api.refusal(ASK, user(of), of=of, feature="priority"), Forbidden)


async def test_a_failed_renewal_says_what_to_do(
    api: Api, market: Market, connection: AnyConnection, subscription: BillingSubscription, invoice: Invoice
) -> None:
    dunning = await add_dunning(connection, invoice, retries=1)
    id_ = global_id("BillingSubscription", subscription.id)
    shown = {
        "attempt": 2, "attemptsLeft": 3, "nextAttempt": shown_as(dunning.next_attempt_at),
        "endsAt": shown_as(dunning.ends_at), "endsAs": "CANCEL",
        "message": "There is not enough money on the card.", "needsNewPaymentMethod": False,
        "needsConfirmation": False, "invoice": {"id": global_id("Invoice", invoice.id), "status": "OPEN"},
    }  # fmt: skip
    for viewer in (user(market.guest.external_id), SERVICE, ADMIN):
        assert await api.data(DUNNING, viewer, id=id_) == {"subscription": {"dunning": shown}}
    assert await api.data(DUNNING, user(market.stranger.external_id), id=id_) == {"subscription": None}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"retryable": False, "next_attempt_at": None}, {"needsNewPaymentMethod": True, "nextAttempt": None}),
        (
            {"retryable": False, "next_attempt_at": None, "failure_code": "authentication_required"},
            {"needsNewPaymentMethod": False, "needsConfirmation": True},
        ),
        ({"retries": 4, "next_attempt_at": None}, {"attempt": 5, "attemptsLeft": 0, "nextAttempt": None}),
        (
            {"by_stripe": True, "ends_at": None, "retries": 2},
            {"attempt": 3, "attemptsLeft": None, "endsAt": None, "endsAs": None},
        ),
        (
            {"status": "EXHAUSTED", "ended_as": "unpaid", "retries": 4, "next_attempt_at": None},
            {"attemptsLeft": 0, "endsAs": "UNPAID"},
        ),
        ({"status": "RECOVERED", "next_attempt_at": None}, None),
        ({"status": "CLOSED", "next_attempt_at": None}, None),
        ({"status": "EXHAUSTED", "ended_as": "pause", "next_attempt_at": None}, None),
    ],
)
async def test_what_comes_next_follows_from_where_it_stands(
    api: Api, connection: AnyConnection, subscription: BillingSubscription, invoice: Invoice, values: dict[str, Any],
    expected: dict[str, Any] | None,
) -> None:  # fmt: skip
    await add_dunning(connection, invoice, **values)
    id_ = global_id("BillingSubscription", subscription.id)
    shown = (await api.data(DUNNING, SERVICE, id=id_))["subscription"]["dunning"]
    assert shown is expected if expected is None else expected.items() <= shown.items()


async def test_of_several_the_one_that_ends_first_is_shown_and_none_of_what_has_ended(
    api: Api, connection: AnyConnection, subscription: BillingSubscription, invoice: Invoice
) -> None:
    now = datetime.now(UTC)
    await add_dunning(connection, invoice, ends_at=now + timedelta(days=20))
    older = await add_invoice(connection, subscription, status=InvoiceStatus.OPEN)
    await add_dunning(connection, older, ends_at=now + timedelta(days=3))
    id_ = global_id("BillingSubscription", subscription.id)
    shown = (await api.data(DUNNING, SERVICE, id=id_))["subscription"]["dunning"]
    assert shown["invoice"]["id"] == global_id("Invoice", older.id)
    subscription.status = BillingSubscriptionStatus.CANCELED
    await subscription.save(update_fields=["status"])
    assert (await api.data(DUNNING, SERVICE, id=id_))["subscription"]["dunning"] is None


async def test_the_dunning_of_many_subscriptions_is_one_statement(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    for _ in range(5):
        row = await add_subscription(connection, market.guest, await add_plan(connection))
        await add_dunning(connection, await add_invoice(connection, row))
    query = "{ viewer { subscriptions(first: 5) { edges { node { dunning { attempt } } } } } }"
    api.statements.clear()
    edges = (await api.data(query, user(market.guest.external_id)))["viewer"]["subscriptions"]["edges"]
    assert [edge["node"]["dunning"] for edge in edges] == [{"attempt": 1}] * 5
    assert sum("FROM dunnings" in statement for statement in api.statements) == 1
