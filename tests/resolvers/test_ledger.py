from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from models.ledger import LedgerTransactionKind
from models.money import Money
from schema.ids import global_id
from services.errors import Forbidden, Unauthenticated
from services.ledger import FEES, GUESTS, PLATFORM, LedgerBatch, host_balance
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_account, add_allocation, add_user

if TYPE_CHECKING:
    from models.sets import AnyConnection

MOVEMENTS = """query($id: ID!) { payment(id: $id) { movements {
    transactionId account cause stripeId stripeAccount amount { minorUnits } } } }"""
BALANCES = "query($asOf: DateTime) { balances(asOf: $asOf) { account place amount { amount currency } } }"
AT = datetime(2026, 3, 4, 12, tzinfo=UTC)


async def charge(connection: AnyConnection, market: Market) -> None:
    """The payment's charge is in the ledger."""
    batch, amount = LedgerBatch(), Money(2000, "USD")
    batch.move(
        LedgerTransactionKind.CHARGE, "charge:ch_1", [(GUESTS, -amount), (PLATFORM, amount)], occurred_at=AT,
        payment_id=market.payment.id, stripe_object_id="ch_1",
    )  # fmt: skip
    await batch.write(connection)


async def test_admins_see_what_the_pots_held_at_any_time(api: Api, market: Market, connection: AnyConnection) -> None:
    await charge(connection, market)
    held = [
        {"account": "guest_clearing", "place": "ELSEWHERE", "amount": {"amount": "-20.00", "currency": "USD"}},
        {"account": "platform_balance", "place": "PLATFORM", "amount": {"amount": "20.00", "currency": "USD"}},
    ]
    assert (await api.data(BALANCES, ADMIN))["balances"] == held
    assert (await api.data(BALANCES, ADMIN, asOf=AT.isoformat()))["balances"] == held
    assert (await api.data(BALANCES, ADMIN, asOf=(AT - timedelta(seconds=1)).isoformat()))["balances"] == []


async def test_nobody_else_does(api: Api, market: Market) -> None:
    for token, error in ((user("gustav"), Forbidden), (SERVICE, Forbidden), (None, Unauthenticated)):
        assert isinstance(await api.refusal(BALANCES, token), error)


async def test_movements_name_stripe_s_objects_and_nothing_is_unexplained(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    await charge(connection, market)
    data = await api.data(
        """query($id: ID!) { payment(id: $id) { movements { account stripeId stripeAccount amount { minorUnits } }
        unexplained { minorUnits currency } } }""",
        user("gustav"), id=global_id("Payment", market.payment.id),
    )  # fmt: skip
    assert data["payment"] == {
        "movements": [
            {"account": account, "stripeId": "ch_1", "stripeAccount": None, "amount": {"minorUnits": minor}}
            for account, minor in (("guest_clearing", -2000), ("platform_balance", 2000))
        ],
        "unexplained": [{"minorUnits": 0, "currency": "USD"}],
    }


async def test_everybody_sees_the_movements_that_are_their_business(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    await charge(connection, market)
    second = await add_user(connection, external_id="hanno")
    accounts = {}
    for host in (market.host, second):
        if host is second:
            await add_account(connection, host)
        [accounts[host.external_id]] = [
            record["stripe_account_id"]
            for record in await connection.fetch("SELECT * FROM connect_accounts WHERE user_id = $1", host.id)
        ]
        await add_allocation(connection, market.payment, host)
    batch = LedgerBatch()
    for host in (market.host, second):
        name, half = host.external_id, Money(900, "USD")
        for kind, cause, legs in (
            (LedgerTransactionKind.TRANSFER, "transfer", [(PLATFORM, -half), (host_balance(host.id), half)]),
            (LedgerTransactionKind.DEBT_RECOVERY, "debt", [(host_balance(host.id), -half), (PLATFORM, half)]),
            (LedgerTransactionKind.PAYOUT, "payout", [(host_balance(host.id), -half), (FEES, half)]),
        ):
            batch.move(
                kind, f"{cause}:{name}", legs, occurred_at=AT, payment_id=market.payment.id,
                stripe_object_id=f"{cause}_{name}", stripe_account=accounts[name],
            )  # fmt: skip
    await batch.write(connection)
    theirs = {
        name: {f"{cause}:{name}" for cause in ("transfer", "debt", "payout")} for name in ("henriette", "hanno")
    }
    everything = {"charge:ch_1"} | theirs["henriette"] | theirs["hanno"]
    for viewer, causes, seen in (
        (user("gustav"), {"charge:ch_1", "transfer:henriette", "transfer:hanno"}, set()),
        (user("henriette"), {"charge:ch_1"} | theirs["henriette"], {accounts["henriette"]}),
        (user("hanno"), {"charge:ch_1"} | theirs["hanno"], {accounts["hanno"]}),
        (SERVICE, everything, set(accounts.values())),
        (ADMIN, everything, set(accounts.values())),
    ):
        data = await api.data(MOVEMENTS, viewer, id=global_id("Payment", market.payment.id))
        movements = data["payment"]["movements"]
        assert {one["cause"] for one in movements} == causes
        assert {one["stripeAccount"] for one in movements} - {None} == seen
        assert sum(one["amount"]["minorUnits"] for one in movements) == 0
    assert (await api.data(MOVEMENTS, user("stella"), id=global_id("Payment", market.payment.id)))["payment"] is None
