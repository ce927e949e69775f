"""A host with money at Stripe, where it goes, and what banks make of it."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.currencies import currency as currency_by_code
from models.money import Money
from models.operations import Operation, OperationStatus
from models.payouts import Payout
from services.ledger_check import check_ledger
from services.payouts.creation import create_payout
from services.stripe_requests import create_account
from services.webhooks.handlers import EventSource, handler_of
from services.webhooks.inbox import receive
from services.webhooks.processing import process_due
from tests.support.rows import add_account, add_user
from tests.support.shop import as_user

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.users import User
    from services.core import Services
    from services.payouts.creation import PayoutResult
    from services.viewer import Viewer
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox



@dataclass(frozen=True)
class Earner:
    """A host who is paid, at Stripe and here."""

    services: Services
    sandbox: Sandbox
    clock: Clock
    host: User
    account: ConnectAccount

    @classmethod
    async def open(
        cls, services: Services, sandbox: Sandbox, clock: Clock, *, minor: int = 10_000,
        type_: ConnectAccountType = ConnectAccountType.EXPRESS, country: str = "US", bank: str | None = None,
    ) -> Earner:  # fmt: skip
        """Onboard a host who has so much to be paid out.

        Args:
            bank: the number of the account that it goes to, which tells what becomes of it.
        """
        request = create_account(type_, country=country, email="host@example.com", metadata={})
        opened = await sandbox.post_encoded(request.path, request.body)
        await sandbox.act(f"accounts/{opened['id']}/onboard")
        at_stripe = await sandbox.get(f"/v1/accounts/{opened['id']}")
        currency = at_stripe["default_currency"]
        if bank is not None:
            await sandbox.act(
                f"accounts/{opened['id']}/bank_account", account_number=bank, country=country, currency=currency
            )
        async with services.database.transaction() as connection:
            host = await add_user(connection, stripe_customer_id=None)
            account = await add_account(
                connection, host, stripe_account_id=opened["id"], country=country, default_currency=currency.upper(),
                type=type_,
            )  # fmt: skip
        earner = cls(services, sandbox, clock, host, account)
        if minor:
            await earner.earn(minor)
        return earner

    @property
    def viewer(self) -> Viewer:
        """The host, asking."""
        return as_user(self.host)

    @property
    def stripe_account(self) -> str:
        """The id of the account at Stripe."""
        return str(self.account.stripe_account_id)

    @property
    def currency(self) -> str:
        """What the host is paid in."""
        return self.account.default_currency

    def through(self, services: Services) -> Earner:
        """The same over other services."""
        return replace(self, services=services)

    async def earn(self, minor: int) -> None:
        """So much more comes in, or, below zero, is taken, that counts at once."""
        amount = Money(minor, self.currency)
        await self.sandbox.act(
            f"accounts/{self.stripe_account}/balance_transactions", type="adjustment", amount=amount.wire,
            currency=amount.currency.lower(),
        )  # fmt: skip

    async def sell(self, minor: int) -> None:
        """A guest pays so much, which waits for its days."""
        await self.sandbox.post(
            "/v1/payment_intents",
            {
                "amount": minor, "currency": self.currency.lower(), "confirm": True, "payment_method": "pm_card_visa",
                "capture_method": "automatic",
                "transfer_data": {"destination": self.stripe_account},
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            },
        )  # fmt: skip

    async def becomes(self, **values: Any) -> None:
        """The account's row is changed, without Stripe."""
        await ConnectAccount.filter(id=self.account.id).update(**values)

    async def pay_out(
        self, minor: int = 4_000, *, instant: bool = False, key: str | None = None, viewer: Viewer | None = None,
        currency: str | None = None,
    ) -> PayoutResult:  # fmt: skip
        """The host asks for so much."""
        return await create_payout(
            self.services, viewer=viewer or self.viewer, amount=Money(minor, currency or self.currency),
            instant=instant, idempotency_key=key or str(uuid4()),
        )  # fmt: skip

    async def paid_out(self, minor: int = 4_000, **values: Any) -> Payout:
        """A payout that Stripe has made."""
        result = await self.pay_out(minor, **values)
        assert result.error is None
        return result.payout

    async def now(self, payout: Payout) -> Payout:
        """The payout as it is now."""
        return await Payout.get(id=payout.id)

    async def bank_does(self, payout: Payout, what: str, **body: Any) -> None:
        """Send, pay or fail: what a bank makes of it, at Stripe alone."""
        await self.sandbox.act(f"payouts/{payout.stripe_payout_id}/{what}", **body)

    async def events(self) -> list[dict[str, Any]]:
        """Stripe's events of this account about payouts, the oldest first, as its webhooks carry them."""
        found = await self.sandbox.every("/v1/events", account=self.stripe_account)
        ours = [{**event, "account": self.stripe_account} for event in reversed(found)]
        return [event for event in ours if event["data"]["object"]["object"] == "payout"]

    async def deliver(self, events: Sequence[dict[str, Any]] | None = None) -> None:
        """Webhooks come in, one after another, and are handled: all of them where none are named."""
        for event in await self.events() if events is None else events:
            assert handler_of(event["type"], event.get("account") or "") is not None
            await receive_signed(self.services, event)
            await process_due(self.services)
        failed = await self.services.database.pool.fetch(
            "SELECT type, last_error FROM webhook_events WHERE last_error IS NOT NULL"
        )
        assert failed == []

    async def recover(self) -> None:
        """Let time pass until every operation has come to its end."""
        for _ in range(30):
            if not await Operation.filter(status=OperationStatus.RUNNING).exists():
                return
            self.clock.forward(seconds=700)
            await self.services.operations.recover(self.services)
        raise AssertionError([operation.kind for operation in await Operation.filter(status=OperationStatus.RUNNING)])

    async def at_stripe(self) -> list[dict[str, Any]]:
        """The account's payouts at Stripe, the newest first."""
        return await self.sandbox.every("/v1/payouts", account=self.stripe_account)

    async def has(self, *, pending: bool = False) -> int:
        """What can be paid out at Stripe now, in minor units, with what is on its way there where that is wanted."""
        balance = await self.sandbox.get("/v1/balance", account=self.stripe_account)
        parts = [*balance["available"], *(balance["pending"] if pending else [])]
        wire = sum(part["amount"] for part in parts if part["currency"].upper() == self.currency)
        return Money.from_wire(wire, self.currency).minor

    async def pots(self, owner_id: UUID | None = None) -> dict[str, int]:
        """What the ledger's pots hold, of this host where no other owner is named: those that hold something."""
        records = await self.services.database.pool.fetch(
            """
            SELECT a.kind, sum(p.amount_minor)::bigint AS minor FROM ledger_postings p
            JOIN ledger_accounts a ON a.id = p.account_id WHERE a.owner_id IS NOT DISTINCT FROM $1
            GROUP BY a.kind HAVING sum(p.amount_minor) <> 0
            """,
            owner_id or self.host.id,
        )
        return {record["kind"]: record["minor"] for record in records}

    async def causes(self) -> list[str]:
        """What moved money in the ledger, without Stripe's ids, in order."""
        records = await self.services.database.pool.fetch(
            "SELECT reference FROM ledger_transactions WHERE reference LIKE 'payout%' ORDER BY id"
        )
        return [record["reference"].partition(":")[0] for record in records]

    async def statuses(self, payout: Payout) -> list[tuple[str | None, str]]:
        """The changes of a payout as its followers hear of them."""
        records = await self.services.database.pool.fetch(
            "SELECT previous_status, status FROM events WHERE subject_type = 'PAYOUT' AND subject_id = $1"
            " ORDER BY version",
            payout.id,
        )
        return [(record["previous_status"], record["status"]) for record in records]

    async def check(self) -> None:
        """What must hold at rest: the ledger balances, each payout is known here as it is at Stripe, once."""
        async with self.services.database.pool.acquire() as connection:
            assert (await check_ledger(connection)).findings == []
        ours = await Payout.filter(stripe_account=self.stripe_account, stripe_payout_id__not_isnull=True)
        theirs = await self.at_stripe()
        assert {(p.stripe_payout_id, p.amount.wire, p.status.value.lower()) for p in ours} == {
            (p["id"], p["amount"], p["status"]) for p in theirs
        }
        step = currency_by_code(self.currency).payout_step_minor
        assert all(payout.amount_minor % step == 0 for payout in ours)
        for payout in await Payout.all():
            versions = await self.services.database.pool.fetchval(
                "SELECT array_agg(version ORDER BY version) FROM events WHERE subject_id = $1", payout.id
            )
            assert versions == list(range(1, payout.version + 1))


async def receive_signed(services: Services, event: dict[str, Any]) -> None:
    """An event as Stripe sends it, to the endpoint that it belongs to."""
    source = EventSource.of(event.get("account") or "")
    secrets = {
        EventSource.PLATFORM: services.settings.stripe_webhook_secret,
        EventSource.CONNECT: services.settings.stripe_connect_webhook_secret,
    }
    payload, at = orjson.dumps(event), int(time.time())
    digest = hmac.new(
        secrets[source][0].get_secret_value().encode(), f"{at}.".encode() + payload, hashlib.sha256
    ).hexdigest()
    await receive(services, source=source, payload=payload, signature=f"t={at},v1={digest}")
