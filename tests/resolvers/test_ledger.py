from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from models.ledger import LedgerTransactionKind
from models.money import Money
from schema.ids import global_id
from services.errors import Forbidden, Unauthenticated
from services.ledger import GUESTS, PLATFORM, LedgerBatch
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user

if TYPE_CHECKING:
    from models.sets import AnyConnection

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
