"""Any history of a host's money: earned, taken, paid out by schedule and by hand, sent back, told of in any order."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from models.connect_accounts import ConnectAccountType
from models.payouts import Payout, PayoutStatus
from services.balances.mirror import mirror_now
from services.errors import DomainError
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.payouts import Earner
from tests.support.sandbox import RefusedError

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

STEPS = 25
ACTIONS = (
    "earn", "owe", "ask", "ask", "crash", "schedule", "send", "pay", "fail", "cancel", "mend", "tell", "look",
)  # fmt: skip


async def act(earner: Earner, dice: random.Random, what: str) -> None:
    """One thing happens; where it cannot, nothing does."""
    payouts = await earner.at_stripe()
    if not payouts and what in {"pay", "fail", "cancel"}:
        return
    chosen = dice.choice(payouts)["id"] if payouts else None
    if what == "earn":
        await earner.earn(dice.randint(1, 9_000))
    elif what == "owe":
        await earner.earn(-dice.randint(1, 6_000))
    elif what == "ask":
        await earner.pay_out(dice.randint(50, 5_000), instant=dice.random() < 0.3)
    elif what == "crash":
        trap = Trap()
        async with trapped(earner.services, trap, earner.sandbox) as services:
            trap.arm(Trouble.crash(dice.choice(list(Boundary)), 0))
            await earner.through(services).pay_out(dice.randint(50, 5_000))
    elif what == "schedule":
        await earner.sandbox.act(f"accounts/{earner.stripe_account}/pay_out")
    elif what == "mend":
        await earner.sandbox.act(f"accounts/{earner.stripe_account}/bank_account", account_number="000123456789")
    elif what == "cancel":
        await earner.sandbox.post(f"/v1/payouts/{chosen}/cancel", account=earner.stripe_account)
    elif what == "tell":
        events = await earner.events()
        await earner.deliver(dice.sample(events, dice.randint(0, len(events))))
    elif what == "look":
        await mirror_now(earner.services, earner.stripe_account)
    else:
        await earner.sandbox.act(f"payouts/{chosen}/{what}")


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happened_the_ledger_has_what_stripe_has(
    services: Services, patient_sandbox: Sandbox, clock: Clock, seed: int
) -> None:
    dice = random.Random(seed)
    earner = await Earner.open(services, patient_sandbox, clock, type_=dice.choice(list(ConnectAccountType)))
    for _ in range(STEPS):
        with suppress(RefusedError, DomainError, Crash):
            await act(earner, dice, dice.choice(ACTIONS))
    await earner.recover()
    events = await earner.events()
    dice.shuffle(events)
    await earner.deliver(events)
    await mirror_now(services, earner.stripe_account)
    await earner.check()
    pots = await earner.pots()
    assert pots.get("HOST_BALANCE", 0) == await earner.has(pending=True)
    payouts = await Payout.all()
    under_way = {PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT}
    assert pots.get("PAYOUTS_IN_TRANSIT", 0) == sum(p.amount_minor for p in payouts if p.status in under_way)
    assert pots.get("BANK", 0) == sum(p.amount_minor for p in payouts if p.status is PayoutStatus.PAID)
    never_made = [payout for payout in payouts if payout.stripe_payout_id is None]
    assert {payout.status for payout in never_made} <= {PayoutStatus.FAILED}
    assert all(payout.contents_known for payout in payouts if payout.automatic and payout.status not in under_way)
