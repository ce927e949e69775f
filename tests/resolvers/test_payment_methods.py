"""Saved methods as clients have them: who sees which, and what the mutations answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.payment_methods import SavedPaymentMethod
from schema.context import new_context
from schema.ids import global_id
from services.errors import Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_method
from tests.support.wallet import Wallet

if TYPE_CHECKING:
    import strawberry

    from models.sets import AnyConnection
    from tests.support.shop import Shop

METHOD = "id stripePaymentMethodId type brand last4 expMonth expYear expiresAt expiresSoon isDefault"
MINE = f"{{ viewer {{ paymentMethods {{ {METHOD} }} }} }}"
NODE = "query($id: ID!) { node(id: $id) { id ... on PaymentMethod { last4 } } }"
OF_PAYMENT = "query($id: ID!) { payment(id: $id) { paymentMethod { id isDefault expMonth } } }"
ERRORS = "errors { __typename code message path }"


def mutation(name: str, answered: str) -> str:
    kind = name[0].upper() + name[1:]
    return f"mutation($input: {kind}Input!) {{ {name}(input: $input) {{ {answered} {ERRORS} }} }}"


SETUP = mutation("createSetupIntent", "clientSecret")
ATTACH = mutation("attachPaymentMethod", f"paymentMethod {{ {METHOD} }}")
DETACH = mutation("detachPaymentMethod", f"paymentMethod {{ {METHOD} }}")
PREFER = mutation("setDefaultPaymentMethod", f"paymentMethod {{ {METHOD} }}")


async def test_methods_are_listed_the_default_first_then_the_newest_and_only_ones_own(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    now = datetime.now(UTC)
    ages = {"0001": 3, "0002": 2, "0003": 1}
    for last4, days in ages.items():
        await add_method(
            connection, market.guest, last4=last4, is_default=last4 == "0002", attached_at=now - timedelta(days=days)
        )
    await add_method(connection, market.guest, last4="0004", is_default=False, detached_at=now)
    await add_method(connection, market.stranger, last4="0005")
    data = await api.data(MINE, user("gustav"))
    methods = data["viewer"]["paymentMethods"]
    assert [method["last4"] for method in methods] == ["0002", "0003", "0001"]
    assert [method["isDefault"] for method in methods] == [True, False, False]
    assert methods[0]["expiresAt"] == "2034-09-01T00:00:00Z"
    assert {method["expiresSoon"] for method in methods} == {False}
    assert (await api.data(MINE, user("henriette")))["viewer"]["paymentMethods"] == []


async def test_a_card_that_is_about_to_expire_says_so_and_what_never_does_does_not(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    now = datetime.now(UTC)
    await add_method(connection, market.guest, exp_month=now.month, exp_year=now.year)
    bank = {"type": "us_bank_account", "brand": None, "exp_month": None, "exp_year": None, "is_default": False}
    await add_method(connection, market.guest, **bank)
    methods = (await api.data(MINE, user("gustav")))["viewer"]["paymentMethods"]
    late = now.day > 1  # on the first of a month of 31 days, its end is 31 days away
    assert [(method["type"], method["expiresSoon"]) for method in methods] == [
        ("card", late or methods[0]["expiresSoon"]), ("us_bank_account", False)
    ]  # fmt: skip
    assert methods[1]["expiresAt"] is None


async def test_a_saved_method_is_a_node_for_its_owner_and_the_platform_alone(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    method = await add_method(connection, market.guest, last4="0001")
    id_ = global_id("PaymentMethod", method.id)
    for viewer in (user("gustav"), SERVICE, ADMIN):
        assert (await api.data(NODE, viewer, id=id_))["node"] == {"id": id_, "last4": "0001"}
    for viewer in (user("henriette"), user("stella"), user("nobody")):
        assert (await api.data(NODE, viewer, id=id_))["node"] is None


async def test_the_method_of_a_payment_is_the_saved_one_to_its_owner_while_it_is_saved(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    method = await add_method(connection, market.guest, stripe_payment_method_id="pm_1", exp_month=12)
    id_ = global_id("Payment", market.payment.id)
    saved = {"id": global_id("PaymentMethod", method.id), "isDefault": True, "expMonth": 12}
    as_it_was = {"id": global_id("PaymentMethod", market.payment.id), "isDefault": False, "expMonth": 4}
    for viewer in (user("gustav"), SERVICE, ADMIN):
        assert (await api.data(OF_PAYMENT, viewer, id=id_))["payment"]["paymentMethod"] == saved
    assert (await api.data(OF_PAYMENT, user("henriette"), id=id_))["payment"]["paymentMethod"] == as_it_was
    await connection.execute("UPDATE payment_methods SET detached_at = now(), is_default = false")
    assert (await api.data(OF_PAYMENT, user("gustav"), id=id_))["payment"]["paymentMethod"] == as_it_was


async def test_a_list_of_payments_with_their_methods_costs_one_statement_more(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    await add_method(connection, market.guest, stripe_payment_method_id="pm_1")
    plain = "{ payments { edges { node { id clientSecret } } } }"
    await api.data(plain, user("gustav"))
    api.statements.clear()
    await api.data(plain, user("gustav"))
    base = len(api.statements)
    api.statements.clear()
    await api.data(plain.replace("clientSecret", "clientSecret paymentMethod { id }"), user("gustav"))
    assert len(api.statements) == base + 1


REFUSED: list[tuple[str, dict[str, Any]]] = [
    (SETUP, {"idempotencyKey": "key"}), (ATTACH, {"stripePaymentMethodId": "pm_1"}),
    (DETACH, {"paymentMethodId": global_id("PaymentMethod", uuid4())}),
    (PREFER, {"paymentMethodId": global_id("PaymentMethod", uuid4())}),
]  # fmt: skip


@pytest.mark.parametrize(("document", "input_"), REFUSED)
async def test_only_people_that_are_known_here_save_methods(
    api: Api, market: Market, document: str, input_: dict[str, Any]
) -> None:
    for viewer, kind in ((SERVICE, "Forbidden"), (ADMIN, "Forbidden"), (user("nobody"), "InvalidState")):
        [payload] = (await api.data(document, viewer, input=input_)).values()
        [error] = payload.pop("errors")
        assert error["__typename"] == kind
        assert set(payload.values()) == {None}
    assert isinstance(await api.refusal(document, None, input=input_), Unauthenticated)
    assert await SavedPaymentMethod.all().count() == 0


@pytest.mark.parametrize("document", [DETACH, PREFER])
async def test_others_unknown_and_malformed_ids_are_not_found(
    api: Api, market: Market, connection: AnyConnection, document: str
) -> None:
    theirs = await add_method(connection, market.stranger)
    ids = [global_id("PaymentMethod", theirs.id), global_id("PaymentMethod", uuid4()),
           global_id("Payment", theirs.id), str(theirs.id), "pm_1", ""]  # fmt: skip
    for id_ in ids:
        [payload] = (await api.data(document, user("gustav"), input={"paymentMethodId": id_})).values()
        [error] = payload["errors"]
        assert (error["__typename"], error["path"]) == ("NotFound", ["input", "paymentMethodId"])
    assert (await SavedPaymentMethod.get(id=theirs.id)).is_default


async def test_a_guest_saves_prefers_pays_with_and_removes_methods(shop: Shop, schema: strawberry.Schema) -> None:
    """All of it over the schema, against the sandbox."""
    guest = user(shop.guest.external_id)

    async def ask(document: str, **input_: Any) -> Any:
        context = new_context(shop.services, guest, accept_language=None)
        result = await schema.execute(document, variable_values={"input": input_}, context_value=context)
        assert result.errors is None, result.errors
        assert result.data is not None
        return next(iter(result.data.values()))

    secret = (await ask(SETUP, idempotencyKey="key"))["clientSecret"]
    assert secret.startswith("seti_")
    assert (await ask(SETUP, idempotencyKey="key"))["clientSecret"] == secret
    first = (await ask(ATTACH, stripePaymentMethodId="pm_card_visa"))["paymentMethod"]
    assert (first["last4"], first["isDefault"], first["expiresSoon"]) == ("4242", True, False)
    second = (await ask(ATTACH, stripePaymentMethodId="pm_card_amex", makeDefault=True))["paymentMethod"]
    assert [row["id"] for row in (await ask(MINE))["paymentMethods"]] == [second["id"], first["id"]]
    assert (await ask(PREFER, paymentMethodId=first["id"]))["paymentMethod"]["isDefault"]
    pay = """mutation($input: PayForActivityInput!) { payForActivity(input: $input) {
        payment { status paymentMethod { id isDefault } } errors { code } } }"""
    activity = global_id("Activity", shop.activity.id)
    for named, used in ((second["id"], second), ("default", first)):
        answer = await ask(pay, activityId=activity, paymentMethod=named, idempotencyKey=str(uuid4()))
        assert answer["errors"] == []
        assert answer["payment"]["status"] == "SUCCEEDED"
        assert answer["payment"]["paymentMethod"]["id"] == used["id"]
    assert (await ask(DETACH, paymentMethodId=first["id"]))["paymentMethod"]["isDefault"] is False
    [left] = (await ask(MINE))["paymentMethods"]
    assert (left["id"], left["isDefault"]) == (second["id"], True)
    declined = await ask(ATTACH, stripePaymentMethodId="pm_card_chargeDeclined")
    assert declined["paymentMethod"] is None
    assert [error["__typename"] for error in declined["errors"]] == ["CardDeclined"]
    await Wallet(shop.services, shop.sandbox, shop.clock, shop.guest).check()


async def test_the_platform_charges_a_guest_who_is_away_over_the_schema(shop: Shop, schema: strawberry.Schema) -> None:
    wallet = Wallet(shop.services, shop.sandbox, shop.clock, shop.guest)
    await wallet.attach("pm_card_authenticationRequired")
    document = """mutation($input: PayForActivityInput!) { payForActivity(input: $input) {
        payment { status clientSecret payer { externalId } failure { declineCode retryable } }
        errors { code message ... on CardDeclined { declineCode retryable } } } }"""
    input_ = {
        "activityId": global_id("Activity", shop.activity.id), "paymentMethod": "default", "offSession": True,
        "payerExternalId": shop.guest.external_id, "idempotencyKey": "key",
    }  # fmt: skip
    context = new_context(shop.services, SERVICE, accept_language=None)
    result = await schema.execute(document, variable_values={"input": input_}, context_value=context)
    assert result.data is not None
    answer = result.data["payForActivity"]
    declined = {"declineCode": "authentication_required", "retryable": True}
    assert answer["payment"] == {
        "status": "FAILED", "clientSecret": None, "payer": {"externalId": shop.guest.external_id}, "failure": declined,
    }  # fmt: skip
    [error] = answer["errors"]
    assert error == {"code": "CARD_DECLINED", "message": error["message"], **declined}
