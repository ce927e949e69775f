"""Removing a method: an heir takes its place, and a subscription keeps the last one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.operations import Operation
from models.subscriptions import BillingSubscriptionStatus
from services.errors import DomainError, InvalidState, NotFound
from services.payment_methods.detaching import detach_payment_method
from tests.support.rows import add_plan, add_subscription

if TYPE_CHECKING:
    from tests.support.wallet import Wallet


async def subscribe(wallet: Wallet, **values: Any) -> None:
    async with wallet.services.database.transaction() as connection:
        await add_subscription(connection, wallet.guest, await add_plan(connection), **values)


async def test_a_removed_method_is_listed_no_more_and_its_row_stays(wallet: Wallet) -> None:
    method = await wallet.attach()
    removed = await wallet.detach(method)
    assert (removed.id, removed.is_attached, removed.is_default) == (method.id, False, False)
    assert await wallet.methods() == []
    assert await wallet.default_at_stripe() is None
    await wallet.check()


async def test_the_newest_of_the_others_becomes_the_default(wallet: Wallet) -> None:
    first = await wallet.attach()
    second = await wallet.attach("pm_card_mastercard")
    third = await wallet.attach("pm_card_amex")
    await wallet.detach(first)
    assert await wallet.default_at_stripe() == third.stripe_payment_method_id
    assert [(row.id, row.is_default) for row in await wallet.methods()] == [(third.id, True), (second.id, False)]
    await wallet.detach(second)
    assert await wallet.default_at_stripe() == third.stripe_payment_method_id
    await wallet.check()


async def test_removing_twice_answers_the_same_without_asking_stripe(wallet: Wallet) -> None:
    method = await wallet.attach()
    first = await wallet.detach(method)
    before = len(await wallet.sandbox.requests_to("/v1/"))
    again = await wallet.detach(method)
    assert (again.id, again.detached_at) == (first.id, first.detached_at)
    assert len(await wallet.sandbox.requests_to("/v1/")) == before


async def test_what_was_removed_at_stripe_meanwhile_is_removed(wallet: Wallet) -> None:
    method = await wallet.attach()
    await wallet.sandbox.post(f"/v1/payment_methods/{method.stripe_payment_method_id}/detach")
    assert not (await wallet.detach(method)).is_attached
    await wallet.check()


async def test_anothers_and_unknown_ones_are_not_there(wallet: Wallet) -> None:
    other = await wallet.another()
    theirs = await other.attach()
    for id_ in (theirs.id, uuid4()):
        with pytest.raises(NotFound) as refusal:
            await detach_payment_method(wallet.services, viewer=wallet.viewer, method_id=id_)
        assert refusal.value.path == ["input", "paymentMethodId"]
    assert [row.id for row in await other.methods()] == [theirs.id]
    await other.check()


@pytest.mark.parametrize("status", ["TRIALING", "ACTIVE", "PAST_DUE", "UNPAID", "PAUSED"])
async def test_the_only_method_of_a_subscription_stays_and_it_says_what_to_do(wallet: Wallet, status: str) -> None:
    method = await wallet.attach()
    await subscribe(wallet, status=BillingSubscriptionStatus(status))
    before = await Operation.all().count()
    with pytest.raises(InvalidState) as refusal:
        await wallet.detach(method)
    assert refusal.value.state == "NEEDED_BY_SUBSCRIPTION"
    assert "Save another payment method first, or cancel the subscription." in str(refusal.value)
    assert await Operation.all().count() == before
    assert [row.id for row in await wallet.methods()] == [method.id]
    await wallet.check()
    await wallet.attach("pm_card_mastercard")
    assert not (await wallet.detach(method)).is_attached
    await wallet.check()


@pytest.mark.parametrize(
    "values",
    [
        {"status": BillingSubscriptionStatus.CANCELED},
        {"status": BillingSubscriptionStatus.INCOMPLETE_EXPIRED},
        {"status": BillingSubscriptionStatus.ACTIVE, "cancel_at_period_end": True},
    ],
)
async def test_a_subscription_that_will_not_be_paid_again_needs_no_method(
    wallet: Wallet, values: dict[str, Any]
) -> None:
    method = await wallet.attach()
    await subscribe(wallet, **values)
    assert not (await wallet.detach(method)).is_attached
    await wallet.check()


async def test_of_the_last_two_removed_at_once_one_stays_with_the_subscription(wallet: Wallet) -> None:
    methods = [await wallet.attach(), await wallet.attach("pm_card_mastercard")]
    await subscribe(wallet)
    outcomes = await asyncio.gather(*(wallet.detach(method) for method in methods), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, DomainError)]
    assert [refusal.code for refusal in refused] == ["INVALID_STATE"]
    assert len(await wallet.methods()) == 1
    await wallet.check()


async def test_an_outage_at_stripe_is_not_the_end_of_it(wallet: Wallet) -> None:
    method = await wallet.attach()
    await wallet.sandbox.faults(reset_after=1)
    with pytest.raises(DomainError) as refusal:
        await wallet.detach(method)
    assert refusal.value.code == "STRIPE_UNAVAILABLE"
    await wallet.sandbox.heal()
    wallet.clock.forward(seconds=timedelta(minutes=1).total_seconds())
    assert not (await wallet.detach(method)).is_attached
    await wallet.recover()
    await wallet.check()
