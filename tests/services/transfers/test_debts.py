"""What hosts owe once their money was paid out: seen, explained, and recovered from what they are paid next."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from models.activities import Activity, PayoutTiming
from models.money import Money
from models.operations import Operation
from models.payments import Payment
from models.transfers import Transfer, TransferReversal, TransferStatus
from services.disputes.settlement import settle_dispute
from services.transfers.debts import debts_of, set_off
from services.transfers.recovery import RECOVER, recover_all
from tests.services.refunds.test_separate_refunds import add_protected, pay_out, pots, shared, taken
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.hosts import shares
from tests.support.shop import SERVICE, pool_fetch

if TYPE_CHECKING:
    from models.users import User
    from services.core import Services
    from services.stripe_requests import StripeRequest
    from tests.support.hosts import Hosts
    from tests.support.shop import Shop


async def in_debt(shop: Shop, hosts: Hosts, minor: int = 1000) -> tuple[User, Payment]:
    """A host who was paid out what a refund then takes back, and the payment."""
    host = await add_protected(shop)
    payment = await shared(shop, host)
    await pay_out(shop, hosts, host, 900)
    await shop.refund(payment, minor)
    return host, payment


async def owing(services: Services, host: User) -> int:
    """What a host owes in dollars."""
    return sum(debt.amount.minor for debt in await debts_of(services, [host.id]))


def without_recovery(shop: Shop) -> Shop:
    """The shop of a platform that does not keep debts from later payments."""
    settings = shop.services.settings.model_copy(update={"recover_debts": False})
    return replace(shop, services=replace(shop.services, settings=settings))


class Counted:
    """Stripe, and how often each thing is asked of it."""

    def __init__(self, stripe: Any) -> None:
        self._stripe = stripe
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)

    async def send(self, request: StripeRequest, **rest: Any) -> Any:
        self.calls[f"{request.method} {request.path.split('/')[2]}"] += 1
        return await self._stripe.send(request, **rest)


async def test_a_debt_says_how_much_since_when_and_why(shop: Shop, hosts: Hosts) -> None:
    host, payment = await in_debt(shop, hosts)
    [debt] = await debts_of(shop.services, [host.id, shop.host.id])
    assert (debt.host_id, debt.amount, list(debt.payment_ids)) == (host.id, Money(450, "USD"), [payment.id])
    refused = await TransferReversal.get(status=TransferStatus.REFUSED)
    assert debt.since == refused.updated_at
    assert debt.explanation.endswith("It is kept from what you are paid next.")
    [debt] = await debts_of(without_recovery(shop).services, [host.id])
    assert "not kept" in debt.explanation
    await hosts.check_taken(payment)


async def test_what_a_host_is_due_next_pays_the_debt_first_and_less_is_sent(shop: Shop, hosts: Hosts) -> None:
    host, payment = await in_debt(shop, hosts)
    later = await shared(shop, host)
    assert await hosts.sent_to(later, shop.host, host) == [900, 450]
    assert await owing(shop.services, host) == 0
    assert await taken(payment) == [(900, 450, 0), (900, 450, 0)]
    assert await taken(later) == [(900, 0, 0), (900, 0, 0)]
    # What the host was paid out had left Stripe: what the ledger says is there counts the payout nowhere yet.
    assert await pots(shop) == {"GUEST_CLEARING": -3000, "APPLICATION_FEES": 300, "HOST_BALANCE": 2700}
    recovered = await pool_fetch(
        shop.services,
        "SELECT payment_id FROM ledger_transactions WHERE kind = 'DEBT_RECOVERY' ORDER BY reference LIKE '%taken'",
    )
    assert [record["payment_id"] for record in recovered] == [later.id, payment.id]
    await hosts.check_taken(payment)
    await hosts.check_taken(later)
    # Nothing is kept twice.
    again = await shared(shop, host)
    assert await hosts.sent_to(again, shop.host, host) == [900, 900]


async def test_a_debt_larger_than_a_payment_is_paid_by_as_many_as_it_takes(shop: Shop, hosts: Hosts) -> None:
    host, payment = await in_debt(shop, hosts, 2000)
    sent = []
    for _ in range(4):
        later = await shop.paid(splits=shares((shop.host, "0.8"), (host, "0.2")))
        sent.append((await hosts.sent_to(later, host))[0])
        await hosts.check_taken(later)
    assert sent == [0, 0, 180, 360]
    assert await owing(shop.services, host) == 0
    await hosts.check_taken(payment)


async def test_a_refund_of_the_payment_that_paid_a_debt_is_owed_as_far_as_it_was_not_sent(
    shop: Shop, hosts: Hosts
) -> None:
    host, payment = await in_debt(shop, hosts)
    later = await shared(shop, host)
    await shop.refund(later)
    assert await hosts.sent_to(later, shop.host, host) == [0, 0]
    assert await taken(later) == [(900, 900, 0), (900, 450, -450)]
    assert await owing(shop.services, host) == 450
    await hosts.check_taken(payment)
    await hosts.check_taken(later)


async def test_the_setting_leaves_later_payments_alone(shop: Shop, hosts: Hosts) -> None:
    host, _ = await in_debt(shop, hosts)
    shop = without_recovery(shop)
    later = await shared(shop, host)
    assert await taken(later) == [(900, 0, 0), (900, 0, 0)]
    assert await owing(shop.services, host) == 450


async def test_a_debt_waits_for_what_is_due_and_takes_no_other_hosts_money(shop: Shop, hosts: Hosts) -> None:
    host, payment = await in_debt(shop, hosts)
    await Activity.filter(id=shop.activity.id).update(payout_timing=PayoutTiming.AFTER_ACTIVITY)
    later = await shared(shop, host)
    await hosts.work()
    assert await owing(shop.services, host) == 450
    assert await hosts.owed(later) == [900, 900]
    await hosts.work(hours=24 * 30)
    assert await hosts.sent_to(later, shop.host, host) == [900, 450]
    assert await owing(shop.services, host) == 0
    await hosts.check_taken(payment)


async def test_many_debts_are_paid_some_at_a_time_the_oldest_first(shop: Shop, hosts: Hosts) -> None:
    host = await add_protected(shop)
    payments = [await shared(shop, host) for _ in range(3)]
    await pay_out(shop, hosts, host, 2700)
    for payment in payments:
        await shop.refund(payment, 1000)
    await Activity.filter(id=shop.activity.id).update(payout_timing=PayoutTiming.AFTER_ACTIVITY)
    later = await shared(shop, host)
    shop.clock.forward(hours=24 * 30)
    await set_off(shop.services, later.id, at_once=1)
    assert [(await taken(payment))[1] for payment in payments] == [(900, 450, 0), (900, 450, 0), (900, 0, -450)]
    assert await owing(shop.services, host) == 450
    assert (await hosts.owed(later))[1] == 0
    for payment in (*payments, later):
        await hosts.check_taken(payment)


async def test_a_refund_that_fails_after_all_takes_the_debt_away(shop: Shop, hosts: Hosts) -> None:
    host = await add_protected(shop)
    payment = await shared(shop, host, payment_method="pm_card_refundFail")
    await pay_out(shop, hosts, host, 900)
    refund = await shop.refund(payment, 1000)
    assert await owing(shop.services, host) == 450
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    assert await owing(shop.services, host) == 0
    assert await hosts.owed(payment) == [450, 0]
    await hosts.check_taken(payment)


async def paid_directly(shop: Shop, host: User) -> Payment:
    """A destination charge of this host, who offers an activity of their own."""
    async with shop.services.database.transaction() as connection:
        await connection.execute("UPDATE activities SET host_id = $1 WHERE id = $2", host.id, shop.activity.id)
    try:
        return await shop.paid()
    finally:
        async with shop.services.database.transaction() as connection:
            await connection.execute("UPDATE activities SET host_id = $1 WHERE id = $2", shop.host.id, shop.activity.id)


async def test_a_host_who_is_paid_at_once_gives_of_what_they_were_sent_later(shop: Shop, hosts: Hosts) -> None:
    host, payment = await in_debt(shop, hosts)
    later = await paid_directly(shop, host)
    assert await taken(later) == [(1800, 0, 0)]
    assert await recover_all(shop.services) == 1
    assert await taken(later) == [(1800 + 450, 450, 0)]
    assert await owing(shop.services, host) == 0
    row = await TransferReversal.get(payment_id=later.id)
    assert (row.status, row.covers_minor, row.transfer_id, row.refund_id) == (TransferStatus.PAID, 450, None, None)
    await hosts.check_taken(payment)
    await hosts.check_taken(later)
    # A refund of it takes what is left of it with the host, and what had paid the debt is owed again.
    await shop.refund(later, viewer=SERVICE)
    assert await taken(later) == [(2250, 450 + 1350, -450)]
    assert await owing(shop.services, host) == 450
    await hosts.check_taken(later)


async def test_each_later_payment_is_tried_once_and_stripe_is_asked_no_more(shop: Shop, hosts: Hosts) -> None:
    host, payment = await in_debt(shop, hosts)
    laters = [await paid_directly(shop, host) for _ in range(2)]
    await pay_out(shop, hosts, host, 3600)
    stripe = Counted(shop.services.stripe)
    counting = shop.through(stripe)
    assert await recover_all(counting.services) == 2
    assert stripe.calls == {"get balance": 2}
    assert await owing(shop.services, host) == 450
    for _ in range(3):
        assert await recover_all(counting.services) == 0
    assert stripe.calls == {"get balance": 2}
    # The next one is tried too, and once what is owed is paid, no other is.
    later = await paid_directly(shop, host)
    await paid_directly(shop, host)
    for tried in (1, 0):
        assert await recover_all(counting.services) == tried
        assert stripe.calls == {"get balance": 3, "post transfers": 1}
    assert await owing(shop.services, host) == 0
    laters.append(later)
    async with shop.services.database.transaction() as connection:
        await connection.execute("UPDATE operations SET leased_until = now() WHERE kind = $1", RECOVER)
    assert await shop.services.operations.recover(counting.services) == 0
    assert await Operation.filter(kind=RECOVER).count() == 3
    for later in (payment, *laters):
        await hosts.check_taken(later)


async def test_a_recovery_that_stripe_refuses_is_asked_for_once_and_never_again(shop: Shop, hosts: Hosts) -> None:
    host, _ = await in_debt(shop, hosts)
    laters = [await paid_directly(shop, host) for _ in range(2)]
    stripe = Counted(shop.services.stripe)
    counting = shop.through(stripe)
    # Reversed behind our back: Stripe has nothing of it to reverse any more.
    [part] = await hosts.parts(laters[0])
    await shop.sandbox.post(f"/v1/transfers/{part.stripe_transfer_id}/reversals")
    for _ in range(3):
        await recover_all(counting.services)
    assert stripe.calls == {"get balance": 2, "post transfers": 2}
    assert [row.status for row in await TransferReversal.filter(refund_id=None).order_by("id")] == [
        TransferStatus.REFUSED, TransferStatus.PAID,
    ]  # fmt: skip
    assert await owing(shop.services, host) == 0


async def test_nobody_is_asked_about_where_nobody_owes_anything(shop: Shop, hosts: Hosts) -> None:
    host = await hosts.add()
    await shared(shop, host)
    stripe = Counted(shop.services.stripe)
    assert await recover_all(shop.through(stripe).services) == 0
    assert not stripe.calls


@pytest.mark.parametrize("boundary", list(Boundary))
async def test_a_recovery_that_is_broken_off_goes_on_and_takes_nothing_twice(
    shop: Shop, hosts: Hosts, boundary: Boundary
) -> None:
    host, payment = await in_debt(shop, hosts)
    later = await paid_directly(shop, host)
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, 0))
        trap.begin()
        with pytest.raises(Crash):
            await recover_all(services)
        trap.arm(None)
    await shop.recover()
    await recover_all(shop.services)
    assert await owing(shop.services, host) == 0
    assert await taken(later) == [(2250, 450, 0)]
    [part] = await hosts.parts(later)
    assert (await shop.sandbox.get(f"/v1/transfers/{part.stripe_transfer_id}"))["amount_reversed"] == 450
    await hosts.check_taken(payment)
    await hosts.check_taken(later)


async def test_a_lost_dispute_of_a_destination_charge_is_owed_and_recovered_too(shop: Shop, hosts: Hosts) -> None:
    payment = await shop.paid()
    dispute = await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/dispute")
    await settle_dispute(shop.services, payment, dispute["id"], actor="test")
    await shop.sandbox.act(f"disputes/{dispute['id']}/decide", outcome="lost")
    await settle_dispute(shop.services, payment, dispute["id"], actor="test")
    assert await taken(payment) == [(1800, 1800, 0)]
    row = await TransferReversal.get()
    assert (row.status, row.covers_minor, row.transfer_id) == (TransferStatus.PAID, 1800, None)
    transfer = await shop.sandbox.get(f"/v1/transfers/{row.stripe_transfer_id}")
    assert transfer["amount_reversed"] == 1800
    assert await Transfer.all().count() == 0
    await hosts.check_taken(payment)
