"""A subscriber whose time a test moves: Stripe's through a test clock, and Paydesk's along with it."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import httpx

from services.ledger_check import check_ledger
from tests.e2e.system import START_S, AnswerError, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.e2e.system import System

SUBSCRIPTION = """
fragment S on BillingSubscription {
  id status stripeSubscriptionId clientSecret currentPeriodStart currentPeriodEnd trialEnd cancelAtPeriodEnd canceledAt
  nextPaymentAttempt plan { id name }
  invoices(first: 50) { edges { node { status total { minorUnits } amountPaid { minorUnits } attemptCount } } }
}"""
MINE = SUBSCRIPTION + """
query ($id: ID!) { subscription(id: $id) { ...S } viewer { entitlements { feature expiresAt } } }"""
STATUSES = {"trialing": "TRIALING", "active": "ACTIVE", "past_due": "PAST_DUE", "canceled": "CANCELED",
            "incomplete": "INCOMPLETE", "unpaid": "UNPAID", "paused": "PAUSED"}  # fmt: skip
UNSETTLED = """
SELECT (SELECT count(*) FROM webhook_events WHERE status = 'RECEIVED')
     + (SELECT count(*) FROM operations WHERE status = 'RUNNING')
     + (SELECT count(*) FROM dunnings WHERE status = 'TRYING' AND next_attempt_at <= $1)
"""


@dataclass
class Life:
    """One guest on one test clock, through the public API and Stripe's pages alone."""

    system: System
    guest: str
    clock: str
    customer: str
    now: datetime
    connection: asyncpg.Connection[Any]
    kills: int = 0
    plans: dict[str, str] = field(default_factory=dict)
    subscription: str = ""
    charged: int = 0
    """What should have been taken so far, in cents."""

    @classmethod
    @asynccontextmanager
    async def begin(cls, system: System) -> AsyncIterator[Life]:
        """A guest whose customer at Stripe lives on a test clock."""
        guest = f"guest-{uuid4()}"
        now = datetime.now(UTC).replace(microsecond=0)
        await system.user(guest)
        clock = await system.stripe("POST", "/v1/test_helpers/test_clocks", {"frozen_time": str(int(now.timestamp()))})
        customer = await system.stripe(
            "POST", "/v1/customers", {"email": f"{guest}@example.com", "test_clock": clock["id"]}
        )
        connection = await asyncpg.connect(system.database_url)
        try:
            await connection.execute(
                "UPDATE users SET stripe_customer_id = $2 WHERE external_id = $1", guest, customer["id"]
            )
            yield cls(system, guest, clock["id"], customer["id"], now, connection)
        finally:
            await connection.close()

    async def ask(self, who: str, document: str, **variables: Any) -> dict[str, Any]:
        """An answer, asked for again where the server was killed meanwhile: the same key, the same operation."""
        async with asyncio.timeout(3 * START_S):
            while True:
                with suppress(httpx.TransportError):
                    try:
                        return await self.system.ask(who, document, **variables)
                    except AnswerError as error:
                        if "UNAVAILABLE" not in str(error):
                            raise
                await asyncio.sleep(0.2)

    async def does(self, mutation: str, what: str = "subscription { ...S }", **given: Any) -> dict[str, Any]:
        """The guest's mutation, until it is not under way any more."""
        kind = mutation[0].upper() + mutation[1:] + "Input"
        fragment = SUBSCRIPTION if "...S" in what else ""
        document = f"""{fragment} mutation ($input: {kind}!) {{ {mutation}(input: $input) {{
            {what} errors {{ code message }} }} }}"""
        async with asyncio.timeout(3 * START_S):
            while True:
                answer = (await self.ask(self.guest, document, input=given))[mutation]
                codes = {error["code"] for error in answer["errors"]}
                if not codes & {"OPERATION_IN_PROGRESS", "STRIPE_UNAVAILABLE"}:
                    return dict(answer)
                await asyncio.sleep(0.2)

    async def plan(self, name: str, amount: str, *, trial_days: int = 0, features: list[str]) -> None:
        """A monthly plan."""
        answer = await self.ask(
            "service",
            "mutation ($input: UpsertPlanInput!) { upsertPlan(input: $input) { plan { id } errors { message } } }",
            input={
                "externalId": f"{name}-{self.guest}", "name": name, "price": {"amount": amount, "currency": "USD"},
                "interval": "MONTH", "trialDays": trial_days, "features": features,
            },
        )  # fmt: skip
        assert answer["upsertPlan"]["errors"] == []
        self.plans[name] = answer["upsertPlan"]["plan"]["id"]

    # --- time -------------------------------------------------------------------------------------------------------

    async def let_pass(self, *, step_days: float = 31, **span: float) -> None:
        """Time goes by, in steps, and after each all that it brings has happened."""
        target = self.now + timedelta(**span)
        while self.now < target:
            await self.move_to(min(target, self.now + timedelta(days=step_days)))

    async def move_to(self, moment: datetime) -> None:
        """It is that time now."""
        self.now = moment.replace(microsecond=0)
        clock = f"test_helpers/test_clocks/{self.clock}"
        await self.system.stripe("POST", f"/v1/{clock}/advance", {"frozen_time": str(int(self.now.timestamp()))})

        async def has_come() -> bool:
            return bool((await self.system.stripe("GET", f"/v1/{clock}"))["status"] == "ready")

        await eventually(has_come, within_s=3 * START_S)
        self.system.set_clock((self.now - datetime.now(UTC)).total_seconds())
        await self.rest()

    async def rest(self) -> None:
        """All that Stripe has to tell is told and handled, and nothing is under way."""

        async def rests() -> bool:
            told = await self.system.http.get(f"{self.system.sandbox}/_sandbox/webhooks")
            if told.json()["pending"]:
                # Those that met no server wait for minutes: Stripe is told to try them again, once it is there.
                await asyncio.sleep(0.5)
                with suppress(httpx.TransportError):
                    await self.system.http.get(f"http://127.0.0.1:{self.system.port}/healthz")
                    await self.system.person("webhooks/flush", {"timeout_s": 1})
                return False
            return not await self.connection.fetchval(UNSETTLED, self.now)

        try:
            await eventually(rests, within_s=3 * START_S)
        except TimeoutError:
            left = await self.connection.fetch(
                """
                SELECT type AS what, last_error AS why FROM webhook_events WHERE status = 'RECEIVED'
                UNION ALL SELECT kind, leased_until::text FROM operations WHERE status = 'RUNNING'
                """
            )
            raise AssertionError(f"not at rest: {[tuple(record) for record in left]}") from None

    # --- what holds -------------------------------------------------------------------------------------------------

    async def mine(self) -> dict[str, Any]:
        """The subscription and the entitlements, as the guest sees them."""
        return await self.ask(self.guest, MINE, id=self.subscription)

    async def agree(self, status: str, plan: str, features: set[str]) -> dict[str, Any]:
        """That it stands like this here, and that Stripe and the ledger say the same; the subscription."""
        await self.rest()
        seen = await self.mine()
        ours = seen["subscription"]
        stands = ours["status"], ours["plan"]["name"]
        assert stands == (status, plan)
        granted = {entitlement["feature"] for entitlement in seen["viewer"]["entitlements"]}
        assert granted == features, seen
        theirs = await self.system.stripe("GET", f"/v1/subscriptions/{ours['stripeSubscriptionId']}")
        assert STATUSES[theirs["status"]] == status or theirs["pause_collection"]
        item = theirs["items"]["data"][0]
        assert _seconds(ours["currentPeriodStart"]) == item["current_period_start"]
        assert _seconds(ours["currentPeriodEnd"]) == item["current_period_end"]
        assert ours["cancelAtPeriodEnd"] == theirs["cancel_at_period_end"]
        await self._invoices_agree()
        await self._money_agrees()
        assert await self.income() == self.charged
        return dict(ours)

    async def _invoices_agree(self) -> None:
        page = await self.system.stripe("GET", "/v1/invoices", {"customer": self.customer, "limit": "100"})
        theirs = {
            invoice["id"]: (
                invoice["status"].upper(), invoice["total"], invoice["amount_paid"], invoice["attempt_count"],
                len(invoice["lines"]["data"]),
            )
            for invoice in page["data"]
        }  # fmt: skip
        records = await self.connection.fetch(
            """
            SELECT i.*, (SELECT count(*) FROM invoice_lines l WHERE l.invoice_id = i.id) AS lines FROM invoices i
            JOIN users u ON u.id = i.user_id WHERE u.external_id = $1
            """,
            self.guest,
        )
        ours = {
            record["stripe_invoice_id"]: (
                record["status"], record["total_minor"], record["amount_paid_minor"], record["attempt_count"],
                record["lines"],
            )
            for record in records
        }  # fmt: skip
        assert ours == theirs

    async def _money_agrees(self) -> None:
        charges = (await self.system.stripe("GET", "/v1/charges", {"customer": self.customer, "limit": "100"}))["data"]
        taken = sorted(charge["amount_captured"] for charge in charges if charge["paid"])
        payments = await self.connection.fetch(
            """
            SELECT p.captured_minor, p.invoice_id FROM payments p JOIN users u ON u.id = p.payer_id
            WHERE u.external_id = $1 AND p.captured_minor > 0
            """,
            self.guest,
        )
        assert sorted(record["captured_minor"] for record in payments) == taken
        assert all(record["invoice_id"] for record in payments)
        assert (await check_ledger(self.connection)).findings == []

    async def income(self) -> int:
        """What subscriptions have brought in, as the ledger has it, in cents."""
        found = await self.connection.fetchval(
            """
            SELECT coalesce(sum(p.amount_minor), 0)::bigint FROM ledger_postings p
            JOIN ledger_accounts a ON a.id = p.account_id WHERE a.kind = 'SUBSCRIPTION_INCOME'
            """
        )
        return int(found)

    # --- what people do at Stripe -----------------------------------------------------------------------------------

    async def authenticate(self, secret: str) -> None:
        """The guest confirms with the bank what a client secret is of."""
        id_ = secret.split("_secret_", maxsplit=1)[0]
        kind = "setup_intents" if id_.startswith("seti_") else "payment_intents"
        await self.system.person(f"{kind}/{id_}/authenticate", {"outcome": "success"})
        await self.rest()

    async def card_behaves_as(self, method: str, test: str) -> None:
        """The bank says something else of this card from now on."""
        await self.system.person(f"payment_methods/{method}/behave_as", {"test": test})

    @asynccontextmanager
    async def killed_at_random(self, seed: int) -> AsyncIterator[None]:
        """The server is killed again and again, and started again each time."""
        dice = random.Random(seed)

        async def kill() -> None:
            while True:
                await asyncio.sleep(dice.uniform(0.5, 8))
                await self.system.processes.pop().stop(signal.SIGKILL)
                self.kills += 1
                await self.system.start(moving=True)

        async with asyncio.TaskGroup() as group:
            killing = group.create_task(kill())
            yield
            killing.cancel()


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())
