"""A subscriber's first months end in the same rows, in whatever order, how often and whether the webhooks come."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.invoices import CreditNote, CreditNoteStatus, InvoiceLine, InvoiceStatus
from models.ledger import LedgerAccountKind
from models.payments import PaymentStatus
from models.refunds import Refund, RefundStatus
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.webhooks.processing import process_due
from tests.support.billing import DAY, MONTH, Subscriber
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.shop import receive_signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from models.invoices import Invoice
    from models.payments import Payment
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

@dataclass
class Life:
    """One subscriber's, told by Stripe's webhooks alone."""

    subscriber: Subscriber
    row: BillingSubscription | None = None

    async def run(self, deliver: Callable[[], Awaitable[None]]) -> None:
        """Trial, upgrade, a renewal that fails and is paid after all, money back, the end; webhooks after each step."""
        subscriber, sandbox = self.subscriber, self.subscriber.sandbox
        small, large = await subscriber.plan(1000), await subscriber.plan(3000)
        self.row = await subscriber.subscribe(small, trial_period_days=14)
        await deliver()
        await subscriber.let_pass(14 * DAY + HOURS_2)
        await deliver()

        await subscriber.let_pass(15 * DAY)
        [theirs] = await sandbox.every("/v1/subscriptions", {"customer": subscriber.customer})
        path = f"/v1/subscriptions/{theirs['id']}"
        item = {"id": theirs["items"]["data"][0]["id"], "price": large.stripe_price_id}
        await sandbox.post(path, {"items": [item], "proration_behavior": "always_invoice"})
        await deliver()

        await subscriber.give("pm_card_chargeCustomerFail")
        await subscriber.let_pass(17 * DAY)
        await deliver()
        await subscriber.give("pm_card_visa")
        [invoice] = await sandbox.every("/v1/invoices", {"customer": subscriber.customer, "status": "open"})
        await sandbox.post(f"/v1/invoices/{invoice['id']}/pay")
        await deliver()

        [paid] = (await sandbox.get("/v1/invoice_payments", {"invoice": invoice["id"]}))["data"]
        await sandbox.post("/v1/refunds", {"payment_intent": paid["payment"]["payment_intent"], "amount": 700})
        await sandbox.post("/v1/credit_notes", {"invoice": invoice["id"], "amount": 500, "credit_amount": 500})
        await deliver()
        await sandbox.post(path, {"cancel_at_period_end": True})
        await deliver()
        await subscriber.let_pass(MONTH)
        await deliver()

    async def outcome(self) -> dict[str, Any]:
        """All that the rows say in the end, but for ids, with times counted from the beginning."""
        assert self.row is not None
        now = await self.subscriber.now(self.row)
        invoices = await self.subscriber.invoices()
        began = invoices[0].stripe_created_at
        return {
            "subscription": (
                now.status, now.stripe_status,
                *(
                    None if time is None else time - began
                    for time in (
                        now.current_period_start, now.current_period_end, now.trial_end, now.canceled_at, now.ended_at,
                    )
                ),
                now.cancel_at_period_end, now.entitled_until, now.past_due_since, now.client_secret,
                now.next_payment_attempt,
            ),
            "invoices": [await _invoice(invoice, began) for invoice in invoices],
            "payments": sorted([await _payment(payment) for payment in await self.subscriber.payments()], key=_amount),
            "ledger": {kind: held for kind in LedgerAccountKind if (held := await self.subscriber.balance(kind))},
        }  # fmt: skip


async def _invoice(invoice: Invoice, began: datetime) -> tuple[Any, ...]:
    lines = await InvoiceLine.filter(invoice_id=invoice.id).order_by("position")
    notes = await CreditNote.filter(invoice_id=invoice.id)
    return (
        invoice.status, invoice.billing_reason, invoice.subtotal_minor, invoice.total_minor, invoice.amount_paid_minor,
        invoice.amount_remaining_minor, invoice.period_start - began, invoice.period_end - began,
        invoice.paid_at and invoice.paid_at - began,
        [(line.amount_minor, line.proration, line.period_start - began, line.period_end - began) for line in lines],
        [(note.status, note.type, note.total_minor, note.credited_minor) for note in notes],
    )  # fmt: skip


async def _payment(payment: Payment) -> tuple[Any, ...]:
    refunds = await Refund.filter(payment_id=payment.id)
    return (
        payment.status, payment.amount_minor, payment.captured_minor, payment.refunded_minor,
        payment.platform_fee_minor, payment.fee_refunded_minor, payment.settlement_minor,
        [(refund.status, refund.amount_minor, refund.fee_minor, refund.platform_minor) for refund in refunds],
    )  # fmt: skip


def _amount(payment: tuple[Any, ...]) -> int:
    return int(payment[1])


@pytest.fixture
async def life(services: Services, sandbox: Sandbox, clock: Clock) -> Life:
    """Somebody who is about to subscribe."""
    return Life(await Subscriber.begin(services, sandbox, clock))


def days(count: int, seconds: int = 0) -> timedelta:
    return timedelta(days=count, seconds=seconds)


HOURS_2 = 7_200
BEGAN, TRIAL_ENDED, UPGRADED, RENEWED = days(0), days(14), days(29, HOURS_2), days(45)
ENDED = days(76)
# 15 days and 22 hours of 31 are left: 513 cents of the small plan, 1540 of the large one.
EXPECTED = {
    "subscription": (
        BillingSubscriptionStatus.CANCELED, "canceled", RENEWED, ENDED, TRIAL_ENDED, days(46, HOURS_2), ENDED, True,
        None, None, None, None,
    ),
    "invoices": [
        (
            InvoiceStatus.PAID, "subscription_create", 0, 0, 0, 0, BEGAN, BEGAN, BEGAN,
            [(0, False, BEGAN, TRIAL_ENDED)], [],
        ),
        (
            InvoiceStatus.PAID, "subscription_cycle", 1000, 1000, 1000, 0, BEGAN, TRIAL_ENDED, days(14, 3600),
            [(1000, False, TRIAL_ENDED, RENEWED)], [],
        ),
        (
            InvoiceStatus.PAID, "subscription_update", 1027, 1027, 1027, 0, UPGRADED, UPGRADED, UPGRADED,
            [(-513, True, UPGRADED, RENEWED), (1540, True, UPGRADED, RENEWED)], [],
        ),
        (
            InvoiceStatus.PAID, "subscription_cycle", 3000, 3000, 3000, 0, TRIAL_ENDED, RENEWED, days(46, HOURS_2),
            [(3000, False, RENEWED, ENDED)], [(CreditNoteStatus.ISSUED, "post_payment", 500, 500)],
        ),
    ],
    "payments": [
        (PaymentStatus.SUCCEEDED, 1000, 1000, 0, 1000, 0, 1000, []),
        (PaymentStatus.SUCCEEDED, 1027, 1027, 0, 1027, 0, 1027, []),
        (
            PaymentStatus.PARTIALLY_REFUNDED, 3000, 3000, 700, 3000, 700, 3000,
            [(RefundStatus.SUCCEEDED, 700, 700, 0)],
        ),
    ],
    "ledger": {"GUEST_CLEARING": -4327, "SUBSCRIPTION_INCOME": 4327},
}  # fmt: skip


async def test_webhooks_that_come_in_order(life: Life) -> None:
    async def deliver() -> None:
        await life.subscriber.deliver()
        await life.subscriber.check()

    await life.run(deliver)
    assert await life.outcome() == EXPECTED


@pytest.mark.parametrize("seed", [1, 2])
async def test_webhooks_that_are_shuffled_doubled_and_late(life: Life, seed: int) -> None:
    chance = random.Random(seed)
    late: list[dict[str, Any]] = []

    async def deliver() -> None:
        events = [*await life.subscriber.events()] * 2
        chance.shuffle(events)
        late.extend(events[::3])
        del events[::3]
        await life.subscriber.deliver(events)

    await life.run(deliver)
    chance.shuffle(late)
    await life.subscriber.deliver(late)
    await life.subscriber.check()
    assert await life.outcome() == EXPECTED


async def test_webhooks_that_all_come_when_everything_is_over(life: Life) -> None:
    async def deliver() -> None:
        pass

    await life.run(deliver)
    await life.subscriber.deliver((await life.subscriber.events())[::-1])
    await life.subscriber.check()
    assert await life.outcome() == EXPECTED


async def test_a_process_that_ends_between_what_stripe_said_and_what_is_written(life: Life) -> None:
    chance = random.Random(7)
    trap = Trap()
    subscriber = life.subscriber
    async with trapped(subscriber.services, trap, subscriber.sandbox) as services:

        async def deliver() -> None:
            for event in await subscriber.events():
                await receive_signed(subscriber.services, event)
                boundary = chance.choice([Boundary.SETTLING, Boundary.SETTLED])
                trap.begin(settles=True)
                trap.arm(Trouble.crash(boundary, chance.randrange(3)))
                try:
                    await process_due(services)
                except Crash:
                    # The claim of the process that is no more runs out.
                    subscriber.clock.forward(seconds=3 * subscriber.services.settings.lease_s)
                trap.arm(None)
                await process_due(services)
            await subscriber.check()

        await life.run(deliver)
    assert trap.sprung > 10
    assert await subscriber.services.database.pool.fetchval(
        "SELECT count(*) FROM webhook_events WHERE status <> 'PROCESSED'"
    ) == 0  # fmt: skip
    assert await life.outcome() == EXPECTED


async def test_webhooks_that_many_workers_handle_at_the_same_time(life: Life) -> None:
    services, chance = life.subscriber.services, random.Random(3)

    async def deliver() -> None:
        events = await life.subscriber.events()
        chance.shuffle(events)
        for event in events:
            await receive_signed(services, event)
        while sum(await asyncio.gather(*(process_due(services, limit=2) for _ in range(6)))):
            pass

    await life.run(deliver)
    await life.subscriber.deliver([])
    await life.subscriber.check()
    assert await life.outcome() == EXPECTED
