from __future__ import annotations

from typing import TYPE_CHECKING

from models.connect_accounts import ConnectAccount
from models.payments import PaymentAllocation
from schema.ids import global_id
from tests.resolvers.conftest import SERVICE, Api, Market, user
from tests.support.rows import add_allocation, add_payment

if TYPE_CHECKING:
    from models.sets import AnyConnection

DEBTS = """{ viewer { connectAccount { debts {
    amount { amount currency } since isRecovered explanation payments { id }
} } } }"""
NODE = """query($id: ID!) { node(id: $id) { ... on ConnectAccount { debts { amount { amount } } } } }"""


async def test_a_host_sees_what_they_owe_and_for_what_and_nobody_else_does(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    payments = []
    for currency, minor in (("USD", -500), ("USD", -250), ("EUR", -100), ("USD", 300)):
        payment = await add_payment(
            connection, market.guest, host_id=market.host.id, captured=True, currency=currency
        )
        await add_allocation(connection, payment, market.host, owed_minor=minor)
        payments.append(payment)
    found = (await api.data(DEBTS, user("henriette")))["viewer"]["connectAccount"]["debts"]
    assert [(debt["amount"], len(debt["payments"]), debt["isRecovered"]) for debt in found] == [
        ({"amount": "1.00", "currency": "EUR"}, 1, True), ({"amount": "7.50", "currency": "USD"}, 2, True)
    ]  # fmt: skip
    assert found[1]["payments"] == [{"id": global_id("Payment", payment.id)} for payment in payments[:2]]
    assert "what you are paid next" in found[0]["explanation"]
    since = await PaymentAllocation.filter(owed_minor__lt=0, currency="USD").order_by("id").first()
    assert since is not None
    assert found[1]["since"].startswith(f"{since.created_at:%Y-%m-%dT%H:%M}")
    account = await ConnectAccount.get(user_id=market.host.id)
    id_ = global_id("ConnectAccount", account.id)
    assert len((await api.data(NODE, SERVICE, id=id_))["node"]["debts"]) == 2
    for other in ("gustav", "stella"):
        assert (await api.data(NODE, user(other), id=id_))["node"] is None


async def test_who_owes_nothing_has_no_debts(api: Api, market: Market) -> None:
    assert (await api.data(DEBTS, user("henriette")))["viewer"]["connectAccount"]["debts"] == []
