"""Charges: what differs is found and named, and the repair makes both sides agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from models.audit import AuditEntry
from models.money import Money
from models.payments import PaymentAttempt, PaymentStatus
from models.reconciliations import DriftKind, DriftRepair
from services.errors import InvalidState
from services.reconciliation import windows
from services.reconciliation.repairing import repair
from tests.support.audit import tampering

if TYPE_CHECKING:
    from models.payments import Payment
    from tests.services.reconciliation.conftest import Books
    from tests.support.shop import Shop


async def change(shop: Shop, payment: Payment, assignments: str) -> None:
    """Change the payment's row behind everybody's back."""
    await shop.services.database.pool.execute(f"UPDATE payments SET {assignments} WHERE id = $1", payment.id)


async def tamper(shop: Shop, statement: str, *values: object) -> None:
    """Do what the database refuses to everybody but its owner."""
    async with shop.services.database.pool.acquire() as connection, tampering(connection):
        assert not (await connection.execute(statement, *values)).endswith(" 0")


async def test_what_agrees_is_no_drift(shop: Shop, books: Books) -> None:
    await shop.paid()
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    refunded = await shop.paid()
    await shop.refund(refunded, 500)
    held = await shop.paid(capture_later=True)
    await shop.deliver_all(declined, refunded, held)
    assert await books.agree() >= 5


async def test_what_is_younger_than_the_settling_time_is_left_for_later(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await change(shop, payment, "captured_minor = 1900, host_amount_minor = host_amount_minor - 100")
    run = await books.reconcile(hours=0.5)
    assert (run.checked, run.matched) == (0, 0)
    assert len(await books.drifts()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        "captured_minor = 1900, host_amount_minor = host_amount_minor - 100",
        "refunded_minor = 2000, status = 'REFUNDED'",
        "platform_fee_minor = platform_fee_minor + 100, host_amount_minor = host_amount_minor - 100",
        "refund_pending_minor = 0, refunded_minor = 100, status = 'PARTIALLY_REFUNDED'",
    ],
)
async def test_a_changed_amount_is_found_and_repaired(shop: Shop, books: Books, changed: str) -> None:
    payment = await shop.paid()
    before = await shop.now(payment)
    await change(shop, payment, changed)
    [drift] = await books.drifts()
    assert (drift.kind, drift.object_type, drift.stripe_id) == (
        DriftKind.AMOUNT_DIFFERS, "charge", payment.stripe_charge_id
    )  # fmt: skip
    assert drift.repair is DriftRepair.SETTLE
    assert "here and" in drift.detail
    assert "The repair asks Stripe for the payment" in drift.detail
    repaired = await repair(shop.services, drift.id, actor="admin:anna")
    assert repaired.repaired_by == "admin:anna"
    after = await shop.now(payment)
    for name in ("status", "captured_minor", "refunded_minor", "platform_fee_minor", "host_amount_minor"):
        assert getattr(after, name) == getattr(before, name)
    assert after.version == before.version + 1
    await books.agree()
    await shop.check()


async def test_a_drift_says_both_amounts(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await change(shop, payment, "captured_minor = 1900, host_amount_minor = host_amount_minor - 100")
    [drift] = await books.drifts()
    assert (drift.here_minor, drift.here_currency) == (1900, "USD")
    assert (drift.at_stripe_minor, drift.at_stripe_currency) == (2000, "USD")
    assert f"The amount captured is {Money(1900, 'USD')} here and {Money(2000, 'USD')} at Stripe." in drift.detail


async def test_a_changed_status_is_found_and_repaired(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await change(shop, payment, "status = 'PARTIALLY_REFUNDED'")
    [drift] = await books.drifts()
    assert (drift.kind, drift.repair) == (DriftKind.STATUS_DIFFERS, DriftRepair.SETTLE)
    assert "It is partially refunded here and captured at Stripe." in drift.detail
    await repair(shop.services, drift.id, actor="admin:anna")
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await books.agree()


async def test_a_payment_whose_success_nobody_told_of_is_found_and_settled(shop: Shop, books: Books) -> None:
    payment = (await shop.pay("pm_card_threeDSecure2Required")).payment
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    found = await books.drifts()
    assert {drift.kind for drift in found} == {DriftKind.MISSING_HERE}
    await repair(shop.services, found[0].id, actor="admin:anna")
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await books.agree()
    await shop.check()


async def test_a_deleted_attempt_is_found_and_made_again(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await PaymentAttempt.filter(payment_id=payment.id).delete()
    [drift] = await books.drifts()
    assert (drift.kind, drift.here_minor, drift.at_stripe_minor) == (DriftKind.MISSING_HERE, None, 2000)
    await repair(shop.services, drift.id, actor="admin:anna")
    assert [attempt.stripe_charge_id for attempt in await PaymentAttempt.all()] == [payment.stripe_charge_id]
    await books.agree()


async def test_a_charge_that_somebody_made_at_stripe_is_named_and_left_to_a_person(shop: Shop, books: Books) -> None:
    intent = await shop.sandbox.post(
        "/v1/payment_intents",
        {
            "amount": 1234, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        },
    )  # fmt: skip
    [drift] = await books.drifts()
    assert (drift.kind, drift.stripe_id, drift.repair) == (DriftKind.MISSING_HERE, intent["latest_charge"], None)
    assert "a person has to tell whose it is" in drift.detail
    with pytest.raises(InvalidState, match="Nothing can safely be done") as refused:
        await repair(shop.services, drift.id, actor="admin:anna")
    assert refused.value.state == "NO_REPAIR"
    [again] = await books.drifts()
    assert again.stripe_id == drift.stripe_id


async def test_what_another_program_made_is_one_drift_however_much_it_is(
    shop: Shop, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_PAGE", 2)
    intent: dict[str, Any] = {}
    for _ in range(5):
        intent = await shop.sandbox.post(
            "/v1/payment_intents",
            {
                "amount": 1234, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            },
        )  # fmt: skip
    await shop.paid()
    run = await books.reconcile()
    found = await books.found(run)
    assert [(drift.object_type, drift.kind, drift.stripe_id, drift.repair) for drift in found] == [
        ("charge", DriftKind.MISSING_HERE, intent["latest_charge"], None)
    ]
    [drift] = found
    assert drift.detail.endswith(" 4 more objects are of another program as well.")
    assert drift.detail.count("another program") == 1
    assert run.checked - run.matched == 1
    # What says that it is ours is named by itself: its row is lost.
    lost = await shop.paid()
    await shop.services.database.pool.execute(
        "UPDATE payments SET stripe_payment_intent_id = NULL WHERE id = $1", lost.id
    )
    await PaymentAttempt.filter(payment_id=lost.id).delete()
    again = await books.found(await books.reconcile())
    assert {drift.stripe_id for drift in again if drift.object_type == "charge"} == {
        intent["latest_charge"], lost.stripe_charge_id,
    }  # fmt: skip


async def test_a_movement_that_vanished_from_the_ledger_is_posted_again(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    charge = payment.stripe_charge_id
    await tamper(
        shop,
        "DELETE FROM ledger_postings l USING ledger_transactions t WHERE t.id = l.transaction_id AND t.reference = $1",
        f"charge:{charge}",
    )
    await tamper(shop, "DELETE FROM ledger_transactions WHERE reference = $1", f"charge:{charge}")
    [drift] = await books.drifts()
    assert (drift.kind, drift.repair) == (DriftKind.AMOUNT_DIFFERS, DriftRepair.POST)
    assert "The amount posted in the ledger is nothing here" in drift.detail
    await repair(shop.services, drift.id, actor="admin:anna")
    await books.agree()
    await shop.check()


async def test_a_movement_of_another_amount_is_corrected_and_not_rewritten(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await tamper(
        shop,
        "UPDATE ledger_postings l SET amount_minor = sign(amount_minor) * 1500 FROM ledger_transactions t"
        " WHERE t.id = l.transaction_id AND t.reference = $1",
        f"charge:{payment.stripe_charge_id}",
    )
    [drift] = await books.drifts()
    assert drift.repair is DriftRepair.POST
    postings = "SELECT count(*) FROM ledger_postings WHERE abs(amount_minor) = 1500"
    await repair(shop.services, drift.id, actor="admin:anna")
    assert await shop.services.database.pool.fetchval(postings) == 2
    correction = await shop.services.database.pool.fetchrow(
        "SELECT kind, reference FROM ledger_transactions WHERE reference LIKE 'correction:%'"
    )
    assert tuple(correction) == ("ADJUSTMENT", f"correction:charge:{payment.stripe_charge_id}:1")
    await books.agree()
    await shop.check()


async def test_a_movement_that_no_longer_adds_up_is_left_to_a_person(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await tamper(
        shop,
        "UPDATE ledger_postings l SET amount_minor = -1500 FROM ledger_transactions t"
        " WHERE t.id = l.transaction_id AND t.reference = $1 AND amount_minor < 0",
        f"charge:{payment.stripe_charge_id}",
    )
    [drift] = await books.drifts()
    before = await shop.services.database.pool.fetchval("SELECT count(*) FROM ledger_postings")
    with pytest.raises(InvalidState, match="does not add up") as refused:
        await repair(shop.services, drift.id, actor="admin:anna")
    assert refused.value.state == "LEDGER_CHANGED"
    assert await shop.services.database.pool.fetchval("SELECT count(*) FROM ledger_postings") == before
    assert len(await books.drifts()) == 1


async def test_money_that_only_the_ledger_took_is_named(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await tamper(
        shop, "UPDATE ledger_transactions SET stripe_object_id = 'ch_nobody' WHERE reference = $1",
        f"charge:{payment.stripe_charge_id}",
    )  # fmt: skip
    missing, unposted = sorted(await books.drifts(), key=lambda drift: drift.kind.value, reverse=True)
    assert (missing.kind, missing.stripe_id) == (DriftKind.MISSING_AT_STRIPE, "ch_nobody")
    assert missing.repair is None
    assert "Stripe knows nothing of it" in missing.detail
    assert (unposted.kind, unposted.stripe_id) == (DriftKind.AMOUNT_DIFFERS, payment.stripe_charge_id)


async def test_a_drift_that_has_vanished_says_so(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await change(shop, payment, "status = 'PARTIALLY_REFUNDED'")
    [drift] = await books.drifts()
    await change(shop, payment, "status = 'SUCCEEDED'")
    version = (await shop.now(payment)).version
    ended = await repair(shop.services, drift.id, actor="admin:anna")
    assert ended.resolution is not None
    assert "had vanished" in ended.resolution
    assert (await shop.now(payment)).version == version
    [entry] = await AuditEntry.filter(subject_id=drift.id)
    assert (entry.action, entry.actor) == ("drift.vanished", "admin:anna")


async def test_a_repair_is_an_entry_of_the_audit_trail_and_done_once(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await change(shop, payment, "status = 'PARTIALLY_REFUNDED'")
    [drift] = await books.drifts()
    first = await repair(shop.services, drift.id, actor="admin:anna")
    again = await repair(shop.services, drift.id, actor="admin:berta")
    assert (again.repaired_by, again.repaired_at) == (first.repaired_by, first.repaired_at)
    [entry] = await AuditEntry.filter(subject_id=drift.id)
    assert entry.action == "drift.repaired"
    assert entry.before is not None
    assert entry.before["detail"] == drift.detail
    [restored] = await AuditEntry.filter(subject_id=payment.id, action="payment.restored")
    assert restored.actor == "admin:anna"
