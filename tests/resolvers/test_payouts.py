from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from models.base import new_id
from models.connect_accounts import ConnectAccount
from models.events import EventSubject
from models.payouts import Payout, PayoutStatus
from models.sets import update_rows
from schema.ids import global_id
from services.changes import ChangeSet
from services.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.resolvers.test_subscriptions import after_next, refusal, subscribe
from tests.support.rows import add_account, add_payment, add_payout

if TYPE_CHECKING:
    from models.payments import Payment
    from models.sets import AnyConnection

PAYOUT = """query($id: ID!) { node(id: $id) { ... on Payout {
    id amount { amount currency } status instant automatic arrivalDate failureCode failureMessage fee { amount }
    stripePayoutId destination { type name last4 } paymentsKnown createdAt account { id stripeAccountId }
} } }"""
PAYOUTS = """query($first: Int, $after: String) { viewer { connectAccount {
    payoutSchedule { interval weeklyDays monthlyDays delayDays }
    payouts(first: $first, after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } }
} } }"""
INSIDE = """query($id: ID!, $first: Int, $after: String) { node(id: $id) { ... on Payout {
    payments(first: $first, after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } }
} } }"""
CREATE = """mutation($input: CreatePayoutInput!) { createPayout(input: $input) {
    payout { id } errors { __typename code message path }
} }"""
SCHEDULE = """mutation($input: SetPayoutScheduleInput!) { setPayoutSchedule(input: $input) {
    account { id } errors { __typename code message path ... on InvalidState { state } }
} }"""
FOLLOW = """subscription($after: String) { payoutChanged(after: $after) {
    cursor previousStatus status occurredAt payout { id status failureMessage }
} }"""
OF_THE_PLATFORM = "{ platformPayouts(first: 5) { edges { node { id account { id } } } } }"


@dataclass
class Earnings:
    """The market's host, two payouts, and what is inside the first."""

    account: ConnectAccount
    first: Payout
    second: Payout
    inside: list[Payment]


def id_of(payout: Payout) -> str:
    return global_id("Payout", payout.id)


@pytest.fixture
async def earnings(market: Market, connection: AnyConnection) -> Earnings:
    account = await ConnectAccount.get(user_id=market.host.id)
    first = await add_payout(connection, account, automatic=True, contents_known=True, status=PayoutStatus.PAID)
    second = await add_payout(
        connection, account, status=PayoutStatus.FAILED, failure_code="account_closed", instant=True, fee_minor=60,
        destination={"type": "bank_account", "name": "STRIPE TEST BANK", "last4": "1113"},
        arrival_date=datetime(2030, 6, 1, tzinfo=UTC), stripe_created_at=datetime(2030, 5, 31, tzinfo=UTC),
    )  # fmt: skip
    inside = [market.payment, await add_payment(connection, market.guest, host_id=market.host.id, captured=True)]
    outside = await add_payment(connection, market.guest, host_id=market.host.id, captured=True)
    for payment, payout in [*((payment, first) for payment in inside), (inside[0], first), (outside, None)]:
        await connection.execute(
            "INSERT INTO balance_transactions (id, stripe_account, stripe_balance_transaction_id, type,"
            " reporting_category, amount_minor, fee_minor, currency, stripe_created_at, available_on, payment_id,"
            " payout_id) VALUES ($1, $2, $3, 'payment', 'charge', 1800, 0, 'USD', now(), now(), $4, $5)",
            new_id(), account.stripe_account_id, f"txn_{new_id().hex}", payment.id, payout and payout.id,
        )  # fmt: skip
    return Earnings(account, first, second, inside)


async def test_a_failed_payout_says_why_and_what_to_do(api: Api, earnings: Earnings) -> None:
    found = (await api.data(PAYOUT, user("henriette"), id=id_of(earnings.second)))["node"]
    assert found == {
        "id": id_of(earnings.second), "amount": {"amount": "40.00", "currency": "USD"}, "status": "FAILED",
        "instant": True, "automatic": False, "arrivalDate": "2030-06-01T00:00:00Z", "failureCode": "account_closed",
        "failureMessage": "The bank account has been closed. Correct your bank details, or give another bank account.",
        "fee": {"amount": "0.60"}, "stripePayoutId": earnings.second.stripe_payout_id,
        "destination": {"type": "bank_account", "name": "STRIPE TEST BANK", "last4": "1113"}, "paymentsKnown": False,
        "createdAt": "2030-05-31T00:00:00Z",
        "account": {
            "id": global_id("ConnectAccount", earnings.account.id),
            "stripeAccountId": earnings.account.stripe_account_id,
        },
    }  # fmt: skip


async def test_a_payout_is_seen_by_its_host_and_the_platform(
    api: Api, earnings: Earnings, market: Market, connection: AnyConnection
) -> None:
    await add_account(connection, market.stranger)
    platforms = await add_payout(connection, None)
    node = "query($id: ID!) { node(id: $id) { id } }"
    for viewer, own, platform in (
        (user("henriette"), True, False), (user("gustav"), False, False), (user("stella"), False, False),
        (SERVICE, True, True), (ADMIN, True, True),
    ):  # fmt: skip
        assert ((await api.data(node, viewer, id=id_of(earnings.first)))["node"] is not None) == own
        assert ((await api.data(node, viewer, id=id_of(platforms)))["node"] is not None) == platform


async def test_the_platform_s_own_payouts_are_listed_for_the_platform_alone(
    api: Api, earnings: Earnings, connection: AnyConnection
) -> None:
    own = [await add_payout(connection, None) for _ in range(2)]
    for viewer in (SERVICE, ADMIN):
        listed = (await api.data(OF_THE_PLATFORM, viewer))["platformPayouts"]["edges"]
        assert [edge["node"] for edge in listed] == [{"id": id_of(one), "account": None} for one in reversed(own)]
    assert isinstance(await api.refusal(OF_THE_PLATFORM, user("henriette")), Forbidden)
    assert isinstance(await api.refusal(OF_THE_PLATFORM, None), Unauthenticated)


async def test_payouts_are_listed_newest_first_and_page_by_page(api: Api, earnings: Earnings) -> None:
    page = (await api.data(PAYOUTS, user("henriette"), first=1))["viewer"]["connectAccount"]["payouts"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [id_of(earnings.second)]
    assert page["pageInfo"]["hasNextPage"]
    rest = await api.data(PAYOUTS, user("henriette"), after=page["pageInfo"]["endCursor"])
    rest = rest["viewer"]["connectAccount"]["payouts"]
    assert [edge["node"]["id"] for edge in rest["edges"]] == [id_of(earnings.first)]
    assert not rest["pageInfo"]["hasNextPage"]
    assert isinstance(await api.refusal(PAYOUTS, user("henriette"), first=101), InvalidInput)


async def test_the_payments_inside_a_payout_are_each_listed_once(api: Api, earnings: Earnings) -> None:
    newest_first = [global_id("Payment", payment.id) for payment in reversed(earnings.inside)]
    page = (await api.data(INSIDE, user("henriette"), id=id_of(earnings.first)))["node"]["payments"]
    assert [edge["node"]["id"] for edge in page["edges"]] == newest_first
    page = (await api.data(INSIDE, user("henriette"), id=id_of(earnings.first), first=1))["node"]["payments"]
    assert [edge["node"]["id"] for edge in page["edges"]] == newest_first[:1]
    assert page["pageInfo"]["hasNextPage"]
    after = page["pageInfo"]["endCursor"]
    page = (await api.data(INSIDE, user("henriette"), id=id_of(earnings.first), after=after))["node"]["payments"]
    assert [edge["node"]["id"] for edge in page["edges"]] == newest_first[1:]
    page = (await api.data(INSIDE, user("henriette"), id=id_of(earnings.second)))["node"]["payments"]
    assert page["edges"] == []


async def test_a_list_of_payouts_with_what_is_inside_costs_a_fixed_number_of_statements(
    api: Api, earnings: Earnings, connection: AnyConnection
) -> None:
    query = """query($first: Int) { viewer { connectAccount { payouts(first: $first) { edges { node {
        id account { id } payments { edges { node { id payer { name } } } } } } } } } }"""
    for _ in range(8):
        await add_payout(connection, earnings.account)
    counts = []
    for first in (2, 10):
        api.statements.clear()
        await api.data(query, user("henriette"), first=first)
        counts.append(len(api.statements))
    assert counts[1] - counts[0] <= 1, api.statements  # the guest, whom only the longer list leads to


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        (None, None),
        (
            {"interval": "weekly", "weekly_days": ["monday", "sunday"], "monthly_days": [], "delay_days": 2},
            {"interval": "WEEKLY", "weeklyDays": ["MONDAY"], "monthlyDays": [], "delayDays": 2},
        ),
        (
            {"interval": "monthly", "weekly_days": [], "monthly_days": [1, 31], "delay_days": None},
            {"interval": "MONTHLY", "weeklyDays": [], "monthlyDays": [1, 31], "delayDays": None},
        ),
    ],
)
async def test_an_account_says_when_it_is_paid_out_without_asking(
    api: Api, market: Market, connection: AnyConnection, kept: Any, shown: Any
) -> None:
    await add_account(connection, market.stranger, payout_schedule=kept)
    found = (await api.data(PAYOUTS, user("stella")))["viewer"]["connectAccount"]
    assert found["payoutSchedule"] == shown


async def test_what_cannot_be_paid_out_is_refused_as_data_and_names_the_field(api: Api, earnings: Earnings) -> None:
    cases: list[tuple[dict[str, Any], Any, str, list[str] | None]] = [
        ({"amount": {"amount": "0", "currency": "USD"}}, user("henriette"), "InvalidInput", ["input", "amount"]),
        ({"amount": {"amount": "1.001", "currency": "USD"}}, user("henriette"), "InvalidInput", ["input", "amount"]),
        ({"amount": {"amount": "10.50", "currency": "HUF"}}, user("henriette"), "InvalidInput", ["input", "amount"]),
        ({"idempotencyKey": ""}, user("henriette"), "InvalidInput", ["input", "idempotencyKey"]),
        ({}, user("stella"), "InvalidState", None),
        ({}, SERVICE, "Forbidden", None),
    ]
    for given, viewer, kind, path in cases:
        asked = {"amount": {"amount": "10", "currency": "USD"}, "idempotencyKey": "k", **given}
        answer = (await api.data(CREATE, viewer, input=asked))["createPayout"]
        assert answer["payout"] is None
        [error] = answer["errors"]
        assert (error["__typename"], error["path"]) == (kind, path)
    assert await Payout.all().count() == 2


async def test_a_schedule_is_refused_as_data_and_names_the_field(
    api: Api, earnings: Earnings, market: Market, connection: AnyConnection
) -> None:
    wrong = {"interval": "WEEKLY", "idempotencyKey": "k"}
    [error] = (await api.data(SCHEDULE, user("henriette"), input=wrong))["setPayoutSchedule"]["errors"]
    assert (error["__typename"], error["path"]) == ("InvalidInput", ["input", "weeklyDays"])
    await add_account(connection, market.stranger, type="STANDARD")
    right = {**wrong, "weeklyDays": ["MONDAY"]}
    [error] = (await api.data(SCHEDULE, user("stella"), input=right))["setPayoutSchedule"]["errors"]
    assert (error["__typename"], error["state"]) == ("InvalidState", "STANDARD")


async def changed(api: Api, connection: AnyConnection, earnings: Earnings, payout: Payout, status: str) -> None:
    """A payout moves on, as a settlement does it."""
    async with connection.transaction():
        changes = ChangeSet("stripe", await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        before, payout.status = payout.status.value, PayoutStatus(status)
        changes.record(
            EventSubject.PAYOUT, payout, "payout.changed", previous_status=before, status=status, before={}, after={},
            host_id=earnings.account.user_id if payout.connect_account_id else None,
        )  # fmt: skip
        await update_rows(connection, Payout, [payout], ("status", "version", "position"))
        await changes.write(connection)
    api.services.live.wake()


async def test_a_host_follows_its_own_payouts_and_the_platform_all(
    api: Api, connection: AnyConnection, earnings: Earnings, market: Market
) -> None:
    await add_account(connection, market.stranger)
    platforms = await add_payout(connection, None)
    own = await subscribe(api, FOLLOW, user("henriette"))
    every = await subscribe(api, FOLLOW, SERVICE)
    await changed(api, connection, earnings, platforms, "IN_TRANSIT")
    await changed(api, connection, earnings, earnings.first, "FAILED")
    change = await after_next(own)
    assert (change["previousStatus"], change["status"]) == ("PAID", "FAILED")
    assert change["payout"]["id"] == id_of(earnings.first)
    assert [(await after_next(every))["payout"]["id"] for _ in range(2)] == [id_of(platforms), id_of(earnings.first)]
    await changed(api, connection, earnings, platforms, "PAID")
    resumed = await subscribe(api, FOLLOW, SERVICE, after=change["cursor"])
    assert (await after_next(resumed))["payout"]["id"] == id_of(platforms)
    assert isinstance(await refusal(api, FOLLOW, user("nobody")), NotFound)
    assert isinstance(await refusal(api, FOLLOW, None), Unauthenticated)
