from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from schema.ids import global_id
from services.errors import InvalidInput, NotFound, Unauthenticated
from services.viewer import Role, Viewer
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_activity, add_allocation, add_payment, add_refund, add_rsvp, add_user

if TYPE_CHECKING:
    from models.sets import AnyConnection

IDS = """query($filter: PaymentFilter, $first: Int, $after: String, $last: Int, $before: String) {
    payments(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount
    }
}"""


def nodes(data: Any) -> list[str]:
    return [edge["node"]["id"] for edge in data["payments"]["edges"]]


async def test_a_payment_says_everything_about_itself(api: Api, market: Market, connection: AnyConnection) -> None:
    await add_allocation(connection, market.payment, market.host, reversed_minor=900)
    refund = await add_refund(connection, market.payment)
    data = await api.data(
        """query($id: ID!) { payment(id: $id) {
            status version captureBefore stripePaymentIntentId clientSecret failure { code } nextAction { type }
            amount { amount currency minorUnits formatted } refundedAmount { amount } refundableAmount { amount }
            platformFee { amount } hostAmount { amount } capturedAmount { amount }
            payer { externalId } activity { title host { externalId } price { amount } }
            rsvp { status payment { id } user { name } }
            paymentMethod { id stripePaymentMethodId brand last4 expMonth expYear isDefault }
            refunds { edges { node { id amount { amount } payment { id } status } } pageInfo { hasNextPage } }
            splits { host { externalId } amount { amount } transferred reversedAmount { amount } }
            movements { account } createdAt
        } }""",
        user("gustav"),
        id=global_id("Payment", market.payment.id),
    )
    payment = data["payment"]
    assert payment.pop("createdAt").endswith("Z")
    assert payment == {
        "status": "SUCCEEDED", "version": 1, "captureBefore": None,
        "stripePaymentIntentId": market.payment.stripe_payment_intent_id, "clientSecret": "pi_secret_of_the_guest",
        "failure": None, "nextAction": None,
        "amount": {"amount": "20.00", "currency": "USD", "minorUnits": 2000, "formatted": "$20.00"},
        "refundedAmount": {"amount": "0.00"}, "refundableAmount": {"amount": "20.00"},
        "platformFee": {"amount": "2.00"},
        "hostAmount": {"amount": "18.00"}, "capturedAmount": {"amount": "20.00"}, "payer": {"externalId": "gustav"},
        "activity": {"title": "Wine tasting", "host": {"externalId": "henriette"}, "price": {"amount": "20.00"}},
        "rsvp": {
            "status": "CONFIRMED", "payment": {"id": global_id("Payment", market.payment.id)},
            "user": {"name": "Gustav"},
        },
        "paymentMethod": {
            "id": global_id("PaymentMethod", market.payment.id), "stripePaymentMethodId": "pm_1", "brand": "visa",
            "last4": "4242", "expMonth": 4, "expYear": 2031, "isDefault": False,
        },
        "refunds": {
            "edges": [{"node": {
                "id": global_id("Refund", refund.id), "amount": {"amount": "10.00"}, "status": "PENDING",
                "payment": {"id": global_id("Payment", market.payment.id)},
            }}],
            "pageInfo": {"hasNextPage": False},
        },
        "splits": [{
            "host": {"externalId": "henriette"}, "amount": {"amount": "18.00"}, "transferred": True,
            "reversedAmount": {"amount": "9.00"},
        }],
        "movements": [],
    }  # fmt: skip


async def test_the_client_secret_and_the_redirect_are_for_the_payer_alone(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    await connection.execute(
        """UPDATE payments SET next_action = '{"type": "redirect_to_url", "redirect_url": "https://example.com/3ds"}'"""
    )
    query = "query($id: ID!) { payment(id: $id) { clientSecret nextAction { type redirectUrl } } }"
    id_ = global_id("Payment", market.payment.id)
    guest = (await api.data(query, user("gustav"), id=id_))["payment"]
    assert guest["clientSecret"] == "pi_secret_of_the_guest"
    assert guest["nextAction"] == {"type": "redirect_to_url", "redirectUrl": "https://example.com/3ds"}
    for other in (user("henriette"), SERVICE, ADMIN):
        seen = (await api.data(query, other, id=id_))["payment"]
        assert seen == {"clientSecret": None, "nextAction": {"type": "redirect_to_url", "redirectUrl": None}}


async def test_a_token_of_another_role_does_not_become_the_payer_by_its_name(api: Api, market: Market) -> None:
    query = "query($id: ID!) { payment(id: $id) { clientSecret } }"
    for role in (Role.SERVICE, Role.ADMIN):
        data = await api.data(query, Viewer(role, "gustav"), id=global_id("Payment", market.payment.id))
        assert data == {"payment": {"clientSecret": None}}


async def test_each_sees_the_payments_that_are_theirs(api: Api, market: Market, connection: AnyConnection) -> None:
    other = await add_payment(connection, market.stranger)
    as_guest = await add_payment(connection, market.host)
    everything = [global_id("Payment", row.id) for row in (as_guest, other, market.payment)]
    for viewer, seen in (
        (user("gustav"), everything[2:]), (user("henriette"), [everything[0], everything[2]]),
        (user("stella"), everything[1:2]), (user("nobody"), []), (SERVICE, everything), (ADMIN, everything),
    ):  # fmt: skip
        data = await api.data(IDS, viewer)
        assert nodes(data) == seen
        assert data["payments"]["totalCount"] == len(seen)
    assert isinstance(await api.refusal(IDS, None), Unauthenticated)


async def test_the_viewer_lists_what_it_pays_and_not_what_it_is_paid(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    as_guest = await add_payment(connection, market.host)
    data = await api.data("{ viewer { payments { edges { node { id } } totalCount } } }", user("henriette"))
    assert nodes(data["viewer"]) == [global_id("Payment", as_guest.id)]
    assert data["viewer"]["payments"]["totalCount"] == 1


async def test_pages_go_forwards_and_backwards_without_a_gap(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    for _ in range(6):
        await add_payment(connection, market.guest)
    everything = nodes(await api.data(IDS, user("gustav")))
    assert len(everything) == 7

    def page(data: Any) -> tuple[Any, ...]:
        info = data["payments"]["pageInfo"]
        return nodes(data), info["hasPreviousPage"], info["hasNextPage"], info["startCursor"], info["endCursor"]

    first, before, after, start, end = page(await api.data(IDS, user("gustav"), first=3))
    assert (first, before, after) == (everything[:3], False, True)
    second, before, after, start, end = page(await api.data(IDS, user("gustav"), first=3, after=end))
    assert (second, before, after) == (everything[3:6], True, True)
    third, before, after, _, _ = page(await api.data(IDS, user("gustav"), first=3, after=end))
    assert (third, before, after) == (everything[6:], True, False)
    back, before, after, _, _ = page(await api.data(IDS, user("gustav"), last=2, before=start))
    assert (back, before, after) == (everything[1:3], True, True)
    tail, before, after, _, _ = page(await api.data(IDS, user("gustav"), last=2))
    assert (tail, before, after) == (everything[5:], True, False)
    none, before, after, start, end = page(await api.data(IDS, user("gustav"), first=0))
    assert (none, before, after, start, end) == ([], False, True, None, None)


NO_PAGES: list[dict[str, Any]] = [
    {"first": 101}, {"first": -1}, {"last": 101}, {"last": -1}, {"first": 1, "last": 1}, {"after": "nonsense"},
    {"after": ""}, {"before": "ä"}, {"after": "A" * 22 + "="}, {"before": "00000000-0000-0000-0000-000000000000"},
]  # fmt: skip


async def test_pages_that_cannot_be_are_refused_by_name(api: Api, market: Market) -> None:
    for arguments in NO_PAGES:
        refusal = await api.refusal(IDS, user("gustav"), **arguments)
        assert isinstance(refusal, InvalidInput)
        assert refusal.path is not None
        assert refusal.path[0] in arguments


async def test_payments_are_filtered(api: Api, market: Market, connection: AnyConnection) -> None:
    activity = await add_activity(connection, market.host)
    failed = await add_payment(connection, market.guest, status="FAILED", activity_id=activity.id)
    now = datetime.now(UTC)
    made, undone = global_id("Payment", market.payment.id), global_id("Payment", failed.id)
    for wanted, found in (
        ({"status": ["FAILED"]}, [undone]), ({"status": ["FAILED", "SUCCEEDED"]}, [undone, made]), ({"status": []}, []),
        ({"activityId": global_id("Activity", activity.id)}, [undone]),
        ({"payerId": global_id("User", market.guest.id)}, [undone, made]),
        ({"payerId": global_id("User", market.host.id)}, []), ({"payerId": global_id("Activity", market.guest.id)}, []),
        ({"createdFrom": (now - timedelta(hours=1)).isoformat()}, [undone, made]),
        ({"createdTo": (now - timedelta(hours=1)).isoformat()}, []),
        ({"status": ["SUCCEEDED"], "activityId": global_id("Activity", activity.id)}, []), ({}, [undone, made]),
    ):  # fmt: skip
        for viewer in (user("gustav"), SERVICE):
            data = await api.data(IDS, viewer, filter=wanted)
            assert nodes(data) == found, wanted
            assert data["payments"]["totalCount"] == len(found)


async def test_they_are_counted_only_where_it_is_asked_for(api: Api, market: Market) -> None:
    query = "{ payments { edges { node { id } } } }"
    await api.data(query, user("gustav"))
    api.statements.clear()
    await api.data(query, user("gustav"))
    assert not [sql for sql in api.statements if "count(" in sql]


async def test_a_list_of_100_payments_costs_a_fixed_number_of_statements(api: Api, connection: AnyConnection) -> None:
    host = await add_user(connection, external_id="henriette")
    for _ in range(100):
        guest = await add_user(connection)
        activity = await add_activity(connection, host)
        rsvp = await add_rsvp(connection, activity, guest)
        payment = await add_payment(
            connection, guest, host_id=host.id, activity_id=activity.id, rsvp_id=rsvp.id, captured=True,
            client_secret="secret",
        )  # fmt: skip
        await add_refund(connection, payment)
        await add_allocation(connection, payment, host)
    query = """query($first: Int) { payments(first: $first) { totalCount edges { node {
        id clientSecret amount { formatted } payer { name } activity { title host { name } }
        rsvp { status user { name } activity { title } payment { id } }
        refunds(first: 5) { edges { node { status payment { id } } } } splits { host { name } amount { amount } }
        movements { account } history(first: 3) { edges { node { status } } }
    } } } }"""
    for first in (100, 5, 100):
        api.statements.clear()
        data = await api.data(query, user("henriette"), first=first)
        assert len(data["payments"]["edges"]) == first
        # One a kind of row; people are asked for three times, as payers, as hosts and as guests, which may meet.
        assert len(api.statements) <= 18, api.statements


async def test_refunds_of_a_payment_come_in_pages(api: Api, market: Market, connection: AnyConnection) -> None:
    made = [await add_refund(connection, market.payment) for _ in range(3)]
    query = """query($id: ID!, $first: Int, $after: String) { payment(id: $id) {
        refunds(first: $first, after: $after) { edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage } }
    } }"""
    id_ = global_id("Payment", market.payment.id)
    page = (await api.data(query, user("gustav"), id=id_, first=2))["payment"]["refunds"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [global_id("Refund", row.id) for row in made[:0:-1]]
    assert page["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False}
    after = page["edges"][1]["cursor"]
    page = (await api.data(query, user("gustav"), id=id_, first=2, after=after))["payment"]["refunds"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [global_id("Refund", made[0].id)]
    assert page["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": True}
    result = await api.execute(query, user("gustav"), id=id_, first=1000)
    assert result.errors is not None
    assert isinstance(result.errors[0].original_error, InvalidInput)


async def test_the_fee_preview_says_who_would_get_what(api: Api, market: Market) -> None:
    query = """query($id: ID!, $quantity: Int! = 1, $currency: CurrencyCode) {
        feePreview(activityId: $id, quantity: $quantity, currency: $currency) {
            amount { amount } platformFee { amount } hostAmount { amount }
        }
    }"""
    id_ = global_id("Activity", market.activity.id)
    data = await api.data(query, user("stella"), id=id_, quantity=3, currency="USD")
    assert data["feePreview"] == {
        "amount": {"amount": "60.00"}, "platformFee": {"amount": "6.00"}, "hostAmount": {"amount": "54.00"}
    }
    for arguments, refusal, where in (
        ({"quantity": 0}, InvalidInput, "quantity"), ({"quantity": 10**9}, InvalidInput, "quantity"),
        ({"currency": "EUR"}, InvalidInput, "currency"),
    ):  # fmt: skip
        error = await api.refusal(query, user("stella"), id=id_, **arguments)
        assert isinstance(error, refusal)
        assert error.path == [where]
    assert isinstance(await api.refusal(query, user("stella"), id="nonsense"), NotFound)
    assert isinstance(await api.refusal(query, None, id=id_), Unauthenticated)


async def test_the_refund_preview_says_who_would_pay(api: Api, market: Market) -> None:
    query = """query($id: ID!, $amount: MoneyInput) { refundPreview(paymentId: $id, amount: $amount) {
        guestReceives { amount } hostPays { amount } platformPays { amount }
    } }"""
    id_ = global_id("Payment", market.payment.id)
    data = await api.data(query, user("henriette"), id=id_, amount={"amount": "5", "currency": "USD"})
    assert data["refundPreview"] == {
        "guestReceives": {"amount": "5.00"}, "hostPays": {"amount": "4.50"}, "platformPays": {"amount": "0.50"}
    }
    assert isinstance(await api.refusal(query, user("stella"), id=id_), NotFound)
    error = await api.refusal(query, user("gustav"), id=id_, amount={"amount": "0.005", "currency": "USD"})
    assert isinstance(error, InvalidInput)
    assert error.path == ["amount"]
