"""Plans as clients have them: who tells of them, who sees them, and what is refused by which field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.operations import Operation
from models.plans import Plan, PlanInterval
from schema.context import new_context
from schema.ids import global_id
from services.errors import Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.catalogue import Catalogue
from tests.support.rows import add_plan

if TYPE_CHECKING:
    import strawberry

    from models.sets import AnyConnection
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

PLAN = """id externalId name price { amount currency } prices { amount currency } interval intervalCount trialDays
    features active"""
PLANS = f"{{ plans {{ {PLAN} }} }}"
NODE = f"query($id: ID!) {{ node(id: $id) {{ id ... on Plan {{ {PLAN} }} }} }}"
UPSERT = f"""mutation($input: UpsertPlanInput!) {{ upsertPlan(input: $input) {{
    plan {{ {PLAN} }} errors {{ __typename code message path }}
}} }}"""


def plan(**values: Any) -> dict[str, Any]:
    return {
        "externalId": "gold", "name": "Gold", "price": {"amount": "12.50", "currency": "EUR"}, "interval": "MONTH",
        **values,
    }  # fmt: skip


async def test_plans_are_listed_for_everyone_with_a_token_the_oldest_first(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    first = await add_plan(connection, currency_options={"JPY": 1500, "EUR": 900})
    second = await add_plan(connection, amount_minor=0, interval=PlanInterval.YEAR, interval_count=2)
    hidden = [await add_plan(connection), await add_plan(connection)]
    await connection.execute("UPDATE plans SET active = false WHERE id = $1", hidden[0].plan_id)
    await connection.execute("UPDATE plan_prices SET current = false WHERE id = $1", hidden[1].id)
    for viewer in (user("gustav"), user("nobody"), SERVICE, ADMIN):
        listed = [shown["id"] for shown in (await api.data(PLANS, viewer))["plans"]]
        assert listed == [global_id("Plan", first.plan_id), global_id("Plan", second.plan_id)]
    plans = (await api.data(PLANS, SERVICE))["plans"]
    assert plans[0]["price"] == {"amount": "10.00", "currency": "USD"}
    assert plans[0]["prices"] == [
        {"amount": "10.00", "currency": "USD"}, {"amount": "9.00", "currency": "EUR"},
        {"amount": "1500", "currency": "JPY"},
    ]  # fmt: skip
    assert (plans[0]["features"], plans[0]["active"], plans[0]["trialDays"]) == (["priority"], True, 0)
    assert (plans[1]["interval"], plans[1]["intervalCount"], plans[1]["price"]["amount"]) == ("YEAR", 2, "0.00")
    assert isinstance(await api.refusal(PLANS, None), Unauthenticated)


async def test_a_plan_is_a_node_for_everyone_even_where_it_takes_nobody(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    price = await add_plan(connection)
    await connection.execute("UPDATE plans SET active = false")
    await connection.execute("UPDATE plan_prices SET current = false")
    id_ = global_id("Plan", price.plan_id)
    for viewer in (user("stella"), SERVICE):
        shown = (await api.data(NODE, viewer, id=id_))["node"]
        assert (shown["id"], shown["active"], shown["price"]["amount"]) == (id_, False, "10.00")
    assert (await api.data(NODE, SERVICE, id=global_id("Plan", uuid4())))["node"] is None


async def test_a_list_of_plans_costs_two_statements(api: Api, connection: AnyConnection) -> None:
    for _ in range(20):
        await add_plan(connection)
    api.statements.clear()
    await api.data(PLANS, SERVICE)
    assert len(api.statements) == 2


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"externalId": " "}, "externalId"), ({"name": ""}, "name"),
    ({"price": {"amount": "0.49", "currency": "USD"}}, "price"),
    ({"price": {"amount": "-1", "currency": "USD"}}, "price"),
    ({"price": {"amount": "1.001", "currency": "USD"}}, "price"),
    ({"price": {"amount": "1000000", "currency": "USD"}}, "price"),
    ({"price": {"amount": "99999999999999", "currency": "USD"}}, "price"),
    ({"prices": [{"amount": "12.50", "currency": "EUR"}]}, "prices"),
    ({"prices": [{"amount": "1.5", "currency": "JPY"}]}, "prices"),
    ({"intervalCount": 0}, "intervalCount"), ({"intervalCount": 37}, "intervalCount"),
    ({"trialDays": -1}, "trialDays"), ({"trialDays": 731}, "trialDays"), ({"features": ["a", "a"]}, "features"),
    ({"features": [""]}, "features"), ({"features": [str(number) for number in range(16)]}, "features"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "field"), IMPOSSIBLE)
async def test_what_cannot_be_is_refused_by_its_field_and_nothing_is_kept(
    api: Api, values: dict[str, Any], field: str
) -> None:
    payload = (await api.data(UPSERT, SERVICE, input=plan(**values)))["upsertPlan"]
    [error] = payload["errors"]
    assert (payload["plan"], error["__typename"], error["path"]) == (None, "InvalidInput", ["input", field])
    assert await Plan.all().count() + await Operation.all().count() == 0


async def test_users_tell_of_no_plans(api: Api, market: Market) -> None:
    payload = (await api.data(UPSERT, user("henriette"), input=plan()))["upsertPlan"]
    assert [error["__typename"] for error in payload["errors"]] == ["Forbidden"]
    assert isinstance(await api.refusal(UPSERT, None, input=plan()), Unauthenticated)
    assert await Plan.all().count() == 0


async def test_the_platform_tells_of_a_plan_and_changes_it(
    services: Services, sandbox: Sandbox, clock: Clock, schema: strawberry.Schema
) -> None:
    """All of it over the schema, against the sandbox."""

    async def tell(**values: Any) -> Any:
        context = new_context(services, SERVICE, accept_language=None)
        result = await schema.execute(UPSERT, variable_values={"input": plan(**values)}, context_value=context)
        assert result.errors is None, result.errors
        assert result.data is not None
        assert result.data["upsertPlan"]["errors"] == []
        return result.data["upsertPlan"]["plan"]

    first = await tell(trialDays=7, features=["priority"], prices=[{"amount": "14", "currency": "USD"}])
    assert first == {
        "id": first["id"], "externalId": "gold", "name": "Gold", "price": {"amount": "12.50", "currency": "EUR"},
        "prices": [{"amount": "12.50", "currency": "EUR"}, {"amount": "14.00", "currency": "USD"}],
        "interval": "MONTH", "intervalCount": 1, "trialDays": 7, "features": ["priority"], "active": True,
    }  # fmt: skip
    again = await tell(price={"amount": "15", "currency": "EUR"}, interval="YEAR", active=False)
    assert (again["id"], again["price"]["amount"], again["interval"]) == (first["id"], "15.00", "YEAR")
    assert (again["features"], again["active"], again["trialDays"]) == ([], False, 0)
    made = await Catalogue(services, sandbox, clock).prices_at_stripe(await Plan.get())
    assert [(price["unit_amount"], price["active"]) for price in made] == [(1500, True), (1250, False)]
