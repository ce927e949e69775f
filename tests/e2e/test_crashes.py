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
  id status refundedAmount { minorUnits } refundableAmount { minorUnits } rsvp { status }
} } } }"""
SEATS = "query ($id: ID!) { activity(id: $id) { seatsTaken } }"


async def crash(system: System, at: str, who: str, document: str, **variables: Any) -> None:
    process = await system.start(crash_at=at)
    with pytest.raises(httpx.TransportError):
        await system.ask(who, document, **variables)
    assert await process.ended() == -signal.SIGKILL


async def ledger_findings(system: System) -> list[Any]:
    connection = await asyncpg.connect(system.database_url)
    try:
        return (await check_ledger(connection)).findings
    finally:
        await connection.close()


async def charges(system: System) -> list[dict[str, Any]]:
    return list((await system.stripe("GET", "/v1/charges", {"limit": "100"}))["data"])


async def refunds(system: System) -> list[dict[str, Any]]:
    return list((await system.stripe("GET", "/v1/refunds", {"limit": "100"}))["data"])


@pytest.mark.parametrize("asks_again", [True, False], ids=["asked again", "left alone"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_payment_survives_a_kill(system: System, boundary: str, asks_again: bool) -> None:
    process = await system.start()
    await system.host()
    await system.user("guest")
    activity = await system.activity()
    await process.stop()
    wanted = {
        "activityId": activity, "quantity": 2, "paymentMethod": "pm_card_visa", "idempotencyKey": str(uuid4()),
    }  # fmt: skip

    await crash(system, f"{boundary} /v1/payment_intents", "guest", PAY, input=wanted)
    await system.start()

    async def is_paid() -> bool:
        edges = (await system.ask("guest", PAYMENTS))["payments"]["edges"]
        return [edge["node"]["status"] for edge in edges] == ["SUCCEEDED"]

    if asks_again:
        answer = (await system.ask("guest", PAY, input=wanted))["payForActivity"]
        assert answer["errors"] == []
        assert answer["payment"]["status"] == "SUCCEEDED"
        assert answer["payment"]["rsvp"]["status"] == "CONFIRMED"
    await eventually(is_paid)
    [charge] = await charges(system)
    assert (charge["status"], charge["amount_captured"]) == ("succeeded", 9000)
    assert (await system.ask("guest", SEATS, id=activity))["activity"]["seatsTaken"] == 2
    assert await ledger_findings(system) == []
    again = (await system.ask("guest", PAY, input=wanted))["payForActivity"]["payment"]
    assert again["stripePaymentIntentId"] == charge["payment_intent"]
    assert len(await charges(system)) == 1


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_refund_survives_a_kill(system: System, boundary: str) -> None:
    process = await system.start()
    await system.host()
    await system.user("guest")
    paid = await system.ask(
        "guest", PAY,
        input={
            "activityId": await system.activity(), "paymentMethod": "pm_card_visa", "idempotencyKey": str(uuid4()),
        },
    )  # fmt: skip
    payment = paid["payForActivity"]["payment"]["id"]
    await process.stop()
    wanted = {
        "paymentId": payment, "amount": {"amount": "10.00", "currency": "USD"}, "idempotencyKey": str(uuid4()),
    }  # fmt: skip

    await crash(system, f"{boundary} /v1/refunds", "host", REFUND, input=wanted)
    await system.start()

    async def is_refunded() -> bool:
        [edge] = (await system.ask("guest", PAYMENTS))["payments"]["edges"]
        return bool(edge["node"]["status"] == "PARTIALLY_REFUNDED")

    await eventually(is_refunded)
    [edge] = (await system.ask("guest", PAYMENTS))["payments"]["edges"]
    assert edge["node"]["refundedAmount"]["minorUnits"] == 1000
    assert edge["node"]["refundableAmount"]["minorUnits"] == 3500
    [refund] = await refunds(system)
    assert (refund["status"], refund["amount"]) == ("succeeded", 1000)
    assert await ledger_findings(system) == []
    again = (await system.ask("host", REFUND, input=wanted))["refundPayment"]
    assert again["refund"]["stripeRefundId"] == refund["id"]
    assert len(await refunds(system)) == 1
