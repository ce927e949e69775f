"""The life of disputes, told in any order: what they hold of payments, and where the money is."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from models.disputes import DisputeStatus
from models.events import Event
from models.payments import Payment, PaymentStatus
from services.disputes.settlement import settle_dispute
from services.errors import StripeUnavailable

if TYPE_CHECKING:
    from tests.support.disputing import Disputing
    from tests.support.shop import Shop


async def test_the_bank_holds_what_is_disputed_until_it_decides(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment)
    assert (dispute.status, dispute.amount_minor, dispute.withdrawn_minor) == (DisputeStatus.NEEDS_RESPONSE, 2000, 2000)
    assert dispute.evidence_due_by is not None
    now = await shop.now(payment)
    assert (now.status, now.disputed_minor, now.refundable.minor) == (PaymentStatus.SUCCEEDED, 2000, 0)
    assert now.version == payment.version + 1
    assert await disputing.pots(payment) == {
        "GUEST_CLEARING": -2000, "PLATFORM_BALANCE": -2000, "DISPUTES": 2000, "HOST_BALANCE": 1800,
        "APPLICATION_FEES": 200,
    }  # fmt: skip
    await disputing.check(payment)


async def test_a_lost_dispute_is_borne_by_host_and_platform_in_proportion(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.decide(await disputing.disputed(payment), "lost")
    assert (dispute.status, dispute.fee_minor, dispute.host_minor) == (DisputeStatus.LOST, 200, 1800)
    assert dispute.closed_at is not None
    [reversal] = await disputing.reversals(payment)
    assert (reversal.status, reversal.amount_minor, reversal.dispute_id) == ("PAID", 1800, dispute.id)
    assert await disputing.pots(payment) == {}
    await disputing.check(payment)


async def test_a_won_dispute_leaves_everything_as_it_was(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    before = await disputing.pots(payment)
    dispute = await disputing.decide(await disputing.disputed(payment), "won")
    assert (dispute.status, dispute.withdrawn_minor) == (DisputeStatus.WON, 0)
    assert await disputing.pots(payment) == before
    assert (await shop.now(payment)).refundable.minor == 2000
    assert await disputing.reversals(payment) == []
    await disputing.check(payment)


async def test_one_that_is_won_after_it_was_lost_gives_the_hosts_their_part_again(
    disputing: Disputing, shop: Shop
) -> None:
    payment = await shop.paid()
    dispute = await disputing.decide(await disputing.disputed(payment), "lost")
    dispute = await disputing.decide(dispute, "won")
    assert (dispute.fee_minor, dispute.host_minor, dispute.withdrawn_minor) == (0, 0, 0)
    assert await disputing.pots(payment) == {
        "GUEST_CLEARING": -2000, "HOST_OWED": 1800, "APPLICATION_FEES": 200,
    }  # fmt: skip
    await disputing.check(payment)
    dispute = await disputing.decide(dispute, "lost")
    assert await disputing.pots(payment) == {}
    await disputing.check(payment)
    await disputing.decide(dispute, "won")
    await disputing.check(payment)


async def test_an_inquiry_moves_nothing_and_can_be_answered_by_a_refund(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    before = await disputing.pots(payment)
    dispute = await disputing.disputed(payment, status="warning_needs_response")
    assert (dispute.status, dispute.withdrawn_minor) == (DisputeStatus.WARNING_NEEDS_RESPONSE, 0)
    assert await disputing.pots(payment) == before
    assert (await shop.now(payment)).refundable.minor == 2000
    await shop.refund(payment)
    await disputing.hear(payment)
    assert (await disputing.now(dispute)).status is DisputeStatus.WARNING_CLOSED
    await disputing.check(payment)


async def test_an_inquiry_that_is_escalated_is_a_dispute(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment, status="warning_needs_response")
    await shop.sandbox.act(f"disputes/{dispute.stripe_dispute_id}/escalate")
    await disputing.hear(payment)
    dispute = await disputing.now(dispute)
    assert (dispute.status, dispute.withdrawn_minor) == (DisputeStatus.NEEDS_RESPONSE, 2000)
    await disputing.check(payment)


async def test_a_prevented_dispute_is_the_guest_s_money_at_once(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment, status="prevented")
    assert (dispute.status, dispute.host_minor, dispute.fee_minor) == (DisputeStatus.PREVENTED, 1800, 200)
    assert await disputing.pots(payment) == {}
    await disputing.check(payment)


async def test_of_a_payment_that_was_disputed_in_part_only_that_is_lost(
    disputing: Disputing, shop: Shop
) -> None:
    payment = await shop.paid()
    dispute = await disputing.decide(await disputing.disputed(payment, amount=700), "lost")
    assert (dispute.fee_minor, dispute.host_minor) == (70, 630)
    now = await shop.now(payment)
    assert (now.disputed_minor, now.refundable.minor) == (700, 1300)
    await disputing.check(payment)
    assert await disputing.pots(payment) == {"GUEST_CLEARING": -1300, "HOST_BALANCE": 1170, "APPLICATION_FEES": 130}


async def test_two_disputes_of_one_payment_each_take_their_part(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    disputes = [await disputing.disputed(payment, amount=1000) for _ in range(2)]
    assert [dispute.amount_minor for dispute in disputes] == [1000, 1000]
    assert (await shop.now(payment)).disputed_minor == 2000
    await disputing.decide(disputes[0], "lost")
    await disputing.check(payment)
    await disputing.decide(disputes[1], "won")
    await disputing.check(payment)
    assert await disputing.pots(payment) == {"GUEST_CLEARING": -1000, "HOST_BALANCE": 900, "APPLICATION_FEES": 100}


async def test_events_that_come_twice_change_nothing_more(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.decide(await disputing.disputed(payment), "lost")
    pots, version = await disputing.pots(payment), (await shop.now(payment)).version
    for event in await shop.events_of(payment):
        await shop.deliver([{**event, "id": f"{event['id']}_again"}])
    again = await disputing.now(dispute)
    assert (again.version, (await shop.now(payment)).version) == (dispute.version, version)
    assert await disputing.pots(payment) == pots
    assert len(await disputing.reversals(payment)) == 1


@pytest.mark.parametrize("seed", range(6))
async def test_events_in_any_order_come_to_the_same(disputing: Disputing, shop: Shop, seed: int) -> None:
    """All that happened is known at the end, whichever event came first and in between."""
    payment = await shop.paid()
    known = len(await shop.events_of(payment))
    charge = payment.stripe_charge_id
    theirs = await shop.sandbox.act(f"charges/{charge}/dispute")
    chance = random.Random(seed)
    for outcome in chance.choice([["lost"], ["won"], ["lost", "won"], ["won", "lost"], ["lost", "won", "lost"]]):
        await shop.sandbox.act(f"disputes/{theirs['id']}/decide", outcome=outcome)
    events = (await shop.events_of(payment))[known:]
    chance.shuffle(events)
    await shop.deliver(events)
    await disputing.check(payment)
    dispute = await disputing.known(theirs["id"])
    assert dispute.status.value.lower() == (await shop.sandbox.get(f"/v1/disputes/{theirs['id']}"))["status"]


async def test_events_at_the_same_time_settle_one_after_another(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment)
    await disputing.decide_unheard(dispute, "lost")
    await asyncio.gather(*(disputing.hear(payment) for _ in range(3)))
    await disputing.check(payment)
    assert len(await disputing.reversals(payment)) == 1


async def test_each_change_is_an_event_that_names_the_host_and_not_the_guest(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.decide(await disputing.disputed(payment), "won")
    events = await Event.filter(subject_id=dispute.id).order_by("version")
    assert [(event.previous_status, event.status) for event in events] == [
        (None, "NEEDS_RESPONSE"), ("NEEDS_RESPONSE", "WON"),
    ]  # fmt: skip
    assert {(event.host_id, event.payer_id) for event in events} == {(shop.host.id, None)}


async def test_a_dispute_that_comes_before_its_payment_is_known_settles_that_first(
    disputing: Disputing, shop: Shop
) -> None:
    first = await shop.paid()
    await shop.sandbox.faults(reset_after=1)
    with pytest.raises(StripeUnavailable):
        await shop.pay()
    await shop.sandbox.heal()
    payment = await Payment.get(id__not=first.id)
    assert payment.stripe_payment_intent_id is None
    charges = await shop.sandbox.every("/v1/charges")
    charge = next(charge for charge in charges if charge["metadata"].get("payment_id") == str(payment.id))
    await shop.sandbox.act(f"charges/{charge['id']}/dispute")
    events = await shop.sandbox.events_about(charge["payment_intent"])
    await shop.deliver([event for event in events if event["type"].startswith("charge.dispute")])
    await shop.recover()
    assert (await shop.now(payment)).disputed_minor == 2000
    await disputing.check(payment)


@pytest.mark.parametrize(
    "damage", ["DELETE FROM disputes", "UPDATE disputes SET status = 'WON', host_minor = 7, fee_minor = 0"]
)
async def test_a_row_that_was_damaged_is_restored_without_moving_money(
    disputing: Disputing, shop: Shop, damage: str
) -> None:
    payment = await shop.paid()
    dispute = await disputing.decide(await disputing.disputed(payment), "lost")
    pots = await disputing.pots(payment)
    await shop.services.database.pool.execute(damage)
    await settle_dispute(shop.services, payment, dispute.stripe_dispute_id, actor="system:test")
    again = await disputing.known(dispute.stripe_dispute_id)
    assert (again.status, again.fee_minor, again.host_minor) == (DisputeStatus.LOST, 200, 1800)
    assert await disputing.pots(payment) == pots
    assert len(await disputing.reversals(payment)) == 1
    await disputing.check(payment)
    await disputing.decide(again, "won")
    await disputing.check(payment)
