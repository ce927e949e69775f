"""Refunds of payments whose hosts were sent their parts by transfers of their own: what each of them gives back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.activities import Activity, PayoutTiming
from models.money import Money
from models.operations import Operation, OperationStatus
from models.payments import Payment, PaymentAllocation, PaymentStatus
from models.refunds import Refund, RefundOrigin, RefundStatus
from models.rsvps import RsvpStatus
from models.transfers import TransferReversal, TransferStatus
from services.disputes.settlement import settle_dispute
from services.errors import InvalidState, StripeUnavailable
from services.refunds.preview import refund_preview
from services.refunds.taking_back import TAKE_BACK
from services.rsvps import cancel_rsvp
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.hosts import shares
from tests.support.rows import add_account, add_user
from tests.support.shop import SERVICE, pool_fetch

if TYPE_CHECKING:
    from models.users import User
    from tests.support.hosts import Hosts
    from tests.support.shop import Shop

async def add_protected(shop: Shop) -> User:
    """A host whose balance Stripe never lets go below zero."""
    # Made the older way an account of this kind can be transferred to ("Account types").
    account = await shop.sandbox.post(
        "/v1/accounts", {"type": "standard", "country": "US", "email": "host@example.com"}
    )
    await shop.sandbox.act(f"accounts/{account['id']}/onboard")
    async with shop.services.database.transaction() as connection:
        host = await add_user(connection, stripe_customer_id=None)
        await add_account(connection, host, stripe_account_id=account["id"])
    return host


async def pay_out(shop: Shop, hosts: Hosts, host: User, wire: int) -> None:
    """The host takes money to their bank."""
    id_ = str((await hosts.account(host)).stripe_account_id)
    await shop.sandbox.act("balance/settle", account=id_)
    await shop.sandbox.post("/v1/payouts", {"amount": wire, "currency": "usd"}, account=id_)


async def shared(shop: Shop, *hosts: User, **values: Any) -> Payment:
    """A payment that the shop's host shares with others."""
    parts = ["0.5", *(["0.5"] if len(hosts) == 1 else ["0.3", "0.2"])]
    return await shop.paid(splits=shares(*zip((shop.host, *hosts), parts, strict=True)), **values)


async def taken(payment: Payment) -> list[tuple[int, int, int]]:
    """Sent, reversed and owed of each part."""
    parts = await PaymentAllocation.filter(payment_id=payment.id).order_by("id")
    return [(part.transferred_minor, part.reversed_minor, part.owed_minor) for part in parts]


async def pots(shop: Shop) -> dict[str, int]:
    """What each kind of pot holds."""
    records = await pool_fetch(
        shop.services,
        "SELECT a.kind, sum(p.amount_minor)::int AS minor FROM ledger_postings p"
        " JOIN ledger_accounts a ON a.id = p.account_id GROUP BY 1 HAVING sum(p.amount_minor) <> 0",
    )
    return {record["kind"]: record["minor"] for record in records}


async def reversals_at_stripe(shop: Shop, payment: Payment) -> list[int]:
    """What Stripe reversed of each transfer of a payment, the first one first."""
    transfers = await shop.sandbox.every("/v1/transfers", {"transfer_group": str(payment.id)})
    return [transfer["amount_reversed"] for transfer in reversed(transfers)]


async def test_each_host_gives_back_in_proportion_and_the_platform_its_fee(shop: Shop, hosts: Hosts) -> None:
    others = [await hosts.add() for _ in range(2)]
    payment = await shared(shop, *others)
    refund = await shop.refund(payment, 1001)
    assert (refund.fee_minor, refund.host_minor, refund.platform_minor) == (100, 901, 0)
    assert await hosts.sent_to(payment, shop.host, *others) == [900 - 451, 540 - 270, 360 - 180]
    assert await taken(payment) == [(900, 451, 0), (540, 270, 0), (360, 180, 0)]
    assert await pots(shop) == {"GUEST_CLEARING": -999, "APPLICATION_FEES": 100, "HOST_BALANCE": 899}
    await shop.refund(payment)
    assert await hosts.sent_to(payment, shop.host, *others) == [0, 0, 0]
    assert await taken(payment) == [(900, 900, 0), (540, 540, 0), (360, 360, 0)]
    assert await pots(shop) == {}
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    await hosts.check_taken(payment)


async def test_parts_of_any_size_add_up_to_the_whole(shop: Shop, hosts: Hosts) -> None:
    others = [await hosts.add() for _ in range(2)]
    payment = await shared(shop, *others)
    for minor in (1, 2, 333, 7, 1, 1000, 3, 653):
        await shop.refund(payment, minor)
        await hosts.check_taken(payment)
    assert [left for left, _, _ in await taken(payment)] == [gone for _, gone, _ in await taken(payment)]
    assert await pots(shop) == {}


async def test_what_was_not_sent_is_given_back_where_it_lies(shop: Shop, hosts: Hosts) -> None:
    await Activity.filter(id=shop.activity.id).update(payout_timing=PayoutTiming.AFTER_ACTIVITY)
    other = await hosts.add()
    payment = await shared(shop, other)
    await shop.refund(payment, 1000)
    assert await taken(payment) == [(0, 0, 450), (0, 0, 450)]
    await shop.refund(payment)
    assert await taken(payment) == [(0, 0, 0), (0, 0, 0)]
    assert await shop.sandbox.every("/v1/transfers", {"transfer_group": str(payment.id)}) == []
    assert await TransferReversal.all().count() + await Operation.filter(kind=TAKE_BACK).count() == 0
    await hosts.work(hours=24 * 30)
    assert await hosts.sent_to(payment, shop.host, other) == [0, 0]
    await hosts.check_taken(payment)


async def test_what_one_host_was_not_sent_is_taken_of_what_is_held_and_the_others_is_reversed(
    shop: Shop, hosts: Hosts
) -> None:
    late = await hosts.add(ready=False)
    async with shop.services.database.transaction() as connection:
        await connection.execute("UPDATE connect_accounts SET capabilities = '{\"transfers\": \"active\"}'")
    payment = await shared(shop, late)
    assert await taken(payment) == [(900, 0, 0), (0, 0, 900)]
    await shop.refund(payment, 500)
    assert await taken(payment) == [(900, 225, 0), (0, 0, 675)]
    await hosts.check_taken(payment)


async def test_a_host_in_another_currency_gives_back_exactly_what_they_were_sent(shop: Shop, hosts: Hosts) -> None:
    abroad = await hosts.add(country="GB")
    payment = await shared(shop, abroad)
    for minor in (333, 1, 666):
        await shop.refund(payment, minor)
    await shop.refund(payment)
    assert await hosts.sent_to(payment, shop.host, abroad) == [0, 0]
    id_ = str((await hosts.account(abroad)).stripe_account_id)
    balance = await shop.sandbox.get("/v1/balance", account=id_)
    assert sum(part["amount"] for kind in ("available", "pending") for part in balance[kind]) == 0
    await hosts.check_taken(payment)


async def test_after_a_payout_a_host_gives_back_what_they_no_longer_have(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    await pay_out(shop, hosts, other, 900)
    await shop.refund(payment)
    assert await taken(payment) == [(900, 900, 0), (900, 900, 0)]
    id_ = str((await hosts.account(other)).stripe_account_id)
    balance = await shop.sandbox.get("/v1/balance", account=id_)
    assert sum(part["amount"] for kind in ("available", "pending") for part in balance[kind]) == -900
    await hosts.check_taken(payment)


async def test_what_stripe_does_not_reverse_the_host_owes_and_the_guest_has_it_all_the_same(
    shop: Shop, hosts: Hosts
) -> None:
    other = await add_protected(shop)
    payment = await shared(shop, other)
    await pay_out(shop, hosts, other, 900)
    refund = await shop.refund(payment, 1000)
    assert refund.status is RefundStatus.SUCCEEDED
    assert await taken(payment) == [(900, 450, 0), (900, 0, -450)]
    refused = await TransferReversal.get(status=TransferStatus.REFUSED)
    assert (refused.failure_code, refused.covers_minor, refused.refund_id) == ("balance_insufficient", 450, refund.id)
    assert await pots(shop) == {
        "GUEST_CLEARING": -1000, "APPLICATION_FEES": 100, "HOST_BALANCE": 1350, "HOST_OWED": -450,
    }  # fmt: skip
    await hosts.check_taken(payment)
    # The rest is asked for once again, for itself; what was refused before is not.
    await shop.refund(payment)
    assert await taken(payment) == [(900, 900, 0), (900, 0, -900)]
    assert [row.covers_minor for row in await TransferReversal.filter(status=TransferStatus.REFUSED)] == [450, 450]
    await hosts.check_taken(payment)


async def test_a_refund_of_the_dashboard_takes_of_the_hosts_too_and_only_once(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    await shop.sandbox.post(
        "/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "amount": 500, "reason": "duplicate"}
    )
    await shop.deliver_all(payment)
    await shop.deliver_all(payment)
    [refund] = await Refund.all()
    assert (refund.origin, refund.fee_minor, refund.host_minor) == (RefundOrigin.STRIPE, 50, 450)
    assert await taken(payment) == [(900, 225, 0), (900, 225, 0)]
    assert await reversals_at_stripe(shop, payment) == [225, 225]
    await hosts.check_taken(payment)


async def test_of_a_refund_that_fails_later_the_hosts_are_sent_their_part_again(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other, payment_method="pm_card_refundFail")
    refund = await shop.refund(payment, 700)
    assert await taken(payment) == [(900, 315, 0), (900, 315, 0)]
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    assert (await Refund.get(id=refund.id)).status is RefundStatus.FAILED
    assert await taken(payment) == [(900, 315, 315), (900, 315, 315)]
    await hosts.check_taken(payment)
    await hosts.work()
    assert await hosts.sent_to(payment, shop.host, other) == [900, 900]
    assert await hosts.owed(payment) == [0, 0]
    await shop.refund(payment)
    assert await hosts.sent_to(payment, shop.host, other) == [0, 0]
    await hosts.check_taken(payment)


async def test_a_pending_refund_takes_of_the_hosts_at_once(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other, payment_method="pm_card_pendingRefund")
    refund = await shop.refund(payment, 1000)
    assert refund.status is RefundStatus.PENDING
    assert await taken(payment) == [(900, 450, 0), (900, 450, 0)]
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    assert await hosts.owed(payment) == [450, 450]
    await hosts.check_taken(payment)


async def test_a_refusal_of_the_refund_takes_nothing_of_anybody(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    await shop.sandbox.post("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "amount": 1900})
    with pytest.raises(InvalidState):
        await shop.refund(payment, 500)
    assert await taken(payment) == [(900, 0, 0), (900, 0, 0)]
    assert await reversals_at_stripe(shop, payment) == [0, 0]
    await shop.deliver_all(payment)
    assert await taken(payment) == [(900, 855, 0), (900, 855, 0)]
    await hosts.check_taken(payment)


async def test_while_stripe_is_away_the_guest_has_their_refund_and_the_hosts_follow(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.failing("reset_after", 1, 1))
        refund = await replace(shop, services=services).refund(payment, 1000)
    assert refund.status is RefundStatus.SUCCEEDED
    assert await Operation.filter(kind=TAKE_BACK, status=OperationStatus.RUNNING).count() == 1
    await shop.recover()
    assert await taken(payment) == [(900, 450, 0), (900, 450, 0)]
    assert await reversals_at_stripe(shop, payment) == [450, 450]
    await hosts.check_taken(payment)


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("calls", range(4))
async def test_a_process_may_end_between_any_two_steps(
    shop: Shop, hosts: Hosts, boundary: Boundary, calls: int
) -> None:
    others = [await hosts.add() for _ in range(2)]
    payment = await shared(shop, *others)
    trap, key = Trap(), str(uuid4())
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, calls))
        trap.begin()
        crashed = replace(shop, services=services)
        with suppress(Crash):
            await crashed.refund(payment, 1000, idempotency_key=key)
        trap.arm(None)
    await shop.recover()
    refund = await shop.refund(payment, 1000, idempotency_key=key)
    assert refund.status is RefundStatus.SUCCEEDED
    assert len(await shop.sandbox.every("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id})) == 1
    assert await reversals_at_stripe(shop, payment) == [450, 270, 180]
    assert await taken(payment) == [(900, 450, 0), (540, 270, 0), (360, 180, 0)]
    await hosts.check_taken(payment)


@pytest.mark.parametrize("hours", [1, 30])
@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "rate_500"])
async def test_reversals_end_by_themselves_once_stripe_is_back_and_are_made_once(
    shop: Shop, hosts: Hosts, fault: str, hours: int
) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    await shop.sandbox.faults(**{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await shop.refund(payment)
    await shop.sandbox.heal()
    shop.clock.forward(hours=hours)
    await shop.recover()
    assert await reversals_at_stripe(shop, payment) == [900, 900]
    assert await pots(shop) == {}
    await hosts.check_taken(payment)


async def test_canceling_an_rsvp_gives_everything_back_of_everybody(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    canceled = await cancel_rsvp(
        shop.services, viewer=SERVICE, rsvp_id=(await shop.rsvp(payment)).id, idempotency_key="c"
    )
    assert (canceled.rsvp.status, canceled.error) == (RsvpStatus.CANCELED, None)
    assert canceled.refund is not None
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    assert await reversals_at_stripe(shop, payment) == [900, 900]
    await hosts.check_taken(payment)


async def test_a_preview_says_what_a_refund_does(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    for minor in (333, None):
        amount = None if minor is None else Money(minor, "USD")
        before = await refund_preview(shop.services, viewer=SERVICE, payment_id=payment.id, amount=amount)
        refund = await shop.refund(payment, minor)
        assert (before.guest_receives, before.platform_pays.minor, before.host_pays.minor) == (
            refund.amount, refund.fee_minor, refund.host_minor,
        )  # fmt: skip


async def test_nothing_is_refunded_while_the_bank_decides(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shared(shop, other)
    dispute = await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/dispute")
    await settle_dispute(shop.services, payment, dispute["id"], actor="test")
    assert (await shop.now(payment)).disputed_minor == 2000
    rsvp = await shop.rsvp(payment)
    before = len(await shop.sandbox.requests_to("/v1/refunds"))
    for refused in (
        shop.refund(payment, 100),
        refund_preview(shop.services, viewer=SERVICE, payment_id=payment.id, amount=None),
        cancel_rsvp(shop.services, viewer=SERVICE, rsvp_id=rsvp.id, idempotency_key="c"),
    ):
        with pytest.raises(InvalidState) as error:
            await refused
        assert error.value.state == "DISPUTED"
    assert len(await shop.sandbox.requests_to("/v1/refunds")) == before
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    assert await Refund.all().count() == 0
