from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.base import new_id
from models.events import EventSubject
from models.invoices import CreditNote, CreditNoteStatus, InvoiceLine, InvoiceStatus
from models.payments import ChargeModel
from models.sets import insert_rows
from schema.ids import global_id
from services.changes import ChangeSet
from services.errors import InvalidInput, NotFound, Unauthenticated
from services.subscriptions.rows import lock_subscription, write_subscription
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.resolvers.test_subscriptions import after_next, refusal, subscribe
from tests.support.rows import add_invoice, add_payment, add_plan, add_subscription

if TYPE_CHECKING:
    from models.invoices import Invoice
    from models.payments import Payment
    from models.sets import AnyConnection
    from models.subscriptions import BillingSubscription

INVOICE = """query($id: ID!) { node(id: $id) { ... on Invoice {
    id status number billingReason attemptCount hostedInvoiceUrl invoicePdf nextPaymentAttempt periodStart periodEnd
    createdAt finalizedAt paidAt subtotal { amount } total { amount currency } amountDue { amount }
    amountPaid { amount } amountRemaining { amount } user { name } subscription { id status }
    lines { description amount { amount } discount { amount } quantity proration periodStart periodEnd }
    creditNotes { number status reason total { amount } refunded { amount } credited { amount } createdAt }
    payments { id status platformFee { amount } activity { id } invoice { id } subscription { id } }
} } }"""
OF_SUBSCRIPTION = """query($id: ID!, $first: Int, $after: String) { node(id: $id) { ... on BillingSubscription {
    invoices(first: $first, after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } }
    history { edges { node { previousStatus status notice } } }
} } }"""
FOLLOW = """subscription($id: ID!, $after: String) { subscriptionStatusChanged(subscriptionId: $id, after: $after) {
    cursor previousStatus status notice occurredAt subscription { id status }
} }"""


@dataclass
class Club:
    """A subscription with an open invoice of two lines, a credit note and a declined payment."""

    subscription: BillingSubscription
    invoice: Invoice
    payment: Payment

    @property
    def id(self) -> str:
        return global_id("BillingSubscription", self.subscription.id)


@pytest.fixture
async def club(connection: AnyConnection, market: Market) -> Club:
    subscription = await add_subscription(connection, market.guest, await add_plan(connection))
    invoice = await add_invoice(
        connection, subscription, number="A-1", total_minor=900, amount_due_minor=900, amount_remaining_minor=600,
        attempt_count=1, hosted_invoice_url="https://stripe.example/i", invoice_pdf="https://stripe.example/i.pdf",
    )  # fmt: skip
    common: dict[str, Any] = {
        "invoice_id": invoice.id, "currency": "USD", "period_start": invoice.period_start,
        "period_end": invoice.period_end,
    }  # fmt: skip
    later = InvoiceLine(
        id=new_id(), stripe_line_id="il_2", position=1, description="Unused time", amount_minor=-200, proration=True,
        **common,
    )  # fmt: skip
    first = InvoiceLine(
        id=new_id(), stripe_line_id="il_1", position=0, description="Premium", amount_minor=1200, discount_minor=100,
        quantity=1, **common,
    )  # fmt: skip
    await insert_rows(connection, InvoiceLine, [later, first])
    note = CreditNote(
        id=new_id(), invoice_id=invoice.id, stripe_credit_note_id="cn_1", number="CN-1", type="pre_payment",
        status=CreditNoteStatus.ISSUED, reason="duplicate", currency="USD", total_minor=300,
        stripe_created_at=datetime.now(UTC),
    )  # fmt: skip
    await insert_rows(connection, CreditNote, [note])
    payment = await add_payment(
        connection, market.guest, invoice_id=invoice.id, subscription_id=subscription.id, amount_minor=600,
        platform_fee_minor=600, host_amount_minor=0, charge_model=ChargeModel.PLATFORM, status="FAILED",
    )  # fmt: skip
    return Club(subscription, invoice, payment)


async def test_an_invoice_is_shown_with_its_lines_credit_notes_and_payments(api: Api, club: Club) -> None:
    id_ = global_id("Invoice", club.invoice.id)
    shown = (await api.data(INVOICE, user("gustav"), id=id_))["node"]
    assert shown["id"] == id_
    assert (shown["status"], shown["number"], shown["attemptCount"]) == ("OPEN", "A-1", 1)
    assert shown["hostedInvoiceUrl"] == "https://stripe.example/i"
    assert shown["total"] == {"amount": "9.00", "currency": "USD"}
    assert (shown["amountDue"], shown["amountRemaining"]) == ({"amount": "9.00"}, {"amount": "6.00"})
    assert [(line["description"], line["amount"]["amount"]) for line in shown["lines"]] == [
        ("Premium", "12.00"), ("Unused time", "-2.00"),
    ]  # fmt: skip
    assert [line["proration"] for line in shown["lines"]] == [False, True]
    assert [line["discount"]["amount"] for line in shown["lines"]] == ["1.00", "0.00"]
    [note] = shown["creditNotes"]
    assert (note["number"], note["status"], note["total"]) == ("CN-1", "ISSUED", {"amount": "3.00"})
    [payment] = shown["payments"]
    assert (payment["status"], payment["platformFee"], payment["activity"]) == ("FAILED", {"amount": "6.00"}, None)
    assert payment["invoice"]["id"] == id_
    assert payment["subscription"]["id"] == shown["subscription"]["id"] == club.id


@pytest.mark.parametrize("viewer", [SERVICE, ADMIN, user("gustav")])
async def test_its_guest_and_the_platform_see_it(api: Api, club: Club, viewer: Any) -> None:
    shown = await api.data(INVOICE, viewer, id=global_id("Invoice", club.invoice.id))
    assert shown["node"]["number"] == "A-1"


@pytest.mark.parametrize("viewer", [user("stella"), user("henriette"), user("nobody")])
async def test_nobody_else_does(api: Api, club: Club, viewer: Any) -> None:
    assert (await api.data(INVOICE, viewer, id=global_id("Invoice", club.invoice.id)))["node"] is None
    assert (await api.data(OF_SUBSCRIPTION, viewer, id=club.id))["node"] is None
    payment = await api.data("query($id: ID!) { payment(id: $id) { id } }", viewer, id=_payment(club))
    assert payment["payment"] is None


async def test_payments_are_listed_by_subscription(api: Api, market: Market, club: Club) -> None:
    query = "query($filter: PaymentFilter) { payments(filter: $filter) { totalCount edges { node { id } } } }"
    found = await api.data(query, user("gustav"), filter={"subscriptionId": club.id})
    assert found["payments"] == {"totalCount": 1, "edges": [{"node": {"id": _payment(club)}}]}
    nothing = await api.data(query, user("gustav"), filter={"subscriptionId": "nonsense"})
    assert nothing["payments"]["totalCount"] == 0
    everything = await api.data(query, user("gustav"))
    assert everything["payments"]["totalCount"] == 2


async def test_a_subscription_s_invoices_come_in_pages_the_newest_first(
    api: Api, connection: AnyConnection, club: Club
) -> None:
    newer = await add_invoice(connection, club.subscription, status=InvoiceStatus.DRAFT)
    page = (await api.data(OF_SUBSCRIPTION, SERVICE, id=club.id, first=1))["node"]["invoices"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [global_id("Invoice", newer.id)]
    assert page["pageInfo"]["hasNextPage"]
    page = await api.data(OF_SUBSCRIPTION, SERVICE, id=club.id, after=page["pageInfo"]["endCursor"])
    assert [edge["node"]["id"] for edge in page["node"]["invoices"]["edges"]] == [
        global_id("Invoice", club.invoice.id)
    ]  # fmt: skip


async def test_invoices_of_many_subscriptions_cost_a_fixed_number_of_statements(
    api: Api, connection: AnyConnection, market: Market
) -> None:
    ids = []
    for _ in range(20):
        subscription = await add_subscription(connection, market.guest, await add_plan(connection))
        await add_invoice(connection, subscription)
        ids.append(global_id("BillingSubscription", subscription.id))
    query = """query($ids: [ID!]!) { nodes(ids: $ids) { ... on BillingSubscription { history { edges { cursor } }
        invoices(first: 3) { edges { node { lines { description } creditNotes { number } payments { id } user { name }
            subscription { id } } } } } } }"""
    counts = []
    for some in (ids[:2], ids):
        api.statements.clear()
        await api.data(query, SERVICE, ids=some)
        counts.append(len(api.statements))
    assert counts[0] == counts[1] <= 10, api.statements


async def changed(api: Api, connection: AnyConnection, club: Club, **values: Any) -> None:
    """Something changes, as a settlement does it."""
    async with connection.transaction():
        locked = await lock_subscription(connection, club.subscription.id)
        for name, value in values.items():
            setattr(locked.row, name, value)
        changes = ChangeSet("stripe", locked.xid)
        await write_subscription(connection, api.services.settings, changes, locked)
        await changes.write(connection)
    api.services.live.wake()


async def test_each_change_of_a_subscription_is_told_and_listed(
    api: Api, connection: AnyConnection, club: Club
) -> None:
    stream = await subscribe(api, FOLLOW, user("gustav"), id=club.id)
    await changed(api, connection, club, cancel_at_period_end=True)
    first = await after_next(stream)
    assert (first["previousStatus"], first["status"], first["notice"]) == ("ACTIVE", "ACTIVE", None)
    assert first["subscription"] == {"id": club.id, "status": "ACTIVE"}
    await changed(api, connection, club, stripe_status="canceled")
    second = await after_next(stream)
    assert (second["previousStatus"], second["status"]) == ("ACTIVE", "CANCELED")

    resumed = await subscribe(api, FOLLOW, user("gustav"), id=club.id, after=first["cursor"])
    assert (await after_next(resumed))["cursor"] == second["cursor"]
    listed = (await api.data(OF_SUBSCRIPTION, user("gustav"), id=club.id))["node"]["history"]["edges"]
    assert [edge["node"]["status"] for edge in listed] == ["ACTIVE", "CANCELED"]


async def test_changes_of_other_people_s_subscriptions_cannot_be_followed(api: Api, club: Club) -> None:
    assert isinstance(await refusal(api, FOLLOW, user("stella"), id=club.id), NotFound)
    assert isinstance(await refusal(api, FOLLOW, user("gustav"), id=_payment(club)), NotFound)
    assert isinstance(await refusal(api, FOLLOW, None, id=club.id), Unauthenticated)
    stream = await subscribe(api, FOLLOW, user("gustav"), id=club.id, after="nonsense")
    with pytest.raises(InvalidInput):
        await anext(stream)


async def test_the_payment_s_own_stream_is_not_mixed_with_the_subscription_s(
    api: Api, connection: AnyConnection, club: Club
) -> None:
    stream = await subscribe(api, FOLLOW, SERVICE, id=club.id)
    until = datetime.now(UTC) + timedelta(days=1)
    await changed(api, connection, club, resumes_at=until)
    assert (await after_next(stream))["status"] == "ACTIVE"
    kinds = await connection.fetch("SELECT DISTINCT subject_type FROM events")
    assert [kind["subject_type"] for kind in kinds] == [EventSubject.SUBSCRIPTION.value]


def _payment(club: Club) -> str:
    return global_id("Payment", club.payment.id)
