"""Coupons, promotion codes and the discounts that come of them; what a discount takes off which line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from sandbox import discounts
from sandbox.app import SandboxApp
from sandbox.engine import Options
from sandbox.errors import ApiError
from tests.sandbox.driver import Driver
from tests.sandbox.test_any_request import InProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sandbox.work import Work

DAY = 86_400


async def coupon(driver: Driver, **fields: Any) -> Any:
    wanted = fields if {"percent_off", "amount_off"} & set(fields) else {"percent_off": 25, **fields}
    return await driver.v1.coupons.create_async(wanted)  # type: ignore[arg-type]


async def code(driver: Driver, of: str, **fields: Any) -> Any:
    wanted = {"promotion": {"type": "coupon", "coupon": of}, **fields}
    return await driver.v1.promotion_codes.create_async(wanted)  # type: ignore[arg-type]


async def test_a_coupon_is_made_changed_listed_and_deleted(stripe_api):
    made = await coupon(stripe_api, percent_off=12.5, name="Spring", metadata={"a": "b"})
    assert (made.percent_off, made.duration, made.valid, made.times_redeemed) == (12.5, "once", True, 0)
    assert len(made.id) == 8
    changed = await stripe_api.v1.coupons.update_async(made.id, {"name": "Summer"})
    assert (changed.name, changed.metadata.to_dict()) == ("Summer", {"a": "b"})
    assert made.id in [one.id for one in (await stripe_api.v1.coupons.list_async({"limit": 5})).data]
    assert (await stripe_api.v1.coupons.delete_async(made.id)).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match=f"No such coupon: '{made.id}'"):
        await stripe_api.v1.coupons.retrieve_async(made.id)
    events = await stripe_api.events_of(made.id)
    assert [event.type for event in events] == ["coupon.created", "coupon.updated", "coupon.deleted"]
    assert events[1].to_dict()["data"]["previous_attributes"] == {"name": "Spring"}
    assert events[2].to_dict()["data"]["object"]["valid"] is False


async def test_an_amount_off_has_its_currencies_and_products(stripe_api):
    club = await stripe_api.v1.products.create_async({"name": "Club"})
    made = await coupon(
        stripe_api, id="FIVE_OFF", amount_off=500, currency="usd", applies_to={"products": [club.id]},
        currency_options={"eur": {"amount_off": 400}}, duration="repeating", duration_in_months=3,
    )  # fmt: skip
    assert (made.id, made.amount_off, made.currency, made.duration_in_months) == ("FIVE_OFF", 500, "usd", 3)
    assert "applies_to" not in made
    await stripe_api.v1.coupons.update_async(made.id, {"currency_options": {"gbp": {"amount_off": 300}}})
    _, shown, _ = await stripe_api.raw(
        "GET", f"/v1/coupons/{made.id}?expand[]=applies_to&expand[]=currency_options"
    )
    assert shown["applies_to"] == {"products": [club.id]}
    amounts = {name: option["amount_off"] for name, option in shown["currency_options"].items()}
    assert amounts == {"usd": 500, "eur": 400, "gbp": 300}
    with pytest.raises(stripe.InvalidRequestError, match=r"Coupon already exists\."):
        await coupon(stripe_api, id="FIVE_OFF")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duration": "once"}, r"Must provide percent_off or amount_off\."),
        ({"percent_off": 1, "amount_off": 1, "currency": "usd"}, "Received both percent_off and amount_off"),
        ({"percent_off": 0}, r"greater than or equal to 0\.01 \(it currently is '0\.0'\)"),
        ({"percent_off": 100.5}, "less than or equal to 100"),
        ({"amount_off": 1}, "You must pass currency when passing amount_off"),
        ({"amount_off": 0, "currency": "usd"}, "greater than or equal to 1"),
        ({"amount_off": 1, "currency": "xxx"}, "Invalid currency: xxx"),
        ({"percent_off": 1, "duration": "repeating"}, "duration_in_months param must be set"),
        ({"percent_off": 1, "duration_in_months": 2}, "only be set with a repeating duration"),
        ({"percent_off": 1, "duration": "repeating", "duration_in_months": 0}, "greater than or equal to 1"),
        ({"percent_off": 1, "max_redemptions": 0}, "greater than or equal to 1"),
        ({"percent_off": 1, "redeem_by": 1_000}, "`1000` which is in the past"),
        ({"percent_off": 1, "redeem_by": 9_999_999_999}, "no more than five years"),
        ({"percent_off": 1, "applies_to": {"products": ["prod_x"]}}, "No such product: 'prod_x'"),
        ({"percent_off": 1, "currency_options": {"eur": {"amount_off": 1}}}, "currency_options, percent_off"),
        ({"percent_off": 1, "name": "n" * 41}, "at most 40 characters"),
    ],
)
async def test_a_coupon_that_cannot_be_is_refused(stripe_api, fields, message):
    with pytest.raises(stripe.InvalidRequestError, match=message):
        await stripe_api.v1.coupons.create_async({"id": "NEVER_MADE", **fields})
    with pytest.raises(stripe.InvalidRequestError, match="No such coupon"):
        await stripe_api.v1.coupons.retrieve_async("NEVER_MADE")


async def test_a_promotion_code_is_made_found_and_changed(stripe_api):
    made, customer = await coupon(stripe_api), await stripe_api.customer()
    typed = await code(
        stripe_api, made.id, code="Spring-26", customer=customer, max_redemptions=5, expires_at=int(time.time()) + DAY,
        restrictions={
            "first_time_transaction": True, "minimum_amount": 1_000, "minimum_amount_currency": "usd",
            "currency_options": {"eur": {"minimum_amount": 900}},
        },
    )  # fmt: skip
    assert (typed.code, typed.active, typed.promotion.coupon, typed.times_redeemed) == ("Spring-26", True, made.id, 0)
    assert typed.restrictions.minimum_amount == 1_000
    for params, expected in (
        ({"code": "SPRING-26"}, [typed.id]), ({"coupon": made.id}, [typed.id]), ({"customer": customer}, [typed.id]),
        ({"coupon": made.id, "active": False}, []),
    ):  # fmt: skip
        assert [one.id for one in (await stripe_api.v1.promotion_codes.list_async(params)).data] == expected, params
    shown = await stripe_api.v1.promotion_codes.retrieve_async(typed.id, {"expand": ["promotion.coupon", "customer"]})
    assert (shown.promotion.coupon.percent_off, shown.customer.id) == (25, customer)
    off = await stripe_api.v1.promotion_codes.update_async(typed.id, {"active": False, "metadata": {"a": "b"}})
    assert off.active is False
    events = await stripe_api.events_of(typed.id)
    assert [event.type for event in events] == ["promotion_code.created", "promotion_code.updated"]


async def test_a_code_is_made_up_where_none_is_asked_for(stripe_api):
    made = await code(stripe_api, (await coupon(stripe_api)).id)
    assert len(made.code) == 8
    assert made.code == made.code.upper()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"promotion": {"type": "coupon"}}, "You must pass promotion.coupon when passing promotion"),
        ({"promotion": {"type": "coupon", "coupon": "NOPE"}}, "No such coupon: 'NOPE'"),
        ({"code": "has spaces!"}, "must match the regex pattern"),
        ({"code": "TAKEN"}, "An active promotion code with `code: TAKEN` already exists"),
        ({"code": "taken"}, "already exists"),
        ({"customer": "cus_x"}, "No such customer: 'cus_x'"),
        ({"expires_at": 2_000}, "`2000` which is in the past"),
        ({"max_redemptions": 0}, "greater than or equal to 1"),
        ({"restrictions": {"minimum_amount": 5}}, "both minimum_amount and minimum_amount_currency"),
        ({"restrictions": {"minimum_amount": 0, "minimum_amount_currency": "usd"}}, "from 1 to"),
        ({"restrictions": {"currency_options": {"eur": {"minimum_amount": 1}}}}, "only beside a minimum_amount"),
    ],
)
async def test_a_promotion_code_that_cannot_be_is_refused(stripe_api, fields, message):
    made = await coupon(stripe_api)
    if not (await stripe_api.v1.promotion_codes.list_async({"code": "TAKEN"})).data:
        await code(stripe_api, (await coupon(stripe_api)).id, code="TAKEN")
    with pytest.raises(stripe.InvalidRequestError, match=message):
        await code(stripe_api, made.id, **fields)
    assert (await stripe_api.v1.promotion_codes.list_async({"coupon": made.id})).data == []


async def test_a_code_ends_with_its_coupon_and_its_name_is_free_again(stripe_api):
    made = await coupon(stripe_api)
    typed = await code(stripe_api, made.id, code="ENDS")
    await stripe_api.v1.coupons.delete_async(made.id)
    assert (await stripe_api.v1.promotion_codes.retrieve_async(typed.id)).active is False
    with pytest.raises(stripe.InvalidRequestError, match="cannot be reactivated"):
        await stripe_api.v1.promotion_codes.update_async(typed.id, {"active": True})
    await code(stripe_api, (await coupon(stripe_api)).id, code="ENDS")


async def test_a_customers_discount_is_told_counted_and_taken_off(stripe_api):
    made, customer = await coupon(stripe_api, duration="forever"), await stripe_api.customer()
    typed = await code(stripe_api, made.id)
    status, body, _ = await stripe_api.raw("POST", f"/v1/customers/{customer}", f"promotion_code={typed.id}")
    assert status == 200
    discount = body["discount"]
    assert (discount["promotion_code"], discount["end"], discount["customer"]) == (typed.id, None, customer)
    assert (await stripe_api.v1.promotion_codes.retrieve_async(typed.id)).times_redeemed == 1
    assert (await stripe_api.v1.coupons.retrieve_async(made.id)).times_redeemed == 1
    shown = await stripe_api.v1.customers.retrieve_async(customer, {"expand": ["discount.source.coupon"]})
    assert shown.discount.source.coupon.percent_off == 25

    gone = await stripe_api.v1.customers.delete_discount_async(customer)
    assert (gone.id, gone.deleted) == (discount["id"], True)
    assert (await stripe_api.v1.customers.retrieve_async(customer)).discount is None
    types = [event.type for event in await stripe_api.events_of(discount["id"])]
    assert types == ["customer.discount.created", "customer.discount.deleted"]
    with pytest.raises(stripe.InvalidRequestError, match=f"No active discount for customer: {customer}") as none:
        await stripe_api.v1.customers.delete_discount_async(customer)
    assert none.value.http_status == 404


async def test_the_package_of_today_puts_no_coupon_on_a_customer(stripe_api):
    status, body, _ = await stripe_api.raw(
        "POST", "/v1/customers", f"coupon={(await coupon(stripe_api)).id}", Stripe_Version="2026-10-28.endive"
    )
    assert (status, body["error"]["code"]) == (400, "parameter_unknown")


class Redeeming:
    """Redeems in this process, as the builders of subscriptions and invoices do."""

    def __init__(self, app: SandboxApp) -> None:
        self.app = app
        self.api = InProcess(app)

    def work(self) -> Work:
        return self.app.engine.work(self.app.engine.platform_of("sk_test_any_request"))

    async def redeemed(self, **what: Any) -> dict[str, Any]:
        work = self.work()
        discount = discounts.redeem(work, **what)
        await self.app.engine.finish(work)
        return discount

    def refused(self, **what: Any) -> str:
        with pytest.raises(ApiError) as refused:
            discounts.redeem(self.work(), **what)
        return str(refused.value)


@pytest.fixture
async def redeeming(tmp_path: Path) -> AsyncIterator[Redeeming]:
    app = SandboxApp(Options(tmp_path))
    async with app.engine.running():
        yield Redeeming(app)


async def test_a_coupon_is_redeemed_as_often_as_it_says(redeeming):
    made = await redeeming.api.made("/v1/coupons", percent_off=10, max_redemptions=2)
    for _ in range(2):
        await redeeming.redeemed(customer=None, coupon=made["id"])
    assert redeeming.refused(customer=None, coupon=made["id"]) == (
        f"Coupon {made['id']} is used up and cannot be applied."
    )
    _, after = await redeeming.api.ask("GET", f"/v1/coupons/{made['id']}")
    assert (after["times_redeemed"], after["valid"]) == (2, False)


async def test_a_coupon_is_not_redeemed_after_its_day(redeeming):
    made = await redeeming.api.made("/v1/coupons", percent_off=10, redeem_by=int(time.time()) + DAY)
    work = redeeming.work()
    work.now += 2 * DAY
    with pytest.raises(ApiError, match=f"Coupon expired: {made['id']}") as refused:
        discounts.redeem(work, customer=None, coupon=made["id"])
    assert (refused.value.code, refused.value.param) == ("coupon_expired", "discounts[0][coupon]")


async def test_a_code_says_who_may_redeem_it_and_for_how_much(redeeming):
    made = (await redeeming.api.made("/v1/coupons", percent_off=10))["id"]
    of = {"promotion[type]": "coupon", "promotion[coupon]": made}
    one, other = [(await redeeming.api.made("/v1/customers"))["id"] for _ in range(2)]
    own = (await redeeming.api.made("/v1/promotion_codes", customer=one, **of))["id"]
    assert "another customer" in redeeming.refused(customer=other, promotion_code=own)
    assert (await redeeming.redeemed(customer=one, promotion_code=own))["promotion_code"] == own

    minimum = {
        "restrictions[minimum_amount]": 1_000, "restrictions[minimum_amount_currency]": "usd",
        "restrictions[currency_options][eur][minimum_amount]": 900,
    }  # fmt: skip
    large = (await redeeming.api.made("/v1/promotion_codes", **of, **minimum))["id"]
    for currency, amount in (("usd", 999), ("eur", 899), ("gbp", 10_000)):
        message = redeeming.refused(customer=one, promotion_code=large, currency=currency, amount=amount)
        assert message.endswith("does not meet the minimum amount requirement.")
    await redeeming.redeemed(customer=one, promotion_code=large, currency="eur", amount=900)

    newcomers = {"restrictions[first_time_transaction]": "true"}
    first = (await redeeming.api.made("/v1/promotion_codes", **of, **newcomers))["id"]
    await redeeming.redeemed(customer=other, promotion_code=first)
    method = await redeeming.api.made("/v1/payment_methods/pm_card_visa/attach", customer=one)
    await redeeming.api.made(
        "/v1/payment_intents", amount=500, currency="usd", customer=one, payment_method=method["id"], confirm="true",
        return_url="https://example.com",
    )  # fmt: skip
    assert redeeming.refused(customer=one, promotion_code=first) == (
        "This promotion code cannot be redeemed because the associated customer has prior transactions."
    )
    used = (await redeeming.api.made("/v1/promotion_codes", max_redemptions=1, **of))["id"]
    await redeeming.redeemed(customer=one, promotion_code=used)
    assert redeeming.refused(customer=other, promotion_code=used) == "This promotion code is inactive."


async def test_a_list_of_discounts_names_each_in_one_way_and_each_coupon_once(redeeming):
    made = (await redeeming.api.made("/v1/coupons", percent_off=10))["id"]
    other = (await redeeming.api.made("/v1/coupons", amount_off=10, currency="usd"))["id"]
    work = redeeming.work()
    both = discounts.redeem_all(work, [{"coupon": made}, {"coupon": other}], customer=None, currency="usd")
    assert [discount["source"]["coupon"] for discount in both] == [made, other]
    assert discounts.redeem_all(work, [{"discount": both[0]["id"]}], customer=None) == [both[0]]
    assert discounts.redeem_all(work, "", customer=None) == []
    for wrong, param in (
        ([{}], "discounts[0]"), ([{"coupon": made, "discount": "di_x"}], "discounts[0]"),
        ([{"coupon": made}, {"coupon": made}], "discounts"), ([{"discount": "di_x"}], "discounts[0][discount]"),
        ([{"coupon": "NOPE"}], "discounts[0][coupon]"), ([{"coupon": made}] * 21, "discounts"),
    ):  # fmt: skip
        with pytest.raises(ApiError) as refused:
            discounts.redeem_all(redeeming.work(), wrong, customer=None)
        assert refused.value.param == param
    with pytest.raises(ApiError, match="cannot be applied to what is billed in eur"):
        discounts.redeem_all(redeeming.work(), [{"coupon": other}], customer=None, currency="eur")


async def test_months_are_counted_from_the_day_it_was_redeemed(redeeming):
    made = (await redeeming.api.made("/v1/coupons", percent_off=10, duration="repeating", duration_in_months=1))["id"]
    work = redeeming.work()
    work.now = 1_801_382_400  # 2027-01-31
    discount = discounts.redeem(work, customer=None, coupon=made)
    assert discount["end"] == 1_803_801_600  # 2027-02-28
    assert discounts.applicable([discount], discount["end"] - 1) == [discount]
    assert discounts.applicable([discount], discount["end"]) == []


async def test_what_is_for_once_is_over_when_an_invoice_has_used_it(redeeming):
    once = (await redeeming.api.made("/v1/coupons", percent_off=10))["id"]
    ever = (await redeeming.api.made("/v1/coupons", percent_off=10, duration="forever"))["id"]
    work = redeeming.work()
    pair = [discounts.redeem(work, customer=None, coupon=one) for one in (once, ever)]
    discounts.use_up(work, pair)
    assert discounts.applicable(pair, work.now) == [pair[1]]
    discounts.use_up(work, pair)
    assert [event.type for event in work.events].count("customer.discount.deleted") == 1


async def test_what_was_redeemed_outlives_its_coupon(redeeming):
    made = (await redeeming.api.made("/v1/coupons", percent_off=10, duration="forever"))["id"]
    discount = await redeeming.redeemed(customer=None, coupon=made)
    await redeeming.api.ask("DELETE", f"/v1/coupons/{made}")
    assert [part[0]["amount"] for part in discounts.amount_off([discount], [line(1_000)])] == [100]


def line(amount: int, currency: str = "usd", product: str | None = None, *, discountable: bool = True) -> Any:
    return {
        "amount": amount, "currency": currency, "discountable": discountable,
        "pricing": {"price_details": {"product": product}},
    }  # fmt: skip


def worth(percent: float | None = None, *, amounts: Any = None, products: Any = None) -> Any:
    terms = {"percent_off": percent, "amount_off": amounts or {}, "products": products, "duration": "once"}
    return {"id": f"di_{percent}", "_terms": terms}


def taken(given_discounts: list[Any], lines: list[Any]) -> list[list[int]]:
    return [[part["amount"] for part in parts] for parts in discounts.amount_off(given_discounts, lines)]


@pytest.mark.parametrize(
    ("given_discounts", "lines", "expected"),
    [
        ([worth(10)], [line(999)], [[100]]),
        ([worth(50)], [line(5), line(5), line(5)], [[3], [3], [2]]),
        ([worth(100)], [line(7), line(0)], [[7], [0]]),
        ([worth(amounts={"usd": 500})], [line(300)], [[300]]),
        ([worth(amounts={"usd": 100})], [line(200), line(100)], [[67], [33]]),
        ([worth(amounts={"usd": 100})], [line(200, "eur")], [[0]]),
        ([worth(10, products=["a"])], [line(100, product="a"), line(100, product="b")], [[10], [0]]),
        ([worth(50)], [line(100), line(-60), line(40, discountable=False)], [[50], [0], [0]]),
        ([worth(amounts={"usd": 100}), worth(50)], [line(300)], [[100, 100]]),
        ([worth(50), worth(amounts={"usd": 100})], [line(300)], [[150, 100]]),
        ([worth(33.3)], [line(1_000)], [[333]]),
        ([], [line(5)], [[]]),
    ],
)  # fmt: skip
def test_a_discount_takes_its_part_of_what_those_before_have_left(given_discounts, lines, expected):
    assert taken(given_discounts, lines) == expected


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**7), min_size=1, max_size=8))
def test_parts_add_up_and_none_is_further_from_its_share_than_one(total, weights):
    parts = discounts.in_proportion(total, weights)
    whole = sum(weights)
    assert sum(parts) == (total if whole else 0)
    for part, weight in zip(parts, weights, strict=True):
        assert part >= 0
        assert not whole or abs(part - total * weight / whole) < 1


@given(st.lists(st.integers(-500, 5_000), min_size=1, max_size=6), st.floats(0.01, 100), st.integers(1, 20_000))
def test_no_line_is_reduced_below_nothing(amounts, percent, amount):
    lines = [line(value) for value in amounts]
    percent_and_amount = [worth(round(percent, 2)), worth(amounts={"usd": amount})]
    for value, parts in zip(amounts, taken(percent_and_amount, lines), strict=True):
        assert all(part >= 0 for part in parts)
        assert sum(parts) <= max(value, 0)
