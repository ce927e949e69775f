"""Whatever is done to subscriptions, in whatever order: nothing breaks, time goes by for all, and sums add up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.app import SandboxApp
from sandbox.engine import Options
from tests.sandbox.test_any_request import InProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = 1_800_000_000
DAY = 86_400
RUNNING = ("trialing", "active", "past_due", "unpaid")
ENDED = ("canceled", "incomplete_expired")
PERIODS = (("month", 1_000), ("month", 2_500), ("month", 0), ("week", 300), ("year", 9_000))
METHODS = ("pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_threeDSecure2Required")


class Life:
    """Customers on one clock, and what is done to their subscriptions."""

    def __init__(self, app: SandboxApp, seed: int) -> None:
        self.app = app
        self.api = InProcess(app)
        self.dice = random.Random(seed)
        self.subs: list[str] = []
        self.schedules: list[str] = []
        self.known: dict[str, str] = {}
        self.seen: set[str] = set()

    async def begin(self) -> None:
        """Somebody with a good card, one with a bad one, one whose bank asks each time."""
        self.clock = (await self.api.made("/v1/test_helpers/test_clocks", frozen_time=START))["id"]
        work = self.app.engine.work_on(self.clock)
        assert work is not None
        work.edit("test_helpers.test_clock", self.clock)["_limits"]["subscriptions"] = 10_000
        await self.app.engine.finish(work)
        self.customers = []
        for method in METHODS:
            customer = (await self.api.made("/v1/customers", test_clock=self.clock))["id"]
            saved = (await self.api.made(f"/v1/payment_methods/{method}/attach", customer=customer))["id"]
            default = {"invoice_settings[default_payment_method]": saved}
            await self.api.made(f"/v1/customers/{customer}", **default)
            self.customers.append(customer)
        product = (await self.api.made("/v1/products", name="Gold"))["id"]
        self.prices = []
        for interval, amount in PERIODS:
            terms = {"recurring[interval]": interval, "unit_amount": amount, "currency": "usd", "product": product}
            self.prices.append((await self.api.made("/v1/prices", **terms))["id"])
        self.coupons = [
            (await self.api.made("/v1/coupons", percent_off=25, duration="forever"))["id"],
            (await self.api.made("/v1/coupons", amount_off=250, currency="usd", duration="once"))["id"],
        ]

    def body(self, id_: str) -> dict[str, Any]:
        row = self.app.engine.store.row(id_)
        assert row is not None
        return row.body

    @property
    def now(self) -> int:
        return int(self.body(self.clock)["frozen_time"])

    async def ask(self, path: str, params: dict[str, Any], method: str = "POST") -> dict[str, Any] | None:
        status, answer = await self.api.ask(method, path, params)
        assert status < 500, (method, path, params, answer)
        return answer if status == 200 else None

    async def create(self) -> None:
        at = self.now + DAY * self.dice.randint(1, 90)
        variant: dict[str, Any] = self.dice.choice(
            [
                {}, {"trial_period_days": self.dice.randint(1, 20)}, {"payment_behavior": "default_incomplete"},
                {"discounts[0][coupon]": self.dice.choice(self.coupons)}, {"items[1][price]": self.prices[3]},
                {"collection_method": "send_invoice", "days_until_due": 5}, {"cancel_at": at},
                {"billing_cycle_anchor_config[day_of_month]": 31}, {"billing_mode[type]": "classic"},
                {"backdate_start_date": self.now - 40 * DAY}, {"payment_behavior": "error_if_incomplete"},
            ]
        )  # fmt: skip
        made = await self.ask(
            "/v1/subscriptions",
            {"customer": self.dice.choice(self.customers), "items[0][price]": self.dice.choice(self.prices), **variant},
        )
        if made is not None:
            self.subs.append(made["id"])

    async def update(self) -> None:
        sub = self.body(self.dice.choice(self.subs))
        item = self.dice.choice(sub["items"]["data"])["id"]
        variant: dict[str, Any] = self.dice.choice(
            [
                {"items[0][id]": item, "items[0][price]": self.dice.choice(self.prices)},
                {"items[0][id]": item, "items[0][quantity]": self.dice.randint(0, 5)},
                {"items[0][price]": self.dice.choice(self.prices)}, {"items[0][id]": item, "items[0][deleted]": "true"},
                {"trial_end": "now"}, {"trial_end": self.now + DAY * self.dice.randint(1, 30)},
                {"billing_cycle_anchor[type]": "now"}, {"cancel_at_period_end": "true"},
                {"cancel_at_period_end": "false"}, {"cancel_at": self.now + DAY * self.dice.randint(1, 60)},
                {"cancel_at": ""}, {"pause_collection": ""}, {"discounts": ""},
                {"pause_collection[behavior]": self.dice.choice(["void", "keep_as_draft", "mark_uncollectible"])},
                {"pause_collection[behavior]": "void", "pause_collection[resumes_at]": self.now + 20 * DAY},
            ]
        )  # fmt: skip
        options = {
            "proration_behavior": ["create_prorations", "always_invoice", "none"],
            "payment_behavior": ["default_incomplete", "error_if_incomplete", "pending_if_incomplete"],
        }
        chosen = {name: self.dice.choice(values) for name, values in options.items() if self.dice.random() < 0.5}
        await self.ask(f"/v1/subscriptions/{sub['id']}", {**variant, **chosen})

    async def preview(self) -> None:
        sub = self.body(self.dice.choice(self.subs))
        item = sub["items"]["data"][0]["id"]
        variant = {"subscription_details[items][0][id]": item,
                   "subscription_details[items][0][price]": self.dice.choice(self.prices)}  # fmt: skip
        if self.dice.random() < 0.5:
            variant["subscription_details[proration_behavior]"] = "always_invoice"
        shown = await self.ask("/v1/invoices/create_preview", {"subscription": sub["id"], **variant})
        assert self.body(sub["id"]) == sub
        assert shown is None or shown["subtotal"] == sum(line["amount"] for line in shown["lines"]["data"])

    async def act(self) -> None:
        sub = self.dice.choice(self.subs)
        what, params = self.dice.choice(
            [
                ("pause", {}), ("pause", {"invoicing_behavior": "invoice"}), ("resume", {}),
                ("resume", {"payment_behavior": "resume_on_payment_success"}),
                ("resume", {"billing_cycle_anchor[type]": "unchanged", "proration_behavior": "always_invoice"}),
            ]
        )  # fmt: skip
        await self.ask(f"/v1/subscriptions/{sub}/{what}", params)

    async def cancel(self) -> None:
        params = {name: "true" for name in ("prorate", "invoice_now") if self.dice.random() < 0.5}
        await self.ask(f"/v1/subscriptions/{self.dice.choice(self.subs)}", params, "DELETE")

    async def plan(self) -> None:
        sub = self.body(self.dice.choice(self.subs))
        made = await self.ask("/v1/subscription_schedules", {"from_subscription": sub["id"]})
        if made is None:
            return
        self.schedules.append(made["id"])
        now, price = made["phases"][0], self.dice.choice(self.prices)
        await self.ask(
            f"/v1/subscription_schedules/{made['id']}",
            {
                "phases[0][items][0][price]": now["items"][0]["price"], "phases[0][start_date]": now["start_date"],
                "phases[0][end_date]": now["end_date"], "phases[1][items][0][price]": price,
                "phases[1][duration][interval]": "month", "end_behavior": self.dice.choice(["release", "cancel"]),
            },
        )  # fmt: skip

    async def unplan(self) -> None:
        if self.schedules:
            wish = self.dice.choice(["release", "cancel"])
            await self.ask(f"/v1/subscription_schedules/{self.dice.choice(self.schedules)}/{wish}", {})

    async def settle(self) -> None:
        invoice = self.body(self.dice.choice(self.subs))["latest_invoice"]
        if invoice is not None:
            wish = self.dice.choice(["pay", "pay", "void", "mark_uncollectible", "finalize"])
            await self.ask(f"/v1/invoices/{invoice}/{wish}", {})

    async def wait(self) -> None:
        target = self.now + self.dice.choice([3_600, DAY, 7 * DAY, 13 * DAY])
        await self.ask(f"/v1/test_helpers/test_clocks/{self.clock}/advance", {"frozen_time": target})

    async def check(self) -> None:
        """What must hold of every subscription once all that is due has happened."""
        status, clock = await self.api.ask("POST", f"/_sandbox/test_clocks/{self.clock}/settled")
        assert (status, clock["status"]) == (200, "ready")
        for id_ in self.subs:
            sub = self.body(id_)
            was, status = self.known.get(id_), sub["status"]
            self.known[id_] = status
            self.seen.add(status)
            assert was not in ENDED or status == was
            assert was in (None, "incomplete") or status != "incomplete"
            assert (sub["ended_at"] is not None) == (status in ENDED)
            assert not {"_quiet", "_trying"} & set(sub)
            items = sub["items"]["data"]
            assert all(item["current_period_start"] <= item["current_period_end"] for item in items)
            if status in RUNNING:
                assert min(item["current_period_end"] for item in items) > self.now
                assert sub["cancel_at"] is None or sub["cancel_at"] > self.now
            assert status != "trialing" or sub["trial_end"] > self.now
            assert (status == "paused") == (sub["status_details"] is not None)


async def invoices_add_up(life: Life) -> None:
    """Every invoice is the sum of its lines; what is open or paid is what its parts say."""
    for customer in life.customers:
        status, page = await life.api.ask("GET", "/v1/invoices", {"customer": customer, "limit": 100})
        assert status == 200
        for invoice in page["data"]:
            lines = life.body(invoice["id"])["_lines"]
            off = sum(part["amount"] for line in lines for part in line["discount_amounts"])
            assert invoice["total"] == sum(line["amount"] for line in lines) - off
            assert invoice["amount_paid"] + invoice["amount_remaining"] == invoice["amount_due"]
            assert (invoice["status"] == "paid") <= (invoice["amount_remaining"] == 0)


@pytest.mark.parametrize("seed", range(4))
async def test_no_order_of_events_breaks_a_subscription(tmp_path: Path, seed: int) -> None:
    app = SandboxApp(Options(tmp_path))
    life = Life(app, seed)
    steps: list[Callable[[], Any]] = [
        life.create, life.create, life.update, life.update, life.update, life.update, life.preview, life.act, life.act,
        life.cancel, life.plan, life.unplan, life.settle, life.settle, life.wait, life.wait, life.wait,
    ]  # fmt: skip
    async with app.engine.running():
        await life.begin()
        for _ in range(4):
            await life.create()
        for _ in range(200):
            await life.dice.choice(steps)()
            await life.check()
        await invoices_add_up(life)
    assert len(life.seen) > 4
