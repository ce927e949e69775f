"""Looking at hosts' parts when they are due, and at once when what they waited for has come about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from models.payments import ChargeModel, Payment
from services.exclusive import exclusively
from services.payments.intents import fetch_facts, settle
from services.stripe_gateway import StripeError
from services.transfers.release import CALLER, release
from services.transfers.times import AGAIN_LATER, AGAIN_SOON

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from services.core import Services

log = structlog.get_logger("transfers")

_AT_ONCE: Final = 8
"""Payments whose hosts are paid at the same time: guests at Stripe's door come first."""
_SOME: Final = 200

_DUE: Final = "SELECT payment_id FROM payment_allocations WHERE release_at <= $1 ORDER BY release_at LIMIT $2"
_POSTPONE: Final = "UPDATE payment_allocations SET release_at = $3 WHERE payment_id = $1 AND release_at <= $2"


async def release_due(services: Services) -> None:
    """Send hosts what is due to them; one process does it for all."""
    async with exclusively(services.database, "paydesk:release") as mine:
        while mine and await release_some(services) == _SOME:
            pass


async def release_some(services: Services, *, limit: int = _SOME) -> int:
    """Look at the parts that have been due longest.

    Returns: how many there were; each is sent, or looked at again later.
    """
    records = await services.database.pool.fetch(_DUE, services.clock(), limit)
    room = asyncio.Semaphore(_AT_ONCE)

    async def look(payment_id: UUID) -> None:
        async with room:
            await _look(services, payment_id)

    await asyncio.gather(*(look(id_) for id_ in dict.fromkeys(record["payment_id"] for record in records)))
    return len(records)


async def _look(services: Services, payment_id: UUID) -> None:
    try:
        payment = await Payment.get(id=payment_id)
        if _wants_settling(payment):
            await _settle(services, payment)
        await release(services, payment_id)
    except StripeError as error:
        log.info("transfers.stripe_failed", payment=str(payment_id), error=str(error))
        await _postpone(services, payment_id, AGAIN_SOON)
    except Exception:
        # A bug with one payment must not keep the hosts of the others from their money.
        log.exception("transfers.failed", payment=str(payment_id))
        await _postpone(services, payment_id, AGAIN_LATER)


def _wants_settling(payment: Payment) -> bool:
    """Whether nobody has heard yet what a charge came to."""
    return payment.charge_model is ChargeModel.SEPARATE and payment.balance_transaction_id is None


async def _settle(services: Services, payment: Payment) -> None:
    if payment.stripe_payment_intent_id is not None:
        facts = await fetch_facts(services, payment.stripe_payment_intent_id, stripe_account=payment.stripe_account)
        await settle(services, payment, facts, actor=CALLER)


async def _postpone(services: Services, payment_id: UUID, by: timedelta) -> None:
    now = services.clock()
    await services.database.pool.execute(_POSTPONE, payment_id, now, now + by)
