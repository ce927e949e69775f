"""Products and prices, and what customers have beside their methods: balances, defaults, cards that are replaced."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.driver import Driver

# What is shown only where it is asked for, or only of what is deleted.
UNSHOWN: dict[type, set[str]] = {
    stripe.Product: {"deleted"}, stripe.Price: {"deleted", "currency_options", "tiers"},
    stripe.Coupon: {"deleted", "applies_to", "currency_options"}, stripe.PromotionCode: set(),
    stripe.Discount: {"deleted"}, stripe.CustomerBalanceTransaction: set(),
    stripe.test_helpers.TestClock: {"deleted"},
}  # fmt: skip


async def product(driver: Driver, **fields: Any) -> Any:
    return await driver.v1.products.create_async({"name": "Club", **fields})  # type: ignore[typeddict-item]


async def price(driver: Driver, of: str, **fields: Any) -> Any:
    wanted = {"product": of, "currency": "usd", "unit_amount": 1_000, "recurring": {"interval": "month"}, **fields}
    return await driver.v1.prices.create_async(wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("class_", UNSHOWN, ids=lambda class_: class_.__name__)
async def test_objects_have_the_fields_that_the_package_knows(stripe_api, class_):
    club = await product(stripe_api)
    coupon = await stripe_api.v1.coupons.create_async({"percent_off": 5, "duration": "forever"})
    clock = await stripe_api.v1.test_helpers.test_clocks.create_async({"frozen_time": 1})
    customer = await stripe_api.v1.customers.create_async({"balance": -5})
    _, discounted, _ = await stripe_api.raw("POST", f"/v1/customers/{customer.id}", f"coupon={coupon.id}")
    code = await stripe_api.v1.promotion_codes.create_async({"promotion": {"type": "coupon", "coupon": coupon.id}})
    moved = (await stripe_api.v1.customers.balance_transactions.list_async(customer.id)).data[0]
    paths = {
        stripe.Product: f"products/{club.id}", stripe.Price: f"prices/{(await price(stripe_api, club.id)).id}",
        stripe.Coupon: f"coupons/{coupon.id}", stripe.PromotionCode: f"promotion_codes/{code.id}",
        stripe.CustomerBalanceTransaction: f"customers/{customer.id}/balance_transactions/{moved.id}",
        stripe.test_helpers.TestClock: f"test_helpers/test_clocks/{clock.id}",
    }  # fmt: skip
    body = discounted["discount"]
    if class_ in paths:
        _, body, _ = await stripe_api.raw("GET", f"/v1/{paths[class_]}")
    known = {name for name in class_.__annotations__ if name[0] != "_" and name != "OBJECT_NAME"}
    assert known - set(body) == UNSHOWN[class_]
    assert set(body) <= known


async def in_currencies(driver: Driver, path: str, name: str) -> dict[str, int]:
    """What something comes to in each of its currencies."""
    _, body, _ = await driver.raw("GET", f"/v1/{path}?expand[]=currency_options")
    return {currency: option[name] for currency, option in body["currency_options"].items()}


async def test_a_product_is_made_changed_listed_and_deleted(stripe_api):
    made = await product(
        stripe_api, marketing_features=[{"name": "Towels"}], metadata={"plan": "club"}, statement_descriptor="CLUB",
        package_dimensions={"height": 1.5, "length": 2, "weight": 3, "width": 4},
    )  # fmt: skip
    assert (made.active, made.default_price, made.created) == (True, None, made.updated)
    assert [feature.name for feature in made.marketing_features] == ["Towels"]
    changed = await stripe_api.v1.products.update_async(
        made.id, {"name": "Club+", "marketing_features": "", "metadata": {"plan": ""}, "description": "All of it"}
    )
    assert (changed.name, changed.marketing_features, changed.metadata.to_dict()) == ("Club+", [], {})
    await stripe_api.v1.products.update_async(made.id, {"active": False, "description": ""})
    for params, expected in (({"ids": [made.id]}, [made.id]), ({"ids": [made.id], "active": True}, [])):
        assert [one.id for one in (await stripe_api.v1.products.list_async(params)).data] == expected
    assert (await stripe_api.v1.products.delete_async(made.id)).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match=f"No such product: '{made.id}'") as gone:
        await stripe_api.v1.products.retrieve_async(made.id)
    assert gone.value.http_status == 404
    events = await stripe_api.events_of(made.id)
    assert [event.type for event in events] == [
        "product.created", "product.updated", "product.updated", "product.deleted"
    ]  # fmt: skip
    previous = events[1].to_dict()["data"]["previous_attributes"]
    assert previous["name"] == "Club"
    assert previous["metadata"] == {"plan": "club"}
    assert events[-1].to_dict()["data"]["object"]["active"] is False


async def test_a_product_comes_with_its_default_price(stripe_api):
    made = await product(
        stripe_api, id="prod_with_price", expand=["default_price"],
        default_price_data={
            "currency": "usd", "unit_amount": 900, "recurring": {"interval": "week", "interval_count": 2},
            "currency_options": {"eur": {"unit_amount": 800}},
        },
    )  # fmt: skip
    own = made.default_price
    assert (own.unit_amount, own.recurring.interval, own.recurring.interval_count) == (900, "week", 2)
    assert await in_currencies(stripe_api, f"prices/{own.id}", "unit_amount") == {"usd": 900, "eur": 800}
    types = [event.type for event in await stripe_api.events_of(made.id, own.id)]
    assert types == ["product.created", "price.created"]
    with pytest.raises(stripe.InvalidRequestError, match="default price of its product"):
        await stripe_api.v1.prices.update_async(own.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="one or more user-created prices"):
        await stripe_api.v1.products.delete_async(made.id)
    assert (await stripe_api.v1.products.retrieve_async(made.id)).active is True


async def test_an_id_of_ones_own_is_taken_once_and_again_when_it_is_free(stripe_api):
    await product(stripe_api, id="club_of_ones_own")
    with pytest.raises(stripe.InvalidRequestError, match=r"Product already exists\.") as refused:
        await product(stripe_api, id="club_of_ones_own", name="Other")
    assert refused.value.code == "resource_already_exists"
    assert (await stripe_api.v1.products.retrieve_async("club_of_ones_own")).name == "Club"
    await stripe_api.v1.products.delete_async("club_of_ones_own")
    await product(stripe_api, id="club_of_ones_own", name="Other")
    assert (await stripe_api.v1.products.retrieve_async("club_of_ones_own")).name == "Other"


async def test_only_a_price_of_its_own_becomes_a_products_default(stripe_api):
    one, other = await product(stripe_api), await product(stripe_api)
    own, foreign = await price(stripe_api, one.id), await price(stripe_api, other.id)
    for wrong in (foreign.id, "price_nope"):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await stripe_api.v1.products.update_async(one.id, {"default_price": wrong})
        assert refused.value.param == "default_price"
    assert (await stripe_api.v1.products.retrieve_async(one.id)).default_price is None
    assert (await stripe_api.v1.products.update_async(one.id, {"default_price": own.id})).default_price == own.id


async def test_what_a_price_costs_never_changes(stripe_api):
    made = await price(stripe_api, (await product(stripe_api)).id, currency_options={"eur": {"unit_amount": 900}})
    assert (made.type, made.billing_scheme, str(made.unit_amount_decimal)) == ("recurring", "per_unit", "1000")
    for form in ("unit_amount=2", "currency=eur", "recurring[interval]=day", "product=prod_x"):
        status, body, _ = await stripe_api.raw("POST", f"/v1/prices/{made.id}", form)
        assert (status, body["error"]["code"]) == (400, "parameter_unknown")
    changed = await stripe_api.v1.prices.update_async(
        made.id,
        {"active": False, "nickname": "Old", "metadata": {"a": "b"}, "currency_options": {"gbp": {"unit_amount": 800}}},
    )
    assert (changed.active, changed.nickname, changed.unit_amount) == (False, "Old", 1_000)
    assert await in_currencies(stripe_api, f"prices/{made.id}", "unit_amount") == {"usd": 1_000, "eur": 900, "gbp": 800}
    shown = await stripe_api.v1.prices.retrieve_async(made.id, {"expand": ["product"]})
    assert shown.product.name == "Club"
    events = [(event.type, event.to_dict()["data"]) for event in await stripe_api.events_of(made.id)]
    assert [type_ for type_, _ in events] == ["price.created", "price.updated"]
    assert events[1][1]["previous_attributes"]["active"] is True
    assert "_currency_options" not in events[1][1]["object"]


async def test_a_price_may_make_its_product(stripe_api):
    made = await stripe_api.v1.prices.create_async(
        {"currency": "eur", "unit_amount": 0, "product_data": {"name": "Day pass", "metadata": {"a": "b"}}}
    )
    assert (made.type, made.recurring, made.unit_amount) == ("one_time", None, 0)
    assert (await stripe_api.v1.products.retrieve_async(made.product)).name == "Day pass"


async def test_a_lookup_key_belongs_to_one_price_and_can_be_handed_on(stripe_api):
    club = (await product(stripe_api)).id
    first = await price(stripe_api, club, lookup_key="club_monthly")
    await stripe_api.v1.prices.update_async(first.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match=rf"A price \(`{first.id}`\) already uses that lookup key\."):
        await price(stripe_api, club, lookup_key="club_monthly")
    second = await price(stripe_api, club, lookup_key="club_monthly", transfer_lookup_key=True, unit_amount=1_200)
    found = await stripe_api.v1.prices.list_async({"lookup_keys": ["club_monthly", "club_weekly"]})
    assert [one.id for one in found.data] == [second.id]
    assert (await stripe_api.v1.prices.retrieve_async(first.id)).lookup_key is None
    again = await stripe_api.v1.prices.update_async(second.id, {"lookup_key": "club_monthly"})
    assert again.lookup_key == "club_monthly"
    updated = (await stripe_api.events_of(first.id))[-1].to_dict()["data"]
    assert updated["previous_attributes"] == {"lookup_key": "club_monthly"}


async def test_prices_are_listed_by_what_they_are(stripe_api):
    club = (await product(stripe_api)).id
    monthly, yearly = await price(stripe_api, club), await price(stripe_api, club, recurring={"interval": "year"})
    once = await stripe_api.v1.prices.create_async({"product": club, "currency": "eur", "unit_amount": 5})
    for params, expected in (
        ({}, [once.id, yearly.id, monthly.id]), ({"type": "one_time"}, [once.id]), ({"currency": "eur"}, [once.id]),
        ({"recurring": {"interval": "year"}}, [yearly.id]), ({"active": False}, []),
    ):  # fmt: skip
        page = await stripe_api.v1.prices.list_async({"product": club, **params})
        assert [one.id for one in page.data] == expected, params
    with pytest.raises(stripe.InvalidRequestError, match="No such product: 'prod_x'"):
        await stripe_api.v1.prices.list_async({"product": "prod_x"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unit_amount": None}, "require an `unit_amount` or `unit_amount_decimal`"),
        ({"unit_amount": -1}, "greater than or equal to 0"),
        ({"unit_amount": 100_000_000}, "less than or equal to 99999999"),
        ({"currency": "xxx"}, "Invalid currency: xxx"),
        ({"product": "prod_x"}, "No such product: 'prod_x'"),
        ({"product": None}, "You must specify either `product` or `product_data`"),
        ({"product_data": {"name": "x"}}, "only specify one of these parameters: product, product_data"),
        ({"recurring": {"interval": "month", "interval_count": 37}}, "from 1 to 36"),
        ({"recurring": {"interval": "fortnight"}}, "must be one of"),
        ({"recurring": {"interval": "month", "usage_type": "metered"}}, "must be backed by meters"),
        ({"billing_scheme": "tiered", "unit_amount": None}, "Tiered prices are not built into the sandbox"),
        ({"billing_scheme": "tiered", "recurring": None}, "not supported with tiered billing"),
        ({"transform_quantity": {"divide_by": 5, "round": "up"}}, "not built into the sandbox"),
        ({"unit_amount": None, "unit_amount_decimal": "0.5"}, "Fractions of the smallest unit"),
        ({"currency_options": {"usd": {"unit_amount": 1}}}, "is the price's own currency"),
        ({"currency_options": {"EUR": {"unit_amount": 1}}}, "Use `eur` instead of `EUR`"),
        ({"currency_options": {"eur": {"tax_behavior": "inclusive"}}}, "require an `unit_amount`"),
    ],
)
async def test_a_price_that_cannot_be_is_refused(stripe_api, fields, message):
    club = (await product(stripe_api)).id
    wanted = {"product": club, "currency": "usd", "unit_amount": 1, "recurring": {"interval": "month"}, **fields}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    with pytest.raises(stripe.InvalidRequestError, match=message):
        await stripe_api.v1.prices.create_async(wanted)
    assert (await stripe_api.v1.prices.list_async({"product": club})).data == []


async def test_a_balance_is_moved_and_every_movement_is_kept(stripe_api):
    customer = await stripe_api.v1.customers.create_async({"email": "a@example.com"})
    service = stripe_api.v1.customers.balance_transactions
    credit = await service.create_async(
        customer.id, {"amount": -700, "currency": "usd", "description": "Sorry", "metadata": {"a": "b"}}
    )
    assert (credit.type, credit.amount, credit.ending_balance) == ("adjustment", -700, -700)
    await service.create_async(customer.id, {"amount": 200, "currency": "usd"})
    await service.create_async(customer.id, {"amount": -50, "currency": "eur"})
    after = await stripe_api.v1.customers.retrieve_async(customer.id, {"expand": ["invoice_credit_balance"]})
    assert (after.balance, after.currency) == (-500, "usd")
    assert after.invoice_credit_balance.to_dict() == {"usd": -500, "eur": -50}
    changed = await service.update_async(customer.id, credit.id, {"description": "Very sorry"})
    assert (changed.description, changed.metadata.to_dict()) == ("Very sorry", {"a": "b"})
    page = await service.list_async(customer.id)
    assert [one.amount for one in page.data] == [-50, 200, -700]
    with pytest.raises(stripe.InvalidRequestError, match="No such customer balance transaction"):
        await service.retrieve_async(await stripe_api.customer(), credit.id)
    updates = [event for event in await stripe_api.events_of(customer.id) if event.type == "customer.updated"]
    assert updates[0].to_dict()["data"]["previous_attributes"] == {"balance": 0, "currency": None}
    with pytest.raises(stripe.InvalidRequestError, match="not 0"):
        await service.create_async(customer.id, {"amount": 0, "currency": "usd"})


async def test_a_balance_given_to_a_customer_is_a_movement_too(stripe_api):
    customer = await stripe_api.v1.customers.create_async({"balance": -300})
    await stripe_api.v1.customers.update_async(customer.id, {"balance": 100})
    page = await stripe_api.v1.customers.balance_transactions.list_async(customer.id)
    assert [(one.type, one.amount, one.ending_balance) for one in page.data] == [
        ("adjustment", 400, 100), ("initial", -300, -300)
    ]  # fmt: skip


async def test_only_a_method_of_their_own_becomes_a_customers_default(stripe_api):
    one, other = await stripe_api.customer(), await stripe_api.customer()
    method = await stripe_api.v1.payment_methods.attach_async("pm_card_visa", {"customer": other})
    for wrong, message in ((method.id, "must be attached to the customer"), ("pm_x", "No such PaymentMethod")):
        with pytest.raises(stripe.InvalidRequestError, match=message) as refused:
            await stripe_api.v1.customers.update_async(one, {"invoice_settings": {"default_payment_method": wrong}})
        assert refused.value.code == "resource_missing"
        assert refused.value.param == "invoice_settings[default_payment_method]"
    assert (await stripe_api.v1.customers.retrieve_async(one)).invoice_settings.default_payment_method is None


async def test_a_customer_may_come_with_a_method_that_is_the_default(stripe_api):
    customer = await stripe_api.v1.customers.create_async(
        {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    [method] = (await stripe_api.v1.customers.payment_methods.list_async(customer.id)).data
    assert customer.invoice_settings.default_payment_method == method.id


async def test_changing_and_detaching_the_default_is_told(stripe_api):
    customer = await stripe_api.customer()
    method = await stripe_api.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    await stripe_api.v1.customers.update_async(customer, {"invoice_settings": {"default_payment_method": method.id}})
    await stripe_api.v1.payment_methods.detach_async(method.id)
    assert (await stripe_api.v1.customers.retrieve_async(customer)).invoice_settings.default_payment_method is None
    updates = [
        event.to_dict()["data"]["previous_attributes"]
        for event in await stripe_api.events_of(customer)
        if event.type == "customer.updated"
    ]
    assert updates == [
        {"invoice_settings": {"default_payment_method": None}},
        {"invoice_settings": {"default_payment_method": method.id}},
    ]


async def test_a_card_that_the_network_replaced_is_told(stripe_api):
    customer = await stripe_api.customer()
    method = await stripe_api.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    path = f"payment_methods/{method.id}/update_card"
    await stripe_api.control("POST", path, exp_month=3, exp_year=2020, last4="1881")
    card = (await stripe_api.v1.payment_methods.retrieve_async(method.id)).card
    assert (card.exp_month, card.exp_year, card.last4) == (3, 2020, "1881")
    assert card.fingerprint != method.card.fingerprint
    told = (await stripe_api.events_of(method.id))[-1]
    assert told.type == "payment_method.automatically_updated"
    assert told.to_dict()["data"]["previous_attributes"]["card"]["last4"] == "4242"
    for wrong in ({"exp_month": 13}, {"exp_year": "soon"}, {"last4": "12345"}):
        assert (await stripe_api.refused_control("POST", path, **wrong))[0] == 400
    unsaved = await stripe_api.v1.payment_methods.create_async({"type": "card", "card": {"token": "tok_visa"}})
    assert (await stripe_api.refused_control("POST", f"payment_methods/{unsaved.id}/update_card"))[0] == 400


async def test_a_saved_card_can_fail_for_a_while_and_work_again(stripe_api):
    customer = await stripe_api.customer()
    method = await stripe_api.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    path = f"payment_methods/{method.id}/behave_as"
    await stripe_api.control("POST", path, test="pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError):
        await stripe_api.pay(method.id, customer=customer, off_session=True)
    await stripe_api.control("POST", path, test="pm_card_authenticationRequired")
    with pytest.raises(stripe.CardError, match="requires authentication"):
        await stripe_api.pay(method.id, customer=customer, off_session=True)
    shown = await stripe_api.control("POST", path, test="pm_card_visa")
    assert shown["card"]["last4"] == "4242"
    assert (await stripe_api.pay(method.id, customer=customer, off_session=True)).status == "succeeded"
    for wrong in ("pm_usBankAccount_success", "pm_card_nope", None):
        assert (await stripe_api.refused_control("POST", path, test=wrong))[0] == 400
