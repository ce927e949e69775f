"""Refunds: what differs is found and named, and the repair makes both sides agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.payments import PaymentStatus
from models.reconciliations import DriftKind, DriftRepair
from models.refunds import Refund, RefundStatus
from services.errors import InvalidState
from services.reconciliation.repairing import repair
from tests.services.reconciliation.test_charges import tamper

if TYPE_CHECKING:
    from tests.services.reconciliation.conftest import Books
    from tests.support.shop import Shop

_KEPT = (
    "amount_minor", "fee_minor", "host_minor", "platform_minor", "transfer_reversed_minor", "status",
    "application_fee_refunded_minor", "stripe_refund_id", "id", "payment_id",
)  # fmt: skip


async def test_a_refund_that_somebody_made_at_stripe_is_taken_in(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    made = await shop.sandbox.post(
        "/v1/refunds",
        {"payment_intent": payment.stripe_payment_intent_id, "amount": 700, "reverse_transfer": True},
    )
    found = {drift.object_type: drift for drift in await books.drifts()}
    refund, charge, transfer = found["refund"], found["charge"], found["transfer"]
    assert (transfer.kind, transfer.repair) == (DriftKind.AMOUNT_DIFFERS, None)
    assert "Where a refund of it drifts as well, repair that" in transfer.detail
    assert (refund.kind, refund.stripe_id, refund.at_stripe_minor) == (DriftKind.MISSING_HERE, made["id"], 700)
    assert (charge.kind, charge.here_minor, charge.at_stripe_minor) == (DriftKind.AMOUNT_DIFFERS, 0, 700)
    assert refund.repair is DriftRepair.SETTLE
    assert "takes it in as Stripe has it" in refund.detail
    await repair(shop.services, refund.id, actor="admin:anna")
    now = await shop.now(payment)
    assert (now.status, now.refunded_minor) == (PaymentStatus.PARTIALLY_REFUNDED, 700)
    ended = await repair(shop.services, charge.id, actor="admin:anna")
    assert ended.resolution is not None
    assert "had vanished" in ended.resolution
    await books.agree()
    await shop.check()


async def test_a_deleted_refund_is_made_again_as_it_was(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment, 700)
    before = await Refund.get(id=refund.id)
    parts = "SELECT transferred_minor, reversed_minor, owed_minor FROM payment_allocations WHERE payment_id = $1"
    sums = await shop.services.database.pool.fetchrow(parts, payment.id)
    await Refund.filter(id=refund.id).delete()
    found = {drift.object_type: drift for drift in await books.drifts()}
    assert found.keys() == {"refund", "transfer"}
    drift = found["refund"]
    assert (drift.kind, drift.stripe_id) == (DriftKind.MISSING_HERE, before.stripe_refund_id)
    await repair(shop.services, drift.id, actor="admin:anna")
    again = await Refund.get(id=refund.id)
    assert {name: getattr(again, name) for name in _KEPT} == {name: getattr(before, name) for name in _KEPT}
    assert await shop.services.database.pool.fetchrow(parts, payment.id) == sums
    await books.agree()
    await shop.check()


@pytest.mark.parametrize(
    "changed",
    [
        "amount_minor = 600, host_minor = host_minor - 100",
        "status = 'PENDING'",
        "status = 'FAILED'",
        "status = 'REQUIRES_ACTION', amount_minor = 800, platform_minor = platform_minor + 100",
    ],
)
async def test_a_changed_refund_is_found_and_repaired(shop: Shop, books: Books, changed: str) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment, 700)
    before = await Refund.get(id=refund.id)
    await shop.services.database.pool.execute(f"UPDATE refunds SET {changed} WHERE id = $1", refund.id)
    found = [drift for drift in await books.drifts() if drift.object_type == "refund"]
    assert {drift.kind for drift in found} <= {DriftKind.AMOUNT_DIFFERS, DriftKind.STATUS_DIFFERS}
    assert {drift.repair for drift in found} == {DriftRepair.SETTLE}
    for drift in found:
        await repair(shop.services, drift.id, actor="admin:anna")
    again = await Refund.get(id=refund.id)
    assert {name: getattr(again, name) for name in _KEPT} == {name: getattr(before, name) for name in _KEPT}
    await books.agree()
    await shop.check()


async def test_a_refund_that_failed_at_stripe_without_a_word_is_found_and_settled(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    refund = await shop.refund(payment, 700)
    await shop.sandbox.act(f"refunds/{(await Refund.get(id=refund.id)).stripe_refund_id}/fail")
    found = {drift.object_type: drift for drift in await books.drifts()}
    drift = found["refund"]
    assert (drift.kind, drift.repair) == (DriftKind.STATUS_DIFFERS, DriftRepair.SETTLE)
    assert "It is succeeded here and failed at Stripe." in drift.detail
    await repair(shop.services, drift.id, actor="admin:anna")
    assert (await Refund.get(id=refund.id)).status is RefundStatus.FAILED
    assert (await shop.now(payment)).refunded_minor == 0
    await books.agree()
    await shop.check()


async def test_a_refund_s_movement_that_vanished_from_the_ledger_is_posted_again(shop: Shop, books: Books) -> None:
    refund = await shop.refund(await shop.paid(), 700)
    stripe_id = (await Refund.get(id=refund.id)).stripe_refund_id
    await tamper(
        shop,
        "DELETE FROM ledger_postings l USING ledger_transactions t WHERE t.id = l.transaction_id AND t.reference = $1",
        f"refund:{stripe_id}",
    )
    await tamper(shop, "DELETE FROM ledger_transactions WHERE reference = $1", f"refund:{stripe_id}")
    [drift] = await books.drifts()
    assert (drift.kind, drift.stripe_id, drift.repair) == (DriftKind.AMOUNT_DIFFERS, stripe_id, DriftRepair.POST)
    await repair(shop.services, drift.id, actor="admin:anna")
    await books.agree()
    await shop.check()


async def test_a_refund_of_a_charge_that_is_not_ours_is_left_to_a_person(shop: Shop, books: Books) -> None:
    intent = await shop.sandbox.post(
        "/v1/payment_intents",
        {
            "amount": 1234, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        },
    )  # fmt: skip
    await shop.sandbox.post("/v1/refunds", {"payment_intent": intent["id"]})
    found = await books.drifts()
    assert {(drift.object_type, drift.kind, drift.repair) for drift in found} == {
        ("charge", DriftKind.MISSING_HERE, None), ("refund", DriftKind.MISSING_HERE, None),
    }  # fmt: skip
    for drift in found:
        with pytest.raises(InvalidState, match="Nothing can safely be done"):
            await repair(shop.services, drift.id, actor="admin:anna")
    assert await Refund.all().count() == 0


async def test_what_was_authorized_and_let_go_is_no_refund(shop: Shop, books: Books) -> None:
    held = await shop.paid(capture_later=True)
    await shop.sandbox.post(
        f"/v1/payment_intents/{held.stripe_payment_intent_id}/capture", {"amount_to_capture": 1500}
    )
    await shop.deliver_all(held)
    await books.agree()
