"""Paying a failed invoice by hand: with any method, by its payer alone, once for each key."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from models.dunning import DunningStatus
from models.invoices import InvoiceStatus
from models.payment_methods import SavedPaymentMethod
from models.payments import Payment, PaymentStatus
from models.subscriptions import BillingSubscriptionStatus
from services.errors import (
    CardDeclined,
    Forbidden,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
    NotFound,
    StripeUnavailable,
)
from services.payments.actions import retry_payment
from services.viewer import Role, Viewer
from tests.services.dunning.conftest import in_debt
from tests.support.rows import add_user
from tests.support.shop import as_user

if TYPE_CHECKING:
    from services.core import Services
    from tests.services.dunning.conftest import Debtor
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def untouched(debtor: Debtor, charges: int) -> None:
    assert len(await debtor.charges()) == charges
    assert (await debtor.invoice()).status is InvoiceStatus.OPEN
    assert (await debtor.dunning()).status is DunningStatus.TRYING


async def test_a_guest_pays_with_a_card_that_is_not_saved_yet(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    result = await debtor.retry("pm_card_mastercard")
    assert (result.error, result.payment.status) == (None, PaymentStatus.SUCCEEDED)
    assert (result.payment.payment_method or {})["brand"] == "mastercard"
    assert (await debtor.subscription()).status is BillingSubscriptionStatus.ACTIVE
    await debtor.guest.deliver()
    brands = {method.brand for method in await SavedPaymentMethod.filter(user_id=debtor.guest.user.id)}
    assert brands == {"visa", "mastercard"}
    await debtor.rests()


async def test_a_guest_pays_with_a_card_that_is_saved(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    await debtor.behaves_as("pm_card_visa")
    saved = await SavedPaymentMethod.get(user_id=debtor.guest.user.id)
    payment = (await Payment.filter(payer_id=debtor.guest.user.id).order_by("-id"))[0]
    result = await retry_payment(
        debtor.services, viewer=as_user(debtor.guest.user), payment_id=payment.id, payment_method=saved.id,
        return_url=None, idempotency_key=str(uuid4()),
    )  # fmt: skip
    assert (result.error, result.payment.status) == (None, PaymentStatus.SUCCEEDED)
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    await debtor.guest.deliver()
    await debtor.rests()


async def test_a_decline_is_told_and_the_same_key_answers_the_same(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    key = str(uuid4())
    result = await debtor.retry("pm_card_chargeCustomerFail", key=key)
    assert isinstance(result.error, CardDeclined)
    assert result.payment.status is PaymentStatus.FAILED
    count = len(await debtor.charges())
    again = await debtor.retry("pm_card_chargeCustomerFail", key=key)
    assert isinstance(again.error, CardDeclined)
    assert again.error.to_record() == result.error.to_record()
    await untouched(debtor, count)
    with pytest.raises(IdempotencyKeyReused):
        await debtor.retry("pm_card_visa", key=key)
    await untouched(debtor, count)
    await debtor.guest.deliver()
    await debtor.rests()


async def test_the_bank_s_question_is_no_refusal(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    result = await debtor.retry("pm_card_authenticationRequired")
    assert (result.error, result.payment.status) == (None, PaymentStatus.REQUIRES_ACTION)
    assert result.payment.next_action == {"type": "use_stripe_sdk", "redirect_url": None}
    assert result.payment.client_secret is not None
    await debtor.guest.sandbox.authenticate(str(result.payment.stripe_payment_intent_id))
    await debtor.guest.deliver()
    assert (await debtor.invoice()).status is InvoiceStatus.PAID
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    await debtor.rests()


async def test_only_its_payer_pays_an_invoice(debtor: Debtor, services: Services) -> None:
    await debtor.renewal_fails()
    count = len(await debtor.charges())
    async with services.database.transaction() as connection:
        stranger = await add_user(connection)
    with pytest.raises(NotFound):
        await debtor.retry(viewer=as_user(stranger))
    for role in (Role.SERVICE, Role.ADMIN):
        with pytest.raises(Forbidden):
            await debtor.retry(viewer=Viewer(role, "platform"))
    with pytest.raises(NotFound):
        await retry_payment(
            services, viewer=as_user(debtor.guest.user), payment_id=uuid4(), payment_method="pm_card_visa",
            return_url=None, idempotency_key=str(uuid4()),
        )  # fmt: skip
    await untouched(debtor, count)


async def test_what_cannot_pay_is_refused_and_nothing_is_charged(
    debtor: Debtor, services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    await debtor.renewal_fails()
    count = len(await debtor.charges())
    with pytest.raises(InvalidInput):
        await debtor.retry("4242424242424242")
    other = await in_debt(services, sandbox, clock)
    result = await debtor.retry(other.method)
    assert isinstance(result.error, InvalidInput)
    theirs = await SavedPaymentMethod.get(stripe_payment_method_id=other.method)
    payment = (await Payment.filter(payer_id=debtor.guest.user.id).order_by("-id"))[0]
    with pytest.raises(NotFound):
        await retry_payment(
            services, viewer=as_user(debtor.guest.user), payment_id=payment.id, payment_method=theirs.id,
            return_url=None, idempotency_key=str(uuid4()),
        )  # fmt: skip
    with pytest.raises(InvalidInput):
        await retry_payment(
            services, viewer=as_user(debtor.guest.user), payment_id=payment.id, payment_method="pm_card_visa",
            return_url="https://elsewhere.example/", idempotency_key=str(uuid4()),
        )  # fmt: skip
    await untouched(debtor, count)


async def test_what_is_paid_is_not_paid_again(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    await debtor.retry()
    count = len(await debtor.charges())
    with pytest.raises(InvalidState):
        await debtor.retry()
    assert len(await debtor.charges()) == count


async def test_the_first_payment_of_a_subscription_is_tried_again_in_the_same_way(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    debtor = await in_debt(services, sandbox, clock)
    await debtor.behaves_as("pm_card_chargeCustomerFail")
    row = await debtor.guest.subscribe(await debtor.guest.plan(2000))
    await debtor.guest.deliver()
    assert (await debtor.guest.now(row)).status is BillingSubscriptionStatus.INCOMPLETE
    result = await debtor.retry()
    assert (result.error, result.payment.status) == (None, PaymentStatus.SUCCEEDED)
    assert (await debtor.guest.now(row)).status is BillingSubscriptionStatus.ACTIVE
    await debtor.guest.deliver()
    await debtor.rests()


async def test_where_stripe_is_away_the_payment_goes_on_by_itself(debtor: Debtor) -> None:
    await debtor.renewal_fails()
    await debtor.guest.sandbox.faults(reset_after=1.0)
    with pytest.raises(StripeUnavailable):
        await debtor.retry()
    await debtor.guest.sandbox.heal()
    debtor.guest.clock.forward(seconds=120)
    await debtor.services.operations.recover(debtor.services)
    assert (await debtor.invoice()).status is InvoiceStatus.PAID
    assert sum(charge["paid"] for charge in await debtor.charges()) == 2
    await debtor.guest.deliver()
    await debtor.rests()
