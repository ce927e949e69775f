"""Whatever happens, in whatever order: movements make up balances, and automatic payouts what is in them."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.app import SandboxApp
from sandbox.engine import Options
from sandbox.errors import ApiError
from sandbox.money_controls import ACTING
from sandbox.resources import balance, onboarding
from tests.sandbox.test_any_request import EXPRESS, PAID, InProcess

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 200
KINDS = 11
CARDS = ("pm_card_visa", "pm_card_bypassPending", "pm_card_pendingRefund", "pm_card_refundFail")
CURRENCIES = ("usd", "eur", "gbp")


class History:
    """Random things that people, banks and Stripe do; what is refused does nothing."""

    def __init__(self, app: SandboxApp, seed: int) -> None:
        self.app, self.api, self.dice = app, InProcess(app), random.Random(seed)
        self.hosts: list[str] = []
        self.done: Counter[str] = Counter()

    async def begin(self) -> None:
        for country in ("US", "GB", "HU"):
            account = (await self.api.made("/v1/accounts", **{**EXPRESS, "country": country}))["id"]
            await self.api.made(f"/v1/accounts/{account}/capabilities/card_payments", requested="true")
            work = self.app.engine.work_on(account)
            assert work is not None
            onboarding.onboard(work, account)
            await self.app.engine.finish(work)
            self.hosts.append(account)

    async def step(self) -> None:
        what = self.dice.choice([self.pay, self.pay_host, self.refund, self.transfer, self.reverse, self.dispute,
                                 self.decide, self.pay_out, self.pay_out_all, self.fail, self.settle])  # fmt: skip
        if await what():
            self.done[what.__name__] += 1

    async def pay(self) -> bool:
        host = self.dice.choice([None, *self.hosts])
        fee = {"application_fee_amount": self.dice.randint(1, 999)} if self.dice.random() < 0.5 else {}
        split = {} if host is None else {"transfer_data[destination]": host, **fee}
        return await self.ask("/v1/payment_intents", **self.payment(), **split)

    async def pay_host(self) -> bool:
        fee = self.dice.randint(1, 999)
        account = self.dice.choice(self.hosts)
        return await self.ask("/v1/payment_intents", account, application_fee_amount=fee, **self.payment())

    def payment(self) -> dict[str, Any]:
        return {
            **PAID, "amount": self.dice.randint(1_000, 20_000), "currency": self.dice.choice(CURRENCIES),
            "payment_method": self.dice.choice(CARDS),
        }  # fmt: skip

    async def refund(self) -> bool:
        charge, account = self.any("charge")
        if charge == "none":
            return False
        takes_back = {"reverse_transfer": "transfer", "refund_application_fee": "application_fee"}
        has = self.body(charge)
        flags = {flag: "true" for flag, of in takes_back.items() if has.get(of) and self.dice.random() < 0.5}
        return await self.ask("/v1/refunds", account, charge=charge, amount=self.dice.randint(1, 3_000), **flags)

    async def transfer(self) -> bool:
        charge, _ = self.any("charge", of_platform=True)
        params = {"currency": "usd", "destination": self.dice.choice(self.hosts)}
        return await self.ask(
            "/v1/transfers", amount=self.dice.randint(1, 5_000), source_transaction=charge, **params
        )

    async def reverse(self) -> bool:
        transfer, _ = self.any("transfer")
        return await self.ask(
            f"/v1/transfers/{transfer}/reversals", amount=self.dice.randint(1, 5_000), refund_application_fee="true"
        )

    async def dispute(self) -> bool:
        charge, _ = self.any("charge")
        status = self.dice.choice(["needs_response", "warning_needs_response", "prevented"])
        return await self.act("charges", charge, "dispute", status=status, amount=self.dice.randint(1, 9_000))

    async def decide(self) -> bool:
        dispute, _ = self.any("dispute")
        outcome = self.dice.choice(["won", "lost", "warning_closed", "prevented"])
        if self.dice.random() < 0.2:
            return await self.act("disputes", dispute, "escalate")
        return await self.act("disputes", dispute, "decide", outcome=outcome)

    async def pay_out(self) -> bool:
        account = self.dice.choice(self.hosts)
        currency = {"US": "usd", "GB": "gbp", "HU": "huf"}[self.body(account)["country"]]
        amount = self.dice.randint(1, 50) * 100
        method = self.dice.choice(["standard", "instant"])
        return await self.ask("/v1/payouts", account, amount=amount, currency=currency, method=method)

    async def pay_out_all(self) -> bool:
        return await self.act("accounts", self.dice.choice([*self.hosts, self.platform]), "pay_out")

    async def fail(self) -> bool:
        payout, account = self.any("payout")
        if not await self.act("payouts", payout, "fail"):
            return False
        number = "000111111116" if self.dice.random() < 0.2 else "000123456789"
        return await self.act("accounts", account or self.platform, "bank_account", account_number=number)

    async def settle(self) -> bool:
        account = self.dice.choice([*self.hosts, self.platform])
        work = self.app.engine.work_on(account)
        assert work is not None
        balance.settle(work, account)
        await self.app.engine.finish(work)
        return True

    @property
    def platform(self) -> str:
        return self.app.engine.platform_of("sk_test_any_request")

    def body(self, id_: str) -> dict[str, Any]:
        row = self.app.engine.store.row(id_)
        assert row is not None
        return row.body

    def any(self, kind: str, *, of_platform: bool = False) -> tuple[str, str | None]:
        """One of a kind, and the host whose it is; "none" where there is none yet."""
        accounts = (self.platform, *([] if of_platform else self.hosts))
        found = [
            (row.body["id"], None if account == self.platform else account)
            for account in accounts for row in self.app.engine.store.rows(account, kind)
        ]  # fmt: skip
        return self.dice.choice(found) if found else ("none", None)

    async def ask(self, path: str, account: str | None = None, **params: Any) -> bool:
        status, body = await self.api.ask("POST", path, params, account)
        assert status < 500, (path, params, body)
        return status == 200

    async def act(self, kind: str, id_: str, what: str, **params: Any) -> bool:
        work = self.app.engine.work_on(id_)
        if work is None:
            return False
        try:
            ACTING[f"/_sandbox/{kind}/{{id}}/{what}"](work, id_, params)
        except ApiError:
            return False
        await self.app.engine.finish(work)
        return True

    def check(self) -> None:
        work = self.app.engine.work(self.platform)
        for account in (self.platform, *self.hosts):
            movements = work.listed("balance_transaction", account=account)
            sums: Counter[str] = Counter()
            for one in movements:
                assert one["net"] == one["amount"] - sum(fee["amount"] for fee in one["fee_details"])
                sums[one["currency"]] += one["net"]
            has = {currency: sum(both) for currency, both in work.balance(account).items()}
            assert {name: amount for name, amount in sums.items() if amount} == {
                name: amount for name, amount in has.items() if amount
            }
            for payout in work.listed("payout", account=account):
                inside = [one["net"] for one in movements if one["_payout"] == payout["id"] != one["source"]]
                assert not payout["automatic"] or sum(inside) == payout["amount"]
        for charge in work.listed("charge"):
            assert 0 <= charge.get("_disputed", 0) <= charge["amount"] - charge["amount_refunded"]


@pytest.mark.parametrize("seed", range(6))
async def test_every_movement_is_accounted_for(tmp_path: Path, seed: int) -> None:
    app = SandboxApp(Options(tmp_path, async_delay_s=0.0))
    async with app.engine.running():
        history = History(app, seed)
        await history.begin()
        for _ in range(STEPS):
            await history.step()
            history.check()
        # None of it was refused every time.
        assert len(history.done) == KINDS, history.done
