from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import pytest

from schema.ids import global_id
from services.errors import Unauthenticated
from services.operations import Intent
from services.viewer import Viewer
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_activity, add_payment, add_user

if TYPE_CHECKING:
    from models.sets import AnyConnection

ERRORS = "errors { __typename code message path }"

PAY = f"""mutation($input: PayForActivityInput!) {{ payForActivity(input: $input) {{
    payment {{ id status clientSecret }} {ERRORS} errors {{ ... on SoldOut {{ seatsLeft }}
    ... on PriceChanged {{ price {{ amount currency }} }} ... on HostNotReady {{ requirements }} }}
}} }}"""
UPSERT_USER = f"""mutation($input: UpsertUserInput!) {{ upsertUser(input: $input) {{
    user {{ id externalId locale }} {ERRORS}
}} }}"""
UPSERT_ACTIVITY = f"""mutation($input: UpsertActivityInput!) {{ upsertActivity(input: $input) {{
    activity {{ id title capacity price {{ amount }} host {{ externalId }} startsAt payoutTiming }} {ERRORS}
}} }}"""
MONEY = """SELECT (SELECT count(*) FROM payments), (SELECT count(*) FROM operations), (SELECT count(*) FROM rsvps),
    (SELECT count(*) FROM refunds), (SELECT count(*) FROM audit_entries), (SELECT sum(seats_taken) FROM activities),
    (SELECT count(*) FROM users), (SELECT count(*) FROM activities)"""


def pay(market: Market, **changes: Any) -> dict[str, Any]:
    return {
        "activityId": global_id("Activity", market.activity.id), "paymentMethod": "pm_card_visa",
        "idempotencyKey": uuid4().hex, **changes,
    }  # fmt: skip


@pytest.fixture
async def nothing_moves(connection: AnyConnection, market: Market) -> AsyncIterator[None]:
    before = await connection.fetchrow(MONEY)
    yield
    assert await connection.fetchrow(MONEY) == before


async def refused(api: Api, mutation: str, viewer: Viewer | None, **input_: Any) -> Any:
    """The one error of a payload that carries nothing else."""
    data = await api.data(mutation, viewer, input=input_)
    [payload] = data.values()
    [error] = payload.pop("errors")
    assert set(payload.values()) <= {None}
    assert error["message"]
    return error


IMPOSSIBLE_PAYMENTS: list[tuple[dict[str, Any], str, list[str] | None]] = [
    ({"activityId": "nonsense"}, "NotFound", ["input", "activityId"]),
    ({"activityId": global_id("Activity", uuid4())}, "NotFound", ["input", "activityId"]),
    ({"activityId": global_id("Payment", uuid4())}, "NotFound", ["input", "activityId"]),
    ({"quantity": 0}, "InvalidInput", ["input", "quantity"]),
    ({"quantity": 10**9}, "InvalidInput", ["input", "quantity"]),
    ({"quantity": -1}, "InvalidInput", ["input", "quantity"]),
    ({"quantity": 11}, "SoldOut", None),
    ({"paymentMethod": "4242424242424242"}, "InvalidInput", ["input", "paymentMethod"]),
    (
        {"splits": [{"hostExternalId": "x", "share": "1"}]}, "InvalidInput",
        ["input", "splits", "0", "hostExternalId"],
    ),
    ({"splits": [{"hostExternalId": "x", "share": "0.9"}]}, "InvalidInput", ["input", "splits"]),
    ({"splits": [{"hostExternalId": "x", "share": "1.1"}]}, "InvalidInput", ["input", "splits", "0", "share"]),
    ({"splits": []}, "InvalidInput", ["input", "splits"]),
    ({"fxQuoteId": "x"}, "InvalidInput", ["input", "fxQuoteId"]),
    ({"expectedAmount": {"amount": "0.001", "currency": "USD"}}, "InvalidInput", ["input", "expectedAmount"]),
    ({"expectedAmount": {"amount": "19.99", "currency": "USD"}}, "PriceChanged", None),
    ({"expectedAmount": {"amount": "20.00", "currency": "EUR"}}, "PriceChanged", None),
    ({"idempotencyKey": ""}, "InvalidInput", ["input", "idempotencyKey"]),
    ({"idempotencyKey": "k" * 300}, "InvalidInput", ["input", "idempotencyKey"]),
    ({"returnUrl": "https://evil.example"}, "InvalidInput", ["input", "returnUrl"]),
]  # fmt: skip


async def test_a_payment_that_cannot_be_is_refused_and_nothing_moves(
    api: Api, market: Market, nothing_moves: None
) -> None:
    for changes, kind, path in IMPOSSIBLE_PAYMENTS:
        error = await refused(api, PAY, user("gustav"), **pay(market, **changes))
        assert error["__typename"] == kind
        if path is not None:
            assert error["path"] == path
        if kind == "SoldOut":
            assert error["seatsLeft"] == 9
        if kind == "PriceChanged":
            assert error["price"] == {"amount": "20.00", "currency": "USD"}


async def test_a_host_without_an_account_is_not_ready_and_nothing_moves(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    activity = await add_activity(connection, market.stranger)
    before = await connection.fetchrow(MONEY)
    error = await refused(api, PAY, user("gustav"), **pay(market, activityId=global_id("Activity", activity.id)))
    assert error["__typename"] == "HostNotReady"
    assert error["requirements"]
    assert await connection.fetchrow(MONEY) == before


async def test_platform_tokens_may_never_pay_and_users_may_never_upsert(
    api: Api, market: Market, nothing_moves: None
) -> None:
    for viewer in (SERVICE, ADMIN):
        assert (await refused(api, PAY, viewer, **pay(market)))["__typename"] == "Forbidden"
    error = await refused(api, UPSERT_USER, user("gustav"), externalId="a", email="a@example.com", name="A")
    assert error["__typename"] == "Forbidden"
    error = await refused(api, UPSERT_ACTIVITY, user("henriette"), **activity())
    assert error["__typename"] == "Forbidden"


ACTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("retryPayment", "RetryPaymentInput", {"paymentMethod": "pm_1"}), ("capturePayment", "CapturePaymentInput", {}),
    ("cancelPayment", "CancelPaymentInput", {}), ("refundPayment", "RefundPaymentInput", {}),
]  # fmt: skip


async def test_payments_of_others_unknown_ones_and_malformed_ids_are_not_found(
    api: Api, market: Market, nothing_moves: None
) -> None:
    for mutation, kind, input_ in ACTIONS:
        document = f"mutation($input: {kind}!) {{ {mutation}(input: $input) {{ {ERRORS} }} }}"
        for id_ in (market.payment.id, uuid4(), None):
            known = "%%%" if id_ is None else global_id("Payment", id_)
            error = await refused(api, document, user("stella"), paymentId=known, idempotencyKey="k", **input_)
            assert (error["__typename"], error["path"]) == ("NotFound", ["input", "paymentId"])


async def test_a_guest_may_not_refund_its_own_payment(api: Api, market: Market, nothing_moves: None) -> None:
    document = f"mutation($input: RefundPaymentInput!) {{ refundPayment(input: $input) {{ {ERRORS} }} }}"
    error = await refused(
        api, document, user("gustav"), paymentId=global_id("Payment", market.payment.id), idempotencyKey="k"
    )
    assert error["__typename"] == "Forbidden"


IMPOSSIBLE_REFUNDS: list[tuple[Any, str, str]] = [
    ("0", "USD", "InvalidInput"), ("-1", "USD", "InvalidInput"), ("1", "EUR", "InvalidInput"),
    ("0.001", "USD", "InvalidInput"), ("20.01", "USD", "RefundExceedsBalance"),
    ("999999999999999999", "USD", "InvalidInput"),
]  # fmt: skip


async def test_refunds_of_amounts_that_cannot_be_are_refused(api: Api, market: Market, nothing_moves: None) -> None:
    for amount, currency, kind in IMPOSSIBLE_REFUNDS:
        document = f"""mutation($input: RefundPaymentInput!) {{ refundPayment(input: $input) {{ refund {{ id }} {ERRORS}
            errors {{ ... on RefundExceedsBalance {{ refundable {{ amount }} }} }} }} }}"""
        error = await refused(
            api, document, user("henriette"), paymentId=global_id("Payment", market.payment.id), idempotencyKey="k",
            amount={"amount": amount, "currency": currency},
        )  # fmt: skip
        assert error["__typename"] == kind
        if kind == "RefundExceedsBalance":
            assert error["refundable"] == {"amount": "20.00"}
        else:
            assert error["path"] == ["input", "amount"]


NO_DECIMALS: list[Any] = [
    "NaN", "Infinity", "1e9", "1E999999999", "", " 1", "1.", ".5", "0x1", "\u0661", 1.5,
    True,
]  # fmt: skip


async def test_amounts_that_are_no_decimals_do_not_reach_a_resolver(
    api: Api, market: Market, nothing_moves: None
) -> None:
    for amount in NO_DECIMALS:
        result = await api.execute(
            PAY, user("gustav"), input=pay(market, expectedAmount={"amount": amount, "currency": "USD"})
        )
        assert result.data is None
        assert "Decimal" in (result.errors or [])[0].message


async def test_without_a_token_a_mutation_is_refused_before_anything_else(
    api: Api, market: Market, nothing_moves: None
) -> None:
    result = await api.execute(PAY, None, input=pay(market, activityId="nonsense", splits=[]))
    assert result.data is None
    assert result.errors is not None
    assert isinstance(result.errors[0].original_error, Unauthenticated)


async def test_a_bug_is_an_exception_and_never_a_payload(api: Api, market: Market, connection: AnyConnection) -> None:
    await connection.execute("ALTER TABLE users RENAME TO people")
    result = await api.execute(UPSERT_USER, SERVICE, input={"externalId": "a", "email": "a@example.com", "name": "A"})
    assert result.data is None
    assert result.errors is not None
    assert result.errors[0].original_error is not None


async def test_a_person_is_created_and_then_updated_by_the_platform(api: Api, connection: AnyConnection) -> None:
    person = {"externalId": "alma", "email": "alma@example.com", "name": "Alma", "country": "AT", "locale": "de-AT"}
    first = (await api.data(UPSERT_USER, SERVICE, input=person))["upsertUser"]
    assert first["errors"] == []
    assert first["user"]["locale"] == "de-AT"
    again = (await api.data(UPSERT_USER, ADMIN, input={**person, "locale": None}))["upsertUser"]
    assert again["user"] == {"id": first["user"]["id"], "externalId": "alma", "locale": None}
    error = await refused(api, UPSERT_USER, SERVICE, **{**person, "email": "nowhere"})
    assert (error["__typename"], error["path"]) == ("InvalidInput", ["input", "email"])


def activity(**changes: Any) -> dict[str, Any]:
    return {
        "externalId": "walk", "title": "A walk", "hostExternalId": "henriette",
        "price": {"amount": "12.50", "currency": "EUR"}, "startsAt": "2030-06-01T20:00:00+02:00", **changes,
    }  # fmt: skip


async def test_an_activity_is_created_by_the_platform(api: Api, market: Market) -> None:
    payload = (await api.data(UPSERT_ACTIVITY, SERVICE, input=activity(capacity=5)))["upsertActivity"]
    assert payload.pop("errors") == []
    assert payload["activity"].pop("id")
    assert payload["activity"] == {
        "title": "A walk", "capacity": 5, "price": {"amount": "12.50"}, "host": {"externalId": "henriette"},
        "startsAt": "2030-06-01T18:00:00Z", "payoutTiming": "IMMEDIATE",
    }  # fmt: skip


IMPOSSIBLE_ACTIVITIES: list[tuple[dict[str, Any], str]] = [
    ({"price": {"amount": "0", "currency": "EUR"}}, "price"),
    ({"price": {"amount": "-5", "currency": "EUR"}}, "price"),
    ({"price": {"amount": "12.505", "currency": "EUR"}}, "price"),
    ({"price": {"amount": "1.5", "currency": "JPY"}}, "price"),
    ({"price": {"amount": "1.005", "currency": "KWD"}}, "price"),
    ({"price": {"amount": "999999999999999999", "currency": "EUR"}}, "price"), ({"capacity": 0}, "capacity"),
    ({"capacity": -1}, "capacity"), ({"title": " "}, "title"), ({"title": "a\x00b"}, "title"),
    ({"hostExternalId": "nobody"}, "hostExternalId"), ({"endsAt": "2020-01-01T00:00:00Z"}, "endsAt"),
]  # fmt: skip


async def test_an_activity_that_cannot_be_is_refused_by_its_field(
    api: Api, market: Market, nothing_moves: None
) -> None:
    for changes, field in IMPOSSIBLE_ACTIVITIES:
        error = await refused(api, UPSERT_ACTIVITY, SERVICE, **activity(**changes))
        assert (error["__typename"], error["path"]) == ("InvalidInput", ["input", field])


NO_TIMES: list[Any] = [
    "2030-06-01", "2030-06-01T18:00:00", "tomorrow", 1, "2030-13-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
]  # fmt: skip


async def test_times_without_an_offset_do_not_reach_a_resolver(api: Api, market: Market, nothing_moves: None) -> None:
    for time in NO_TIMES:
        result = await api.execute(UPSERT_ACTIVITY, SERVICE, input=activity(startsAt=time))
        assert result.data is None
        assert "DateTime" in (result.errors or [])[0].message


async def test_an_rsvp_of_others_is_not_found(api: Api, market: Market, nothing_moves: None) -> None:
    document = f"""mutation($input: CancelRsvpInput!) {{ cancelRsvp(input: $input) {{
        rsvp {{ id }} refund {{ id }} {ERRORS}
    }} }}"""
    for id_ in (global_id("Rsvp", market.rsvp.id), global_id("Rsvp", uuid4()), "nonsense"):
        error = await refused(api, document, user("stella"), rsvpId=id_, idempotencyKey="k")
        assert (error["__typename"], error["path"]) == ("NotFound", ["input", "rsvpId"])


async def test_a_declined_payment_is_answered_with_its_error(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    """The payment and the error come together: here from what an earlier call recorded."""
    guest = await add_user(connection, external_id="dora")
    payment = await add_payment(
        connection, guest, host_id=market.host.id, activity_id=market.activity.id, status="FAILED",
        failure_code="card_declined", failure_decline_code="insufficient_funds", failure_message="Not enough money.",
        failure_retryable=True,
    )  # fmt: skip
    given = {
        "activity_id": str(market.activity.id), "quantity": 1, "payment_method": "pm_card_visa",
        "expected_amount": None, "capture_later": False, "save_payment_method": False, "return_url": None,
    }  # fmt: skip
    intent = Intent("user:dora", "declined", "pay_for_activity", given)
    error = {
        "type": "CardDeclined", "message": "Not enough money.", "path": None, "decline_code": "insufficient_funds",
        "retryable": True,
    }  # fmt: skip
    await connection.execute(
        """INSERT INTO operations (id, caller, idempotency_key, kind, arguments_hash, arguments, subject_id, status,
            error, leased_until, finished_at) VALUES ($1, $2, $3, $4, $5, '{}', $6, 'FAILED', $7, now(), now())""",
        uuid4(), intent.caller, intent.idempotency_key, intent.kind, intent.arguments_hash, payment.id,
        orjson.dumps(error).decode(),
    )  # fmt: skip
    query = """mutation($input: PayForActivityInput!) { payForActivity(input: $input) {
        payment { id status failure { code declineCode message retryable } }
        errors { __typename code message ... on CardDeclined { declineCode retryable } }
    } }"""
    data = await api.data(query, user("dora"), input=pay(market, idempotencyKey="declined"))
    assert data["payForActivity"] == {
        "payment": {
            "id": global_id("Payment", payment.id), "status": "FAILED",
            "failure": {
                "code": "card_declined", "declineCode": "insufficient_funds", "message": "Not enough money.",
                "retryable": True,
            },
        },
        "errors": [{
            "__typename": "CardDeclined", "code": "CARD_DECLINED", "message": "Not enough money.",
            "declineCode": "insufficient_funds", "retryable": True,
        }],
    }  # fmt: skip
    error = await refused(api, PAY, user("dora"), **pay(market, idempotencyKey="declined", quantity=2))
    assert error["__typename"] == "IdempotencyKeyReused"
