"""Whatever is asked, the answer is Stripe's: JSON, and never a 500 of the sandbox's own."""

from __future__ import annotations

import importlib
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
import pytest
import stripe.params

from sandbox.api import ApiApp
from sandbox.app import SandboxApp
from sandbox.catalogue import OPERATIONS
from sandbox.disputes import lifecycle
from sandbox.disputes.kinds import kind_of
from sandbox.engine import Engine, Options
from sandbox.resources import early_fraud_warnings, onboarding

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.operations import Operation

VALUES = (
    "", "x", "1", "-1", "0", "²", "\uff11\uff12", "true", "usd", "9" * 15, "9" * 30, "\x00", "é" * 300, "pm_card_visa",
    "card", "1.5", "US", "2026-01-01",
)  # fmt: skip
EXPRESS = {
    "country": "US", "controller[losses][payments]": "application", "controller[fees][payer]": "application",
    "controller[stripe_dashboard][type]": "express", "capabilities[transfers][requested]": "true",
}  # fmt: skip
PAID = {
    "amount": 5_000, "currency": "usd", "confirm": "true", "payment_method": "pm_card_bypassPending",
    "automatic_payment_methods[enabled]": "true", "automatic_payment_methods[allow_redirects]": "never",
}  # fmt: skip


class InProcess:
    """The API without a network."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def ask(
        self, method: str, path: str, params: Any = (), account: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        encoded = urlencode(params).encode()
        named = [] if account is None else [(b"stripe-account", account.encode())]
        answer: dict[str, Any] = {}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"" if method == "GET" else encoded, "more_body": False}

        async def send(message: Any) -> None:
            answer.update(message)

        await self.app(
            {
                "type": "http", "method": method, "path": path, "query_string": encoded if method == "GET" else b"",
                "headers": [(b"authorization", b"Bearer sk_test_any_request"), *named],
            }, receive, send,
        )  # fmt: skip
        return answer["status"], orjson.loads(answer["body"])

    async def made(self, path: str, **params: Any) -> dict[str, Any]:
        status, body = await self.ask("POST", path, params)
        assert status == 200, body
        return body


def names_of(operation: Operation) -> tuple[list[str], list[str]]:
    """The parameters that it takes, and those that it needs."""
    if operation.params is None:
        return ["expand"], []
    package, _, own = f"{stripe.params.__name__}.{operation.params}".rpartition(".")
    name = "".join(part.title() for part in own.split("_")) + "Params"
    params = getattr(importlib.import_module(f"{package}._{own}_params"), name)
    return list(params.__annotations__) or ["expand"], list(params.__required_keys__)


async def things(api: InProcess, app: SandboxApp) -> dict[str, str]:
    """One of each kind, by the names that paths have for them."""
    account = await api.made("/v1/accounts", **EXPRESS)
    work = app.engine.work_on(account["id"])
    assert work is not None
    onboarding.onboard(work, account["id"])
    await app.engine.finish(work)
    connected = {"transfer_data[destination]": account["id"], "application_fee_amount": 100}
    intent = await api.made("/v1/payment_intents", **PAID, **connected)
    charge = (await api.ask("GET", f"/v1/charges/{intent['latest_charge']}"))[1]
    refund = await api.made("/v1/refunds", payment_intent=intent["id"], amount=100)
    clock = await api.made("/v1/test_helpers/test_clocks", frozen_time=2_000_000_000)
    customer = await api.made("/v1/customers", test_clock=clock["id"], balance=-500)
    moved = (await api.ask("GET", f"/v1/customers/{customer['id']}/balance_transactions"))[1]["data"][0]
    method = await api.made("/v1/payment_methods/pm_card_visa/attach", customer=customer["id"])
    product = await api.made("/v1/products", name="Club")
    priced = {"currency": "usd", "unit_amount": 1_000, "recurring[interval]": "month"}
    coupon = await api.made("/v1/coupons", percent_off="12.5")
    code = await api.made("/v1/promotion_codes", **{"promotion[type]": "coupon", "promotion[coupon]": coupon["id"]})
    return {
        "account": account["id"], "customer": customer["id"], "intent": intent["id"],
        "charge": charge["id"], "refund": refund["id"], "transfer": charge["transfer"],
        "fee": charge["application_fee"], "id": charge["balance_transaction"], "nothing": "nope",
        "test_clock": clock["id"], "transaction": moved["id"], "payment_method": method["id"],
        "product": product["id"], "price": (await api.made("/v1/prices", product=product["id"], **priced))["id"],
        "coupon": coupon["id"], "promotion_code": code["id"], **await invoiced(api, customer["id"]),
        **await moved_on(api, app),
    }  # fmt: skip


async def moved_on(api: InProcess, app: SandboxApp) -> dict[str, str]:
    """What comes after a payment."""
    disputed = (await api.made("/v1/payment_intents", **PAID))["latest_charge"]
    work = app.engine.work_on(disputed)
    assert work is not None
    warning = early_fraud_warnings.open_(work, disputed)
    dispute = lifecycle.open_(work, disputed, kind_of("fraudulent", "needs_response"), 1_000)
    await app.engine.finish(work)
    wanted = {"amount": 500, "currency": "usd"}
    return {
        "dispute": dispute["id"], "early_fraud_warning": warning["id"],
        "payout": (await api.made("/v1/payouts", **wanted))["id"],
        "topup": (await api.made("/v1/topups", **wanted))["id"],
    }  # fmt: skip


async def invoiced(api: InProcess, customer: str) -> dict[str, str]:
    """A draft and what hangs on it, and on one that is final."""
    draft = await api.made("/v1/invoices", customer=customer)
    item = await api.made("/v1/invoiceitems", customer=customer, amount=2_000, invoice=draft["id"])
    final = await api.made("/v1/invoices", customer=customer, auto_advance="true")
    await api.made("/v1/invoiceitems", customer=customer, amount=2_000, invoice=final["id"])
    final = await api.made(f"/v1/invoices/{final['id']}/finalize", **{"expand[]": "payments"})
    note = await api.made("/v1/credit_notes", invoice=final["id"], amount=500)
    return {
        "invoice": draft["id"], "invoiceitem": item["id"], "final_invoice": final["id"], "credit_note": note["id"],
        "invoice_payment": final["payments"]["data"][0]["id"], "line_item": final["lines"]["data"][0]["id"],
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_no_parameters_break_an_operation(tmp_path: Path, seed: int) -> None:
    app = SandboxApp(Options(tmp_path))
    api, dice = InProcess(app), random.Random(seed)
    async with app.engine.running():
        ids = await things(api, app)
        values = (*VALUES, *ids.values())
        for operation in OPERATIONS:
            names, needed = names_of(operation)
            for _ in range(12):
                parts = operation.path.split("/")
                path = "/".join(
                    ids.get(part[1:-1], "") or dice.choice(list(ids.values())) if part.startswith("{") else part
                    for part in parts
                )
                chosen = [*needed, *dice.choices(names, k=dice.randint(0, 4))]
                endings = ("", "", "", "[]", "[0]", "[²]", "[", "[gte]", "[enabled]", "[a][b]")
                params = [(name + dice.choice(endings), dice.choice(values)) for name in chosen]
                status, body = await api.ask(operation.method, path, params)
                assert status < 500, (operation.method, path, params)
                assert (status == 200) == ("error" not in body)


BY_TIME = sorted(op.path for op in OPERATIONS if "{" not in op.path and "created" in names_of(op)[0])


@pytest.mark.parametrize("path", BY_TIME)
async def test_a_time_that_is_none_is_refused_by_name(tmp_path: Path, path: str) -> None:
    app = SandboxApp(Options(tmp_path))
    api = InProcess(app)
    async with app.engine.running():
        for name, value in (("created[gte]", "x"), ("created", "yesterday"), ("created[lt]", "9" * 30)):
            status, body = await api.ask("GET", path, {name: value})
            assert (status, body["error"]["param"]) == (400, name)
            assert body["error"]["code"] == "parameter_invalid_integer"


async def test_a_mistake_of_its_own_is_stripes_500(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Engine):
        def work(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

    engine = Broken(Options(tmp_path))
    status, body = await InProcess(ApiApp(engine)).ask("GET", "/v1/balance")
    assert (status, body["error"]["type"]) == (500, "api_error")
    assert "GET /v1/balance failed" in caplog.text
    engine.store.close()


async def test_lists_are_newest_first_within_one_second_and_page_both_ways(tmp_path: Path) -> None:
    app = SandboxApp(Options(tmp_path))
    api = InProcess(app)
    async with app.engine.running():
        made = [(await api.made("/v1/customers"))["id"] for _ in range(7)]
        newest = made[::-1]

        async def page(**params: Any) -> tuple[list[str], bool]:
            status, body = await api.ask("GET", "/v1/customers", {"limit": 3, **params})
            assert status == 200
            return [item["id"] for item in body["data"]], body["has_more"]

        assert await page() == (newest[:3], True)
        assert await page(starting_after=newest[2]) == (newest[3:6], True)
        assert await page(starting_after=newest[5]) == (newest[6:], False)
        assert await page(ending_before=newest[6]) == (newest[3:6], True)
        assert await page(ending_before=newest[3]) == (newest[:3], False)
        events = (await api.ask("GET", "/v1/events", {"type": "customer.created", "limit": 100}))[1]["data"]
        assert [event["data"]["object"]["id"] for event in events] == newest
