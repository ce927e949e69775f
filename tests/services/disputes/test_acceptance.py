"""Giving disputes up."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from models.disputes import Dispute, DisputeStatus
from models.operations import Operation
from services.disputes.acceptance import accept_dispute
from services.errors import InvalidState, NotFound, StripeUnavailable
from tests.support.shop import SERVICE, as_user

if TYPE_CHECKING:
    from services.disputes.submission import AnsweredDispute
    from services.viewer import Viewer
    from tests.support.disputing import Disputing
    from tests.support.shop import Shop


async def accepted(
    shop: Shop, dispute: Dispute, *, viewer: Viewer | None = None, key: str | None = None
) -> AnsweredDispute:
    """Give it up, by the host."""
    return await accept_dispute(
        shop.services, viewer=viewer or as_user(shop.host), dispute_id=dispute.id,
        idempotency_key=key or str(uuid4()),
    )  # fmt: skip


async def test_what_is_given_up_is_lost_and_borne_at_once(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    answered = await accepted(shop, await disputing.disputed(payment))
    assert (answered.error, answered.dispute.status) == (None, DisputeStatus.LOST)
    assert await disputing.pots(payment) == {}
    await disputing.hear(payment)
    await disputing.check(payment)
    assert len(await disputing.reversals(payment)) == 1


async def test_it_is_given_up_once(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute, key = await disputing.disputed(payment), str(uuid4())
    first = await accepted(shop, dispute, key=key)
    assert (await accepted(shop, dispute, key=key)).dispute.version == first.dispute.version
    with pytest.raises(InvalidState) as refusal:
        await accepted(shop, dispute)
    assert refusal.value.state == "LOST"
    assert len(await disputing.reversals(payment)) == 1
    closes = await shop.sandbox.requests_to(f"/v1/disputes/{dispute.stripe_dispute_id}/close")
    assert len(closes) == 1


async def test_one_that_was_decided_meanwhile_is_settled_as_it_is(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment)
    await disputing.decide_unheard(dispute, "won")
    answered = await accepted(shop, dispute)
    assert isinstance(answered.error, InvalidState)
    assert answered.dispute.status is DisputeStatus.WON
    await disputing.check(payment)


@pytest.mark.parametrize("status", ["warning_needs_response", "prevented"])
async def test_what_is_no_open_dispute_cannot_be_given_up(disputing: Disputing, shop: Shop, status: str) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment, status=status)
    pots = await disputing.pots(payment)
    with pytest.raises(InvalidState):
        await accepted(shop, dispute)
    assert await disputing.pots(payment) == pots
    assert await shop.sandbox.requests_to(f"/v1/disputes/{dispute.stripe_dispute_id}") == []


async def test_guests_and_strangers_cannot_give_up_what_they_do_not_see(disputing: Disputing, shop: Shop) -> None:
    dispute = await disputing.disputed(await shop.paid())
    for user in (shop.guest, await shop.new_guest()):
        with pytest.raises(NotFound):
            await accepted(shop, dispute, viewer=as_user(user))
    assert (await disputing.now(dispute)).status is DisputeStatus.NEEDS_RESPONSE
    assert await Operation.filter(kind="accept_dispute").count() == 0
    assert (await accepted(shop, dispute, viewer=SERVICE)).error is None


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "rate_500"])
async def test_an_answer_that_was_lost_is_found_again(disputing: Disputing, shop: Shop, fault: str) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment)
    await shop.sandbox.faults(**{fault: 1, "seed": 5})
    with pytest.raises(StripeUnavailable):
        await accepted(shop, dispute)
    await shop.sandbox.heal()
    await shop.recover()
    assert (await disputing.now(dispute)).status is DisputeStatus.LOST
    await disputing.check(payment)
    assert await disputing.pots(payment) == {}
