"""Requests about plans and subscriptions: with parameters that the pinned version knows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from models.money import Money
from services import plan_requests, subscription_requests
from services.stripe_requests import StripeRequest
from tests.support.stripe_params import breaches, decoded

if TYPE_CHECKING:
    from types import ModuleType

SCHEDULE: dict[str, Any] = {
    "id": "sub_sched_1",
    "phases": [
        {
            "start_date": 1, "end_date": 2, "currency": "usd", "items": [{"price": {"id": "price_1"}, "quantity": 1}],
            "default_payment_method": "pm_1",
            "discounts": [
                {"coupon": "c", "discount": "di_1", "promotion_code": None},
                {"coupon": {"id": "d"}, "discount": None, "promotion_code": None},
            ],
        },
    ],
}  # fmt: skip
NEW: dict[str, Any] = {"customer": "cus_1", "price": "price_1", "currency": "USD", "metadata": {"subscription_id": "1"}}
OF_PLAN: dict[str, Any] = {"name": "Gold & Co", "active": True}

# Each builder's calls, the path they go to, and the package's name of their parameters.
CALLS: dict[str, tuple[list[StripeRequest], str, str, str]] = {
    "create_product": (
        [plan_requests.create_product(**OF_PLAN, features=features, metadata={"a": "b"}) for features in ([], ["x"])],
        "/v1/products", "_product_create_params", "ProductCreateParams",
    ),
    "update_product": (
        [
            plan_requests.update_product("prod_1", **OF_PLAN, features=features, default_price=price)
            for features, price in (([], None), (["x", "y"], "price_1"))
        ],
        "/v1/products/prod_1", "_product_modify_params", "ProductModifyParams",
    ),
    "list_products": (
        [plan_requests.list_products(created_gte=1)], "/v1/products", "_product_list_params", "ProductListParams",
    ),
    "create_price": (
        [
            plan_requests.create_price(
                product="prod_1", amount=Money(1000, "JPY"), options=options, interval="MONTH", interval_count=2,
                metadata={"price_id": "1"},
            )
            for options in ([], [Money(900, "EUR"), Money(1000, "ISK")])
        ],
        "/v1/prices", "_price_create_params", "PriceCreateParams",
    ),
    "archive_price": (
        [plan_requests.archive_price("price_1")], "/v1/prices/price_1", "_price_modify_params", "PriceModifyParams",
    ),
    "list_prices": (
        [plan_requests.list_prices(product="prod_1")], "/v1/prices", "_price_list_params", "PriceListParams",
    ),
    "retrieve_subscription": (
        [subscription_requests.retrieve_subscription("sub_1")],
        "/v1/subscriptions/sub_1", "_subscription_retrieve_params", "SubscriptionRetrieveParams",
    ),
    "list_subscriptions": (
        [subscription_requests.list_subscriptions(customer="cus_1")],
        "/v1/subscriptions", "_subscription_list_params", "SubscriptionListParams",
    ),
    "create_subscription": (
        [
            subscription_requests.create_subscription(**NEW, payment_method=method, trial_days=days)
            for method, days in ((None, None), ("pm_1", 14))
        ],
        "/v1/subscriptions", "_subscription_create_params", "SubscriptionCreateParams",
    ),
    "change_price": (
        [subscription_requests.change_price("sub_1", item="si_1", price="price_2")],
        "/v1/subscriptions/sub_1", "_subscription_modify_params", "SubscriptionModifyParams",
    ),
    "cancel_at_period_end": (
        [subscription_requests.cancel_at_period_end("sub_1", cancel=cancel) for cancel in (True, False)],
        "/v1/subscriptions/sub_1", "_subscription_modify_params", "SubscriptionModifyParams",
    ),
    "keep_subscription": (
        [subscription_requests.keep_subscription("sub_1")],
        "/v1/subscriptions/sub_1", "_subscription_modify_params", "SubscriptionModifyParams",
    ),
    "pause_collection": (
        [subscription_requests.pause_collection("sub_1", resumes_at=at) for at in (None, 5)],
        "/v1/subscriptions/sub_1", "_subscription_modify_params", "SubscriptionModifyParams",
    ),
    "resume_collection": (
        [subscription_requests.resume_collection("sub_1")],
        "/v1/subscriptions/sub_1", "_subscription_modify_params", "SubscriptionModifyParams",
    ),
    "restart_period": (
        [subscription_requests.restart_period("sub_1")],
        "/v1/subscriptions/sub_1", "_subscription_modify_params", "SubscriptionModifyParams",
    ),
    "cancel_subscription": (
        [subscription_requests.cancel_subscription("sub_1")],
        "/v1/subscriptions/sub_1", "_subscription_cancel_params", "SubscriptionCancelParams",
    ),
    "resume_subscription": (
        [subscription_requests.resume_subscription("sub_1")],
        "/v1/subscriptions/sub_1/resume", "_subscription_resume_params", "SubscriptionResumeParams",
    ),
    "create_schedule": (
        [subscription_requests.create_schedule(subscription="sub_1")],
        "/v1/subscription_schedules", "_subscription_schedule_create_params", "SubscriptionScheduleCreateParams",
    ),
    "schedule_price": (
        [subscription_requests.schedule_price(SCHEDULE, price="price_3", interval="YEAR", interval_count=1)],
        "/v1/subscription_schedules/sub_sched_1",
        "_subscription_schedule_modify_params", "SubscriptionScheduleModifyParams",
    ),
    "release_schedule": (
        [subscription_requests.release_schedule("sub_sched_1")], "/v1/subscription_schedules/sub_sched_1/release",
        "_subscription_schedule_release_params", "SubscriptionScheduleReleaseParams",
    ),
    "retrieve_schedule": (
        [subscription_requests.retrieve_schedule("sub_sched_1")], "/v1/subscription_schedules/sub_sched_1",
        "_subscription_schedule_retrieve_params", "SubscriptionScheduleRetrieveParams",
    ),
    "preview_change": (
        [subscription_requests.preview_change("sub_1", item="si_1", price="price_2", at=5)],
        "/v1/invoices/create_preview", "_invoice_create_preview_params", "InvoiceCreatePreviewParams",
    ),
    "preview_period": (
        [subscription_requests.preview_period("sub_1", item="si_1", price="price_2")],
        "/v1/invoices/create_preview", "_invoice_create_preview_params", "InvoiceCreatePreviewParams",
    ),
    "preview_price": (
        [subscription_requests.preview_price(customer="cus_1", currency="EUR", price="price_2")],
        "/v1/invoices/create_preview", "_invoice_create_preview_params", "InvoiceCreatePreviewParams",
    ),
}  # fmt: skip

# What Stripe takes with an update that waits for its payment ("Pending updates reference").
MAY_WAIT = {
    "items", "proration_behavior", "payment_behavior", "off_session", "expand", "proration_date", "trial_end",
    "billing_cycle_anchor", "trial_from_plan", "add_invoice_items",
}  # fmt: skip


def builders(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def test_every_builder_is_tested_here() -> None:
    assert builders(plan_requests) | builders(subscription_requests) == set(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_parameters_are_those_of_the_pinned_version(name: str) -> None:
    calls, path, module, declared = CALLS[name]
    for call in calls:
        assert call.path == path
        assert breaches(module, declared, decoded(call.body)) == []


@pytest.mark.parametrize("name", sorted(CALLS))
def test_each_is_a_read_a_write_or_the_one_deletion(name: str) -> None:
    reads = name.startswith(("retrieve", "list"))
    for call in CALLS[name][0]:
        assert call.method == ("get" if reads else "delete" if name == "cancel_subscription" else "post")
        assert call.idempotency_key is None


def test_an_update_that_waits_for_its_payment_has_nothing_that_could_not() -> None:
    [call] = CALLS["change_price"][0]
    params = decoded(call.body)
    assert set(params) <= MAY_WAIT
    assert (params["payment_behavior"], params["proration_behavior"]) == ("pending_if_incomplete", "always_invoice")


def test_amounts_go_over_the_wire_as_stripe_counts_them() -> None:
    body = decoded(CALLS["create_price"][0][1].body)
    assert (body["unit_amount"], body["currency"]) == ("1000", "jpy")
    assert body["currency_options"] == {"eur": {"unit_amount": "900"}, "isk": {"unit_amount": "100000"}}


def test_features_that_are_gone_are_taken_away() -> None:
    none, two = (decoded(call.body)["marketing_features"] for call in CALLS["update_product"][0])
    assert (none, two) == ("", [{"name": "x"}, {"name": "y"}])


def test_only_a_method_of_its_own_is_kept_with_the_subscription() -> None:
    follows, own = (decoded(call.body) for call in CALLS["create_subscription"][0])
    assert "default_payment_method" not in follows
    assert follows["payment_settings"] == {"save_default_payment_method": "off"}
    assert "trial_settings" not in follows
    assert own["payment_settings"] == {"save_default_payment_method": "on_subscription"}
    assert own["trial_settings"] == {"end_behavior": {"missing_payment_method": "pause"}}


def test_the_phase_after_the_current_one_has_the_new_price_and_no_more_follows() -> None:
    [call] = CALLS["schedule_price"][0]
    body = decoded(call.body)
    first, second = body["phases"]
    assert (first["start_date"], first["end_date"], first["items"][0]["price"]) == ("1", "2", "price_1")
    assert (second["items"][0]["price"], second["duration"]) == (
        "price_3", {"interval": "year", "interval_count": "1"},
    )  # fmt: skip
    assert body["end_behavior"] == "release"
    for phase in (first, second):
        assert phase["discounts"] == [{"discount": "di_1"}, {"coupon": "d"}]
        assert (phase["default_payment_method"], phase["currency"]) == ("pm_1", "usd")
