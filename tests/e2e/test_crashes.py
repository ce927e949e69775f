"""SIGKILL at every boundary of reserve, call and settle: nothing is lost, and nobody pays or is paid twice."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from services.ledger_check import check_ledger
from tests.e2e.system import eventually

if TYPE_CHECKING:
    from tests.e2e.system import System

BOUNDARIES = ("reserved", "called", "settling", "settled")

PAY = """
mutation ($input: PayForActivityInput!) { payForActivity(input: $input) {
  payment { id status version stripePaymentIntentId capturedAmount { minorUnits } rsvp { status } } errors { code }
} }"""
REFUND = """
mutation ($input: RefundPaymentInput!) { refundPayment(input: $input) {
  refund { id status stripeRefundId amount { minorUnits } } errors { code }
} }"""
PAYMENTS = """{ payments { edges { node {
  id status stripePaymentIntentId refundedAmount { minorUnits } refundableAmount { minorUnits } rsvp { status }
} } } }"""
SEATS = "query ($id: ID!) { activity(id: $id) { seatsTaken } }"


async def crash(system: System, at: str, who: str, document: str, **variables: Any) -> None:
    """Ask, be left without an answer, and start the process that died again."""
    process = system.processes[-1]
    system.crash_file.write_text(at)
    with pytest.raises(httpx.TransportError):
        await system.ask(who, document, **variables)
    assert await process.ended() == -signal.SIGKILL
    await system.start(crashing=True)


async def guest_of(system: System) -> str:
    name = f"guest-{uuid4()}"
    await system.user(name)
    return name


async def payments_of(system: System, guest: str) -> list[dict[str, Any]]:
    return [edge["node"] for edge in (await system.ask(guest, PAYMENTS))["payments"]["edges"]]


async def customer_of(system: System, guest: str) -> str:
    customers = (await system.stripe("GET", "/v1/customers", {"email": f"{guest}@example.com"}))["data"]
    assert len(customers) == 1
    return str(customers[0]["id"])


async def charges_of(system: System, guest: str) -> list[dict[str, Any]]:
    customer = await customer_of(system, guest)
    return list((await system.stripe("GET", "/v1/charges", {"customer": customer}))["data"])


async def ledger_findings(system: System) -> list[Any]:
    connection = await asyncpg.connect(system.database_url)
    try:
        return (await check_ledger(connection)).findings
    finally:
        await connection.close()


@pytest.mark.parametrize("asks_again", [True, False], ids=["asked again", "left alone"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_payment_survives_a_kill(crashing_system: System, boundary: str, asks_again: bool) -> None:
    system = crashing_system
    guest, activity = await guest_of(system), await system.activity()
    wanted = {"activityId": activity, "quantity": 2, "paymentMethod": "pm_card_visa", "idempotencyKey": str(uuid4())}

    await crash(system, f"{boundary} /v1/payment_intents", guest, PAY, input=wanted)

    if asks_again:
        answer = (await system.ask(guest, PAY, input=wanted))["payForActivity"]
        assert answer["errors"] == []
        assert answer["payment"]["status"] == "SUCCEEDED"
        assert answer["payment"]["rsvp"]["status"] == "CONFIRMED"

    async def is_paid() -> bool:
        return [payment["status"] for payment in await payments_of(system, guest)] == ["SUCCEEDED"]

    await eventually(is_paid)
    [charge] = await charges_of(system, guest)
    assert (charge["status"], charge["amount_captured"]) == ("succeeded", 9000)
    assert (await system.ask(guest, SEATS, id=activity))["activity"]["seatsTaken"] == 2
    assert await ledger_findings(system) == []
    again = (await system.ask(guest, PAY, input=wanted))["payForActivity"]["payment"]
    assert again["stripePaymentIntentId"] == charge["payment_intent"]
    assert len(await charges_of(system, guest)) == 1


async def test_a_guest_becomes_a_customer_once_though_the_process_is_killed(crashing_system: System) -> None:
    system = crashing_system
    guest, activity = await guest_of(system), await system.activity()
    wanted = {"activityId": activity, "paymentMethod": "pm_card_visa", "idempotencyKey": str(uuid4())}

    await crash(system, "called /v1/customers", guest, PAY, input=wanted)

    answer = (await system.ask(guest, PAY, input=wanted))["payForActivity"]
    assert answer["payment"]["status"] == "SUCCEEDED"
    assert len(await charges_of(system, guest)) == 1


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_refund_survives_a_kill(crashing_system: System, boundary: str) -> None:
    system = crashing_system
    guest = await guest_of(system)
    wanted = {
        "activityId": await system.activity(), "paymentMethod": "pm_card_visa", "idempotencyKey": str(uuid4()),
    }  # fmt: skip
    paid = (await system.ask(guest, PAY, input=wanted))["payForActivity"]["payment"]
    refund = {
        "paymentId": paid["id"], "amount": {"amount": "10.00", "currency": "USD"}, "idempotencyKey": str(uuid4()),
    }  # fmt: skip

    await crash(system, f"{boundary} /v1/refunds", "host", REFUND, input=refund)

    async def is_refunded() -> bool:
        return [payment["status"] for payment in await payments_of(system, guest)] == ["PARTIALLY_REFUNDED"]

    await eventually(is_refunded)
    [payment] = await payments_of(system, guest)
    assert payment["refundedAmount"]["minorUnits"] == 1000
    assert payment["refundableAmount"]["minorUnits"] == 3500
    made = await system.stripe("GET", "/v1/refunds", {"payment_intent": payment["stripePaymentIntentId"]})
    [at_stripe] = made["data"]
    assert (at_stripe["status"], at_stripe["amount"]) == ("succeeded", 1000)
    assert await ledger_findings(system) == []
    again = (await system.ask("host", REFUND, input=refund))["refundPayment"]
    assert again["refund"]["stripeRefundId"] == at_stripe["id"]
