"""A year in the life of a subscriber, on a test clock; after each step Paydesk, Stripe and the ledger agree.

Once in peace, and once with every webhook doubled and shuffled and the server killed at random: the same end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.e2e.life import Life

if TYPE_CHECKING:
    from tests.e2e.system import System

METHOD = "paymentMethod { id stripePaymentMethodId isDefault }"
PREVIEW = """
query ($id: ID!, $plan: ID!) { planChangePreview(subscriptionId: $id, planId: $plan) {
  dueNow { minorUnits } credit { minorUnits } nextInvoice { minorUnits } } }"""
PAYMENTS = """{ viewer { payments(first: 50) { edges { node {
  id status clientSecret amount { minorUnits } invoice { status } activity { id }
} } } } }"""


# The first payment, the upgrade, the renewal that was recovered, five more, and the month that begins after the pause.
PAID = ["CANCELED"] * 2 + ["SUCCEEDED"] * 9


def key() -> str:
    return str(uuid4())


async def live_through_a_year(life: Life) -> list[str]:
    """The statuses of all that was paid in it."""
    await life.plan("Basic", "10.00", trial_days=14, features=["chat"])
    await life.plan("Premium", "30.00", features=["chat", "priority"])
    await a_trial_and_a_first_payment_with_3d_secure(life)
    await an_upgrade_in_mid_month(life)
    card = await a_renewal_that_is_declined_twice(life)
    await a_downgrade_at_the_end_of_the_period(life)
    await another_card(life, card)
    await a_pause_of_two_months(life)
    await the_end(life)
    edges = (await life.ask(life.guest, PAYMENTS))["viewer"]["payments"]["edges"]
    return sorted(edge["node"]["status"] for edge in edges)


async def a_trial_and_a_first_payment_with_3d_secure(life: Life) -> None:
    begun = await life.does(
        "createSubscription", planId=life.plans["Basic"], paymentMethod="pm_card_authenticationRequired",
        idempotencyKey=key(),
    )  # fmt: skip
    assert begun["errors"] == []
    life.subscription = begun["subscription"]["id"]
    if begun["subscription"]["clientSecret"]:
        await life.authenticate(begun["subscription"]["clientSecret"])
    trial = await life.agree("TRIALING", "Basic", {"chat"})
    assert _days(trial["trialEnd"], life.now) == pytest.approx(14, abs=0.01)

    # The bank asks at each payment: the features stay while it waits for the guest.
    await life.let_pass(days=14, hours=2)
    await life.agree("PAST_DUE", "Basic", {"chat"})
    await life.authenticate(await _waiting_secret(life))
    life.charged = 1000
    await life.agree("ACTIVE", "Basic", {"chat"})


async def an_upgrade_in_mid_month(life: Life) -> None:
    """What the preview says is what is charged, and the better plan is there once it is paid."""
    begins = datetime.fromisoformat((await life.mine())["subscription"]["currentPeriodStart"])
    await life.move_to(begins + timedelta(days=15))
    answer = await life.ask(life.guest, PREVIEW, id=life.subscription, plan=life.plans["Premium"])
    preview = answer["planChangePreview"]
    changed = await life.does(
        "changeSubscriptionPlan", subscriptionId=life.subscription, planId=life.plans["Premium"], idempotencyKey=key()
    )
    assert changed["errors"] == []
    await life.agree("ACTIVE", "Basic", {"chat"})
    await life.authenticate(changed["subscription"]["clientSecret"])
    before = life.charged
    life.charged = await life.income()
    await life.agree("ACTIVE", "Premium", {"chat", "priority"})
    # Half of the difference of 20 USD, by the second.
    assert life.charged - before == pytest.approx(preview["dueNow"]["minorUnits"], abs=2)
    assert life.charged - before == pytest.approx(1000, abs=50)


async def a_renewal_that_is_declined_twice(life: Life) -> str:
    """Another card is declined at the renewal and two days later, and works five days after that."""
    attached = await life.does("attachPaymentMethod", METHOD, stripePaymentMethodId="pm_card_visa", makeDefault=True)
    card = attached["paymentMethod"]
    await life.card_behaves_as(card["stripePaymentMethodId"], "pm_card_chargeCustomerFail")
    await _renew(life)
    declined = await life.agree("PAST_DUE", "Premium", {"chat", "priority"})
    failed_at = life.now
    assert _days(declined["nextPaymentAttempt"], failed_at) == pytest.approx(2, abs=0.1)
    await life.let_pass(days=2, hours=3, step_days=0.5)
    still = await life.agree("PAST_DUE", "Premium", {"chat", "priority"})
    assert _days(still["nextPaymentAttempt"], failed_at) == pytest.approx(7, abs=0.6)
    await life.card_behaves_as(card["stripePaymentMethodId"], "pm_card_visa")
    await life.let_pass(days=5, step_days=0.5)
    life.charged += 3000
    recovered = await life.agree("ACTIVE", "Premium", {"chat", "priority"})
    assert recovered["nextPaymentAttempt"] is None
    return str(card["id"])


async def a_downgrade_at_the_end_of_the_period(life: Life) -> None:
    lower = await life.does(
        "changeSubscriptionPlan", subscriptionId=life.subscription, planId=life.plans["Basic"], idempotencyKey=key()
    )
    assert lower["errors"] == []
    await life.agree("ACTIVE", "Premium", {"chat", "priority"})
    await _renew(life)
    life.charged += 1000
    await life.agree("ACTIVE", "Basic", {"chat"})


async def another_card(life: Life, old: str) -> None:
    """The card is replaced, and the old one taken away."""
    attached = await life.does(
        "attachPaymentMethod", METHOD, stripePaymentMethodId="pm_card_mastercard", makeDefault=True
    )
    assert attached["paymentMethod"]["isDefault"]
    assert (await life.does("detachPaymentMethod", METHOD, paymentMethodId=old))["errors"] == []
    for _ in range(3):
        await _renew(life)
        life.charged += 1000
        await life.agree("ACTIVE", "Basic", {"chat"})


async def a_pause_of_two_months(life: Life) -> None:
    """It takes nothing and, once the paid period is over, grants nothing."""
    paused = await life.does("pauseSubscription", subscriptionId=life.subscription, idempotencyKey=key())
    assert paused["errors"] == []
    await _renew(life)
    await _renew(life)
    await life.agree("PAUSED", "Basic", set())
    resumed = await life.does("resumeSubscription", subscriptionId=life.subscription, idempotencyKey=key())
    assert resumed["errors"] == []
    # Nobody has paid for the month under way: another begins, and is paid.
    life.charged += 1000
    await life.agree("ACTIVE", "Basic", {"chat"})
    await _renew(life)
    life.charged += 1000
    await life.agree("ACTIVE", "Basic", {"chat"})


async def the_end(life: Life) -> None:
    """At the end of the period, to the second."""
    last = await life.does(
        "cancelSubscription", subscriptionId=life.subscription, atPeriodEnd=True, idempotencyKey=key()
    )
    assert last["errors"] == []
    ends = datetime.fromisoformat((await life.agree("ACTIVE", "Basic", {"chat"}))["currentPeriodEnd"])
    await life.move_to(ends - timedelta(seconds=60))
    await life.agree("ACTIVE", "Basic", {"chat"})
    await life.move_to(ends + timedelta(hours=2))
    await life.agree("CANCELED", "Basic", set())


async def _renew(life: Life) -> None:
    """To two hours after the period's end: the invoice was finalized after one."""
    ends = datetime.fromisoformat((await life.mine())["subscription"]["currentPeriodEnd"])
    await life.move_to(ends + timedelta(hours=2))


async def _waiting_secret(life: Life) -> str:
    """Of the guest's payment that waits for the bank's page."""
    edges = (await life.ask(life.guest, PAYMENTS))["viewer"]["payments"]["edges"]
    waiting = [edge["node"] for edge in edges if edge["node"]["status"] in {"REQUIRES_ACTION", "FAILED"}]
    assert len(waiting) == 1
    return str(waiting[0]["clientSecret"])


def _days(moment: str, since: datetime) -> float:
    return (datetime.fromisoformat(moment) - since) / timedelta(days=1)


@pytest.fixture
async def moving_system(system: System) -> System:
    """A system in whose time it can be any time."""
    system.set_clock(0)
    await system.start(moving=True)
    return system


@pytest.mark.timeout(300)
async def test_a_year_in_peace(moving_system: System) -> None:
    async with Life.begin(moving_system) as life:
        assert await live_through_a_year(life) == PAID


@pytest.mark.timeout(600)
async def test_the_same_year_with_webhooks_doubled_and_shuffled_and_the_server_killed_at_random(
    moving_system: System,
) -> None:
    await moving_system.person(
        "faults", {"seed": 7, "webhooks": {"duplicate": 1.0, "shuffle": True, "delay_ms": [0, 300]}}
    )
    async with Life.begin(moving_system) as life, life.killed_at_random(seed=7):
        assert await live_through_a_year(life) == PAID
    assert life.kills > 5
