"""Billing subscriptions as clients have them: who sees what of them, and what the mutations answer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.money import Money
from models.operations import Operation
from models.subscriptions import BillingSubscription
from schema.context import new_context
from schema.ids import global_id
from services.errors import InvalidInput, InvalidState, NotFound, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.membership import Member
from tests.support.rows import add_plan, add_subscription, add_user

if TYPE_CHECKING:
    import strawberry

    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

SUBSCRIPTION = """id status version user { externalId } plan { id name } nextPlan { id } price { amount currency }
    stripeSubscriptionId currentPeriodStart currentPeriodEnd trialEnd cancelAtPeriodEnd cancelAt canceledAt endedAt
    pausedAt resumesAt clientSecret nextAction { type redirectUrl } nextPaymentAttempt createdAt updatedAt
    invoices { edges { node { id status total { amount } } } }"""
ONE = f"query($id: ID!) {{ subscription(id: $id) {{ {SUBSCRIPTION} }} }}"
NODE = "query($id: ID!) { node(id: $id) { id ... on BillingSubscription { status } } }"
MINE = """query($first: Int, $after: String) { viewer { subscriptions(first: $first, after: $after) {
    edges { cursor node { id } } pageInfo { hasNextPage endCursor }
} } }"""
PREVIEW = """query($subscriptionId: ID!, $planId: ID!) {
    planChangePreview(subscriptionId: $subscriptionId, planId: $planId) {
        dueNow { amount currency } credit { amount } nextInvoice { amount } immediately effectiveAt
    }
}"""
ERRORS = """errors { __typename code message path ... on InvalidState { state } ... on CardDeclined { declineCode } }"""


def mutation(name: str) -> str:
    kind = name[0].upper() + name[1:]
    return f"""mutation($input: {kind}Input!) {{ {name}(input: $input) {{
        subscription {{ {SUBSCRIPTION} }} {ERRORS}
    }} }}"""


CREATE, CHANGE = mutation("createSubscription"), mutation("changeSubscriptionPlan")
CANCEL, RESUME, PAUSE = mutation("cancelSubscription"), mutation("resumeSubscription"), mutation("pauseSubscription")
SECRET = "pi_1_secret_2"


async def subscribed(connection: AnyConnection, market: Market, **values: Any) -> BillingSubscription:
    """The guest's, to a plan of its own."""
    return await add_subscription(connection, market.guest, await add_plan(connection), **values)


# --- who sees what --------------------------------------------------------------------------------------------------


async def test_its_guest_and_the_platform_see_a_subscription_and_nobody_else_does(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    row = await subscribed(connection, market)
    id_ = global_id("BillingSubscription", row.id)
    for viewer in (user("gustav"), SERVICE, ADMIN):
        shown = (await api.data(ONE, viewer, id=id_))["subscription"]
        assert (shown["id"], shown["status"], shown["user"]["externalId"]) == (id_, "ACTIVE", "gustav")
        assert (await api.data(NODE, viewer, id=id_))["node"] == {"id": id_, "status": "ACTIVE"}
    for viewer in (user("henriette"), user("stella"), user("nobody")):
        assert (await api.data(ONE, viewer, id=id_))["subscription"] is None
        assert (await api.data(NODE, viewer, id=id_))["node"] is None
    assert isinstance(await api.refusal(ONE, None, id=id_), Unauthenticated)


async def test_unknown_and_malformed_ids_are_null(api: Api, market: Market, connection: AnyConnection) -> None:
    row = await subscribed(connection, market)
    ids = [global_id("BillingSubscription", uuid4()), global_id("Plan", row.id), str(row.id), "", "%%%", "sub_1"]
    for id_ in ids:
        assert (await api.data(ONE, SERVICE, id=id_))["subscription"] is None


async def test_the_secret_is_for_its_guest_alone(api: Api, market: Market, connection: AnyConnection) -> None:
    action = {"type": "redirect_to_url", "redirect_url": "https://bank.example/"}
    row = await subscribed(
        connection, market, status="INCOMPLETE", stripe_status="incomplete", client_secret=SECRET, next_action=action
    )
    id_ = global_id("BillingSubscription", row.id)
    shown = (await api.data(ONE, user("gustav"), id=id_))["subscription"]
    assert shown["clientSecret"] == SECRET
    assert shown["nextAction"] == {"type": "redirect_to_url", "redirectUrl": "https://bank.example/"}
    for viewer in (SERVICE, ADMIN):
        shown = (await api.data(ONE, viewer, id=id_))["subscription"]
        assert shown["clientSecret"] is None
        assert shown["nextAction"] == {"type": "redirect_to_url", "redirectUrl": None}


async def test_a_guest_s_subscriptions_are_listed_newest_first_by_page(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    rows = [await subscribed(connection, market, status=status) for status in ("CANCELED", "ACTIVE", "PAUSED")]
    await add_subscription(connection, market.stranger, await add_plan(connection))
    wanted = [global_id("BillingSubscription", row.id) for row in reversed(rows)]
    page = (await api.data(MINE, user("gustav"), first=2))["viewer"]["subscriptions"]
    assert [edge["node"]["id"] for edge in page["edges"]] == wanted[:2]
    assert page["pageInfo"]["hasNextPage"]
    rest = (await api.data(MINE, user("gustav"), after=page["pageInfo"]["endCursor"]))["viewer"]["subscriptions"]
    assert [edge["node"]["id"] for edge in rest["edges"]] == wanted[2:]
    assert (await api.data(MINE, user("henriette")))["viewer"]["subscriptions"]["edges"] == []
    assert isinstance(await api.refusal(MINE, user("gustav"), first=101), InvalidInput)


async def test_a_list_of_subscriptions_costs_a_fixed_number_of_statements(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    document = f"{{ viewer {{ subscriptions(first: 100) {{ edges {{ node {{ {SUBSCRIPTION} }} }} }} }} }}"
    counts = []
    for number in (1, 30):
        for _ in range(number):
            other = await add_plan(connection)
            await subscribed(connection, market, next_price_id=other.id)
        api.statements.clear()
        await api.data(document, user("gustav"))
        counts.append(len(api.statements))
    assert counts[0] == counts[1]


async def test_what_it_costs_is_its_own_price_in_its_own_currency(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    price = await add_plan(connection, currency_options={"EUR": 900})
    row = await add_subscription(connection, market.guest, price, currency="EUR")
    await connection.execute("UPDATE plan_prices SET current = false, archived = true")
    shown = (await api.data(ONE, user("gustav"), id=global_id("BillingSubscription", row.id)))["subscription"]
    assert shown["price"] == {"amount": "9.00", "currency": "EUR"}


# --- refused before Stripe hears of it ------------------------------------------------------------------------------


async def refused(api: Api, document: str, viewer: Viewer | None, **input_: Any) -> Any:
    """The one error of a payload that carries nothing else."""
    [payload] = (await api.data(document, viewer, input=input_)).values()
    [error] = payload["errors"]
    assert payload["subscription"] is None
    assert error["message"]
    return error


async def test_what_cannot_be_subscribed_to_is_refused_by_its_field(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    plan = await add_plan(connection)
    known = global_id("Plan", plan.plan_id)
    given = {"planId": known, "paymentMethod": "pm_card_visa", "idempotencyKey": "k"}
    cases: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"planId": global_id("Plan", uuid4())}, "NotFound", ["input", "planId"]),
        ({"planId": global_id("Activity", plan.plan_id)}, "NotFound", ["input", "planId"]),
        ({"planId": "gold"}, "NotFound", ["input", "planId"]),
        ({"paymentMethod": "4242424242424242"}, "InvalidInput", ["input", "paymentMethod"]),
        ({"paymentMethod": None}, "InvalidInput", ["input", "paymentMethod"]),
        ({"paymentMethod": global_id("PaymentMethod", uuid4())}, "NotFound", ["input", "paymentMethod"]),
        ({"currency": "CHF"}, "InvalidInput", ["input", "currency"]),
        ({"trial": True}, "InvalidInput", ["input", "trial"]),
        ({"idempotencyKey": ""}, "InvalidInput", ["input", "idempotencyKey"]),
    ]
    for values, kind, path in cases:
        error = await refused(api, CREATE, user("gustav"), **{**given, **values})
        assert (error["__typename"], error["path"]) == (kind, path)
    for viewer in (SERVICE, ADMIN):
        assert (await refused(api, CREATE, viewer, **given))["__typename"] == "Forbidden"
    assert (await refused(api, CREATE, user("nobody"), **given))["state"] == "UNKNOWN_USER"
    assert isinstance(await api.refusal(CREATE, None, input=given), Unauthenticated)
    assert await BillingSubscription.all().count() + await Operation.all().count() == 0


ACTIONS: list[tuple[str, dict[str, Any]]] = [
    (CHANGE, {"planId": global_id("Plan", uuid4())}), (CANCEL, {}), (RESUME, {}), (PAUSE, {}),
]  # fmt: skip


@pytest.mark.parametrize(("document", "values"), ACTIONS)
async def test_others_unknown_and_malformed_subscriptions_are_not_found(
    api: Api, market: Market, connection: AnyConnection, document: str, values: dict[str, Any]
) -> None:
    row = await subscribed(connection, market)
    ids = [global_id("BillingSubscription", row.id), global_id("BillingSubscription", uuid4()),
           global_id("Payment", row.id), "sub_1", ""]  # fmt: skip
    for id_ in ids:
        error = await refused(api, document, user("stella"), subscriptionId=id_, idempotencyKey="k", **values)
        assert (error["__typename"], error["path"]) == ("NotFound", ["input", "subscriptionId"])
    assert (await BillingSubscription.get(id=row.id)).version == row.version
    assert await Operation.all().count() == 0


async def test_what_its_state_forbids_is_refused_with_the_state(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    ended = await subscribed(connection, market, status="CANCELED", stripe_status="canceled")
    overdue = await subscribed(connection, market, status="PAST_DUE", stripe_status="past_due")
    other = await add_plan(connection)
    changed = {"planId": global_id("Plan", other.plan_id)}
    cases = [
        (ended, CANCEL, {}), (ended, RESUME, {}), (ended, PAUSE, {}), (ended, CHANGE, changed),
        (overdue, RESUME, {}), (overdue, PAUSE, {}), (overdue, CHANGE, changed),
    ]  # fmt: skip
    for row, document, values in cases:
        id_ = global_id("BillingSubscription", row.id)
        error = await refused(api, document, user("gustav"), subscriptionId=id_, idempotencyKey=uuid4().hex, **values)
        assert (error["__typename"], error["state"]) == ("InvalidState", row.status.value)
    assert await Operation.all().count() == 0


async def test_a_preview_of_what_cannot_be_is_an_error_with_its_own_text(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    row, other = await subscribed(connection, market), await add_plan(connection)
    ended = await subscribed(connection, market, status="CANCELED", stripe_status="canceled")
    plan, mine = global_id("Plan", other.plan_id), global_id("BillingSubscription", row.id)
    cases: list[tuple[Any, str, str, Any, list[str] | None]] = [
        (user("stella"), mine, plan, NotFound, ["subscriptionId"]),
        (user("gustav"), "nonsense", plan, NotFound, ["subscriptionId"]),
        (user("gustav"), mine, "nonsense", NotFound, ["planId"]),
        (user("gustav"), mine, global_id("Plan", uuid4()), NotFound, ["planId"]),
        (user("gustav"), mine, global_id("Plan", row.plan_id), InvalidInput, ["planId"]),
        (user("gustav"), global_id("BillingSubscription", ended.id), plan, InvalidState, None),
    ]
    for viewer, subscription, wanted, kind, path in cases:
        error: Any = await api.refusal(PREVIEW, viewer, subscriptionId=subscription, planId=wanted)
        assert isinstance(error, kind)
        assert error.path == path


# --- all of it, against the sandbox ---------------------------------------------------------------------------------


async def test_a_subscriber_s_life_over_the_schema(
    services: Services, sandbox: Sandbox, clock: Clock, schema: strawberry.Schema
) -> None:
    member = await Member.join(services, sandbox, clock)
    basic = await member.catalogue.plan(name="Basic")
    gold = await member.catalogue.plan(name="Gold", price=Money(3000, "USD"))

    async def ask(document: str, **variables: Any) -> Any:
        context = new_context(services, member.viewer, accept_language=None)
        result = await schema.execute(document, variable_values=variables, context_value=context)
        assert result.errors is None, result.errors
        assert result.data is not None
        return next(iter(result.data.values()))

    async def act(document: str, **input_: Any) -> Any:
        payload = await ask(document, input={"idempotencyKey": uuid4().hex, **input_})
        assert payload["errors"] == []
        return payload["subscription"]

    plan = global_id("Plan", basic.id)
    made = await act(CREATE, planId=plan, paymentMethod="pm_card_authenticationRequired")
    id_ = made["id"]
    assert (made["status"], made["plan"]["name"], made["price"]["amount"]) == ("INCOMPLETE", "Basic", "10.00")
    assert [edge["node"]["status"] for edge in made["invoices"]["edges"]] == ["OPEN"]
    await sandbox.authenticate(made["clientSecret"].partition("_secret_")[0])
    await member.subscriber.deliver()
    now = await ask(ONE, id=id_)
    assert (now["status"], now["clientSecret"]) == ("ACTIVE", None)
    assert [edge["node"]["status"] for edge in now["invoices"]["edges"]] == ["PAID"]

    await member.subscriber.give("pm_card_visa")
    await member.subscriber.deliver()
    wanted = {"subscriptionId": id_, "planId": global_id("Plan", gold.id)}
    preview = await ask(PREVIEW, **wanted)
    assert (preview["immediately"], preview["nextInvoice"]) == (True, {"amount": "30.00"})
    assert (preview["dueNow"], preview["credit"]) == ({"amount": "20.00", "currency": "USD"}, {"amount": "10.00"})
    assert (await act(CHANGE, **wanted))["plan"]["name"] == "Gold"
    planned = await act(CHANGE, subscriptionId=id_, planId=plan)
    assert (planned["plan"]["name"], planned["nextPlan"]["id"]) == ("Gold", plan)
    assert (await act(RESUME, subscriptionId=id_))["nextPlan"] is None
    until = (clock() + timedelta(days=60)).replace(microsecond=0)
    paused = await act(PAUSE, subscriptionId=id_, resumesAt=until.isoformat())
    assert (paused["status"], paused["resumesAt"]) == ("PAUSED", until.isoformat().replace("+00:00", "Z"))
    assert (await act(RESUME, subscriptionId=id_))["status"] == "ACTIVE"
    ending = await act(CANCEL, subscriptionId=id_)
    assert (ending["status"], ending["cancelAtPeriodEnd"]) == ("ACTIVE", True)
    assert ending["cancelAt"] == ending["currentPeriodEnd"]
    ended = await act(CANCEL, subscriptionId=id_, atPeriodEnd=False)
    assert ended["status"] == "CANCELED"
    payload = await ask(CANCEL, input={"subscriptionId": id_, "idempotencyKey": uuid4().hex})
    assert [(error["__typename"], error["state"]) for error in payload["errors"]] == [("InvalidState", "CANCELED")]
    await member.check()


async def test_a_declined_payment_answers_the_subscription_together_with_the_error(
    services: Services, sandbox: Sandbox, clock: Clock, schema: strawberry.Schema
) -> None:
    member = await Member.join(services, sandbox, clock)
    plan = global_id("Plan", (await member.catalogue.plan()).id)
    input_ = {"planId": plan, "paymentMethod": "pm_card_chargeCustomerFail", "idempotencyKey": "k"}
    context = new_context(services, member.viewer, accept_language=None)
    result = await schema.execute(CREATE, variable_values={"input": input_}, context_value=context)
    assert result.data is not None
    payload = result.data["createSubscription"]
    assert payload["subscription"]["status"] == "INCOMPLETE"
    assert payload["subscription"]["clientSecret"]
    [error] = payload["errors"]
    assert (error["__typename"], error["declineCode"]) == ("CardDeclined", "generic_decline")


async def test_a_user_without_subscriptions_has_none(api: Api, connection: AnyConnection) -> None:
    await add_user(connection, external_id="newcomer")
    assert (await api.data(MINE, user("newcomer")))["viewer"]["subscriptions"]["edges"] == []
