"""What is owed for invoices: how it moves between the pots, and that a pot which says something else is found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from models.base import new_id, new_row
from models.invoices import Invoice, InvoiceStatus
from models.ledger import LedgerTransactionKind
from models.money import Money
from services.invoices.claims import claim, post_claim
from services.ledger import GUESTS, INCOME, PLATFORM, RECEIVABLES, UNCOLLECTIBLE, LedgerBatch
from services.ledger_check import check_ledger
from tests.support.rows import add_invoice, add_payment, add_plan, add_subscription, add_user

if TYPE_CHECKING:
    import asyncpg

AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
DUE, GIVEN_UP, CLOSED = "invoice_due", "invoice_uncollectible", "invoice_closed"
OPEN, LOST = InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE
PAID, VOID, DRAFT = InvoiceStatus.PAID, InvoiceStatus.VOID, InvoiceStatus.DRAFT


@pytest.mark.parametrize(
    ("before", "status", "remaining", "moves"),
    [
        ((0, 0), DRAFT, 900, []),
        ((0, 0), OPEN, 900, [(DUE, 900)]),
        ((900, 0), OPEN, 900, []),
        ((900, 0), OPEN, 600, [(CLOSED, 300)]),
        ((600, 0), OPEN, 900, [(DUE, 300)]),
        ((900, 0), PAID, 0, [(CLOSED, 900)]),
        ((900, 0), VOID, 900, [(CLOSED, 900)]),
        ((900, 0), LOST, 900, [(GIVEN_UP, 900)]),
        ((0, 0), LOST, 900, [(DUE, 900), (GIVEN_UP, 900)]),
        ((0, 900), LOST, 400, [(GIVEN_UP, -500), (CLOSED, 500)]),
        ((0, 900), PAID, 0, [(GIVEN_UP, -900), (CLOSED, 900)]),
        ((0, 900), VOID, 900, [(GIVEN_UP, -900), (CLOSED, 900)]),
        ((0, 0), PAID, 0, []),
    ],
)  # fmt: skip
def test_what_is_owed_moves_as_the_invoice_does(
    before: tuple[int, int], status: InvoiceStatus, remaining: int, moves: list[tuple[str, int]]
) -> None:
    owed, lost = before
    invoice = new_row(
        Invoice,
        id=new_id(), stripe_invoice_id="in_1", version=7, currency="USD", status=status,
        amount_remaining_minor=remaining, receivable_minor=owed, written_off_minor=lost,
    )  # fmt: skip
    claim(invoice)
    ledger = LedgerBatch()
    post_claim(
        ledger, invoice, owed_before=owed, written_off_before=lost,
        at={"due": AT, "uncollectible": AT, "closed": AT},
    )  # fmt: skip
    assert [made.reference for made in ledger.transactions] == [f"{what}:in_1:7" for what, _ in moves]
    pots = {
        RECEIVABLES.account("USD").id: invoice.receivable_minor - owed,
        UNCOLLECTIBLE.account("USD").id: invoice.written_off_minor - lost,
    }
    for account, change in pots.items():
        assert sum(posting.amount_minor for posting in ledger.postings if posting.account_id == account) == change
    amounts = [
        sum(abs(p.amount_minor) for p in ledger.postings if p.transaction_id == made.id) // 2
        for made in ledger.transactions
    ]
    assert amounts == [abs(minor) for _, minor in moves]


async def findings(connection: asyncpg.Connection[Any]) -> set[str]:
    return {finding.rule for finding in (await check_ledger(connection)).findings}


async def test_an_invoice_that_owes_what_the_ledger_does_not_have_is_found(
    connection: asyncpg.Connection[Any],
) -> None:
    subscription = await add_subscription(connection, await add_user(connection), await add_plan(connection))
    await add_invoice(connection, subscription, receivable_minor=1000)
    assert await findings(connection) == {"an invoice's pots hold what its row says"}


async def test_an_invoice_that_owes_nothing_though_something_remains_is_found(
    connection: asyncpg.Connection[Any],
) -> None:
    subscription = await add_subscription(connection, await add_user(connection), await add_plan(connection))
    await add_invoice(connection, subscription)
    assert await findings(connection) == {"what an invoice owes is what remains of it"}


async def test_what_is_owed_for_no_invoice_is_found(connection: asyncpg.Connection[Any]) -> None:
    ledger, amount = LedgerBatch(), Money(500, "USD")
    ledger.move(
        LedgerTransactionKind.INVOICE_DUE, "invoice_due:in_gone:1", [(GUESTS, -amount), (RECEIVABLES, amount)],
        occurred_at=AT, payment_id=None, stripe_object_id="in_gone",
    )  # fmt: skip
    async with connection.transaction():
        await ledger.write(connection)
    assert await findings(connection) == {"an invoice's pots hold what its row says"}


async def test_income_that_nobody_paid_is_found_and_so_is_a_payment_that_brought_none(
    connection: asyncpg.Connection[Any],
) -> None:
    user = await add_user(connection)
    subscription = await add_subscription(connection, user, await add_plan(connection))
    invoice = await add_invoice(connection, subscription, status=PAID, amount_remaining_minor=0)
    await add_payment(
        connection, user, captured=True, invoice_id=invoice.id, subscription_id=subscription.id,
        platform_fee_minor=2000, host_amount_minor=0, charge_model="PLATFORM",
    )  # fmt: skip
    rules = {
        "a payment's pots hold what its row says",
        "what subscriptions bring in is what was paid for them, less refunds and what was lost in disputes",
    }
    assert await findings(connection) == rules
    ledger, amount = LedgerBatch(), Money(700, "EUR")
    ledger.move(
        LedgerTransactionKind.INVOICE_INCOME, "invoice_income:ch_gone", [(PLATFORM, -amount), (INCOME, amount)],
        occurred_at=AT, payment_id=None,
    )  # fmt: skip
    async with connection.transaction():
        await ledger.write(connection)
    report = await check_ledger(connection)
    assert {f.subject for f in report.findings if f.rule.startswith("what subscriptions")} == {"USD", "EUR"}
