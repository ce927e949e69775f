"""A host who can be paid, an activity, guests, and what must hold of them whatever happened."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from models.connect_accounts import ConnectAccountType
from models.money import Money
from models.operations import Operation, OperationStatus
from models.payments import ChargeModel, Payment, PaymentAttempt, PaymentStatus
from models.refunds import Refund, RefundStatus
from models.rsvps import Rsvp
from services.ledger_check import check_ledger
from services.payments.pay import pay_for_activity
from services.refunds.creation import refund_payment
from services.viewer import Role, Viewer
from services.webhooks.handlers import handler_of
from services.webhooks.inbox import EventSource, receive
from services.webhooks.processing import process_due
from tests.support.rows import add_account, add_activity, add_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.activities import Activity
    from models.connect_accounts import ConnectAccount
    from models.users import User
    from services.core import Services
    from services.payments.result import PaymentResult
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

# Where our status may stand for each of a payment intent's.
_AGREES = {
    "requires_payment_method": {PaymentStatus.FAILED, PaymentStatus.PENDING},
    "requires_confirmation": {PaymentStatus.PENDING},
    "requires_action": {PaymentStatus.REQUIRES_ACTION},
    "processing": {PaymentStatus.PROCESSING},
    "requires_capture": {PaymentStatus.AUTHORIZED},
    "succeeded": {PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED},
    "canceled": {PaymentStatus.CANCELED},
}


def as_user(user: User) -> Viewer:
    """The viewer of this person."""
    return Viewer(Role.USER, user.external_id)


SERVICE = Viewer(Role.SERVICE, "platform")


@dataclass(frozen=True)
class Shop:
    """Everything at hand."""

    services: Services
    sandbox: Sandbox
    clock: Clock
    host: User
    account: ConnectAccount
    guest: User
    activity: Activity

    @classmethod
    async def open(
        cls, services: Services, sandbox: Sandbox, clock: Clock, *, country: str = "US",
        type_: ConnectAccountType = ConnectAccountType.EXPRESS, **activity: Any,
    ) -> Shop:  # fmt: skip
        """Onboard a host and offer an activity."""
        standard = type_ is ConnectAccountType.STANDARD
        account_id = await sandbox.onboarded_account(country=country, standard=standard)
        async with services.database.transaction() as connection:
            host = await add_user(connection, stripe_customer_id=None)
            account = await add_account(
                connection, host, stripe_account_id=account_id, country=country, type=type_
            )
            guest = await add_user(connection, stripe_customer_id=None)
            offered = await add_activity(connection, host, **activity)
        return cls(services, sandbox, clock, host, account, guest, offered)

    def through(self, stripe: Any) -> Shop:
        """The same over another way to Stripe."""
        return replace(self, services=replace(self.services, stripe=stripe))

    async def new_guest(self) -> User:
        """One more."""
        async with self.services.database.transaction() as connection:
            return await add_user(connection, stripe_customer_id=None)

    async def pay(
        self, payment_method: str = "pm_card_visa", *, guest: User | None = None, **values: Any
    ) -> PaymentResult:
        """Pay for one seat."""
        given: dict[str, Any] = {
            "activity_id": self.activity.id, "quantity": 1, "expected_amount": None, "capture_later": False,
            "save_payment_method": False, "return_url": None, "idempotency_key": str(uuid4()),
        }  # fmt: skip
        return await pay_for_activity(
            self.services, viewer=as_user(guest or self.guest), payment_method=payment_method, **{**given, **values}
        )

    async def paid(self, payment_method: str = "pm_card_visa", **values: Any) -> Payment:
        """A payment that was made."""
        result = await self.pay(payment_method, **values)
        assert result.error is None
        return result.payment

    async def refund(
        self, payment: Payment, minor: int | None = None, *, viewer: Viewer | None = None, **values: Any
    ) -> Refund:
        """Give it back, by its host."""
        return await refund_payment(
            self.services, viewer=viewer or as_user(self.host), payment_id=payment.id,
            amount=None if minor is None else Money(minor, payment.currency), reason=values.pop("reason", None),
            idempotency_key=values.pop("idempotency_key", str(uuid4())),
        )  # fmt: skip

    async def now(self, payment: Payment) -> Payment:
        """The payment as it is now."""
        return await Payment.get(id=payment.id)

    async def rsvp(self, payment: Payment) -> Rsvp:
        """Its RSVP as it is now."""
        return await Rsvp.get(id=payment.rsvp_id)

    async def seats_taken(self) -> int:
        """Of the activity."""
        taken = await self.services.database.pool.fetchval(
            "SELECT seats_taken FROM activities WHERE id = $1", self.activity.id
        )
        return int(taken)

    async def intent(self, payment: Payment) -> dict[str, Any]:
        """What Stripe has of it."""
        found = await self.now(payment)
        return dict(
            await self.sandbox.get(
                f"/v1/payment_intents/{found.stripe_payment_intent_id}",
                {"expand": ["latest_charge.balance_transaction"]},
                account=found.stripe_account or None,
            )
        )

    async def events_of(self, *payments: Payment) -> list[dict[str, Any]]:
        """Stripe's events of these payments, that somebody here handles, the oldest first."""
        of_account: dict[str, list[str]] = {}
        for payment in payments:
            of_account.setdefault(payment.stripe_account, []).append(
                str((await self.now(payment)).stripe_payment_intent_id)
            )
        return [
            event
            for account, ids in of_account.items()
            for event in await self.sandbox.events_about(*ids, account=account or None)
            if handler_of(event["type"], account)
        ]

    async def deliver(self, events: Sequence[dict[str, Any]]) -> None:
        """Stripe's webhooks come in, one after another, and are handled."""
        for event in events:
            await receive_signed(self.services, event)
            await process_due(self.services)
        failed = await self.services.database.pool.fetch(
            "SELECT type, last_error FROM webhook_events WHERE last_error IS NOT NULL"
        )
        assert failed == []

    async def deliver_all(self, *payments: Payment) -> None:
        """All webhooks of these payments, in order."""
        await self.deliver(await self.events_of(*payments))

    async def recover(self) -> None:
        """Let time pass until every operation has come to its end."""
        for _ in range(30):
            if not await Operation.filter(status=OperationStatus.RUNNING).exists():
                return
            self.clock.forward(seconds=700)
            await self.services.operations.recover(self.services)
        left = await Operation.filter(status=OperationStatus.RUNNING)
        raise AssertionError([(operation.kind, operation.attempts) for operation in left])

    async def check(self) -> None:
        """Everything that must hold at rest: of the ledger, of the seats, and between us and Stripe."""
        pool = self.services.database.pool
        async with pool.acquire() as connection:
            report = await check_ledger(connection)
        assert report.findings == []
        oversold = await pool.fetch(
            """
            SELECT a.id, a.seats_taken FROM activities a LEFT JOIN rsvps r ON r.activity_id = a.id GROUP BY a.id
            HAVING a.seats_taken <> coalesce(sum(r.quantity) FILTER (WHERE r.status IN ('HELD', 'CONFIRMED')), 0)
            """
        )
        assert oversold == []
        payments = await Payment.all()
        await asyncio.gather(*(self._check_payment(payment) for payment in payments))

    async def _check_payment(self, payment: Payment) -> None:
        if payment.stripe_payment_intent_id is None:
            assert payment.status in {PaymentStatus.PENDING, PaymentStatus.CANCELED}
            return
        intent = await self.intent(payment)
        assert payment.status in _AGREES[intent["status"]], (payment.status, intent["status"])
        assert payment.captured.wire == intent["amount_received"]
        assert payment.amount.wire == intent["amount"]
        account = payment.stripe_account or None
        charges = await self.sandbox.every("/v1/charges", {"payment_intent": intent["id"]}, account=account)
        assert sum(charge["captured"] for charge in charges) == (1 if payment.captured_minor else 0)
        attempts = await PaymentAttempt.filter(payment_id=payment.id)
        assert {attempt.stripe_charge_id for attempt in attempts} <= {charge["id"] for charge in charges}
        theirs = await self.sandbox.every("/v1/refunds", {"payment_intent": intent["id"]}, account=account)
        ours = await Refund.filter(payment_id=payment.id, stripe_refund_id__not_isnull=True)
        assert {(r.stripe_refund_id, r.amount.wire, r.status.value.lower()) for r in ours} == {
            (r["id"], r["amount"], r["status"]) for r in theirs if r["balance_transaction"]
        }
        done = sum(r.amount_minor for r in ours if r.status is RefundStatus.SUCCEEDED)
        assert payment.refunded_minor == done
        if payment.captured_minor:
            fees = [c["application_fee_amount"] or 0 for c in charges if c["captured"]]
            of_stripe = payment.charge_model in {ChargeModel.DESTINATION, ChargeModel.DIRECT}
            assert fees == [payment.platform_fee.wire if of_stripe else 0]


async def pool_fetch(services: Services, query: str, *arguments: Any) -> list[Any]:
    """Records of a query."""
    return list(await services.database.pool.fetch(query, *arguments))


async def receive_signed(services: Services, event: dict[str, Any]) -> None:
    """An event as Stripe sends it, to the endpoint that it is for."""
    payload = orjson.dumps(event)
    source = EventSource.of(event.get("account") or "")
    settings = services.settings
    secrets = (
        settings.stripe_webhook_secret if source is EventSource.PLATFORM else settings.stripe_connect_webhook_secret
    )
    secret = secrets[0].get_secret_value()
    at = int(time.time())
    digest = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    await receive(services, source=source, payload=payload, signature=f"t={at},v1={digest}")
