"""What only a person can settle: it is listed with its calls, and goes on when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from models.operations import Operation, OperationStatus
from models.payments import PaymentStatus
from services.parked import parked_operations, retry_parked

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def test_a_parked_operation_is_listed_and_goes_on_when_it_is_told_to(shop: Shop) -> None:
    payment = await shop.paid()
    pool = shop.services.database.pool
    await pool.execute("UPDATE operations SET status = 'PARKED', finished_at = NULL WHERE subject_id = $1", payment.id)
    async with pool.acquire() as connection:
        [parked] = await parked_operations(connection)
        assert parked.kind == "pay_for_activity"
        assert any("post /v1/payment_intents DONE" in call for call in parked.calls)
        assert await retry_parked(connection, parked.id)
        assert await parked_operations(connection) == []
    await shop.recover()
    assert (await Operation.get(id=parked.id)).status is OperationStatus.SUCCEEDED
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await shop.check()


async def test_what_is_not_parked_is_not_tried_again(shop: Shop) -> None:
    payment = await shop.paid()
    operation = await Operation.get(subject_id=payment.id)
    async with shop.services.database.pool.acquire() as connection:
        assert not await retry_parked(connection, operation.id)
        assert not await retry_parked(connection, uuid4())
    assert (await Operation.get(id=operation.id)).status is OperationStatus.SUCCEEDED
