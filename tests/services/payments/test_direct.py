"""Charges on the host's own account: the method is cloned, the host is charged for, the platform gets its fee."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.ledger import LedgerAccountKind
from models.money import Money
from models.operations import Operation, OperationStep
from models.payments import ChargeModel, Payment, PaymentAllocation, PaymentStatus
from models.rsvps import RsvpStatus
from services.errors import CardDeclined, HostNotReady, InvalidInput
from services.payments.actions import cancel_payment, capture_payment, retry_payment
from services.payments.holds import expire_holds
from services.payments.pay import pay_for_activity
from tests.support.shop import SERVICE, Shop, as_user, pool_fetch
from tests.support.wallet import Wallet

if TYPE_CHECKING:
    from services.core import Services
    from services.payments.result import PaymentResult
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def shop(services: Services, sandbox: Sandbox, clock: Clock) -> Shop:
    """A host with an account of Stripe's own dashboard."""
    return await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD)


def wallet_of(shop: Shop) -> Wallet:
    """What the guest has saved."""
    return Wallet(shop.services, shop.sandbox, shop.clock, shop.guest)


def account_of(shop: Shop) -> str:
    """The host's at Stripe."""
    assert shop.account.stripe_account_id is not None
    return shop.account.stripe_account_id


async def retry(shop: Shop, payment: Payment, method: str, **values: Any) -> PaymentResult:
    """The guest tries another method."""
    return await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=payment.id, payment_method=method, return_url=None,
        idempotency_key=values.pop("idempotency_key", str(uuid4())),
    )  # fmt: skip


async def pots(shop: Shop) -> dict[LedgerAccountKind, int]:
    """What is where."""
    found = await pool_fetch(
        shop.services,
        "SELECT a.kind, sum(p.amount_minor)::int AS minor FROM ledger_postings p"
        " JOIN ledger_accounts a ON a.id = p.account_id GROUP BY 1",
    )
    return {LedgerAccountKind(pot["kind"]): pot["minor"] for pot in found if pot["minor"]}


async def test_the_host_is_charged_for_and_the_platform_gets_its_fee(shop: Shop) -> None:
    payment = await shop.paid(quantity=2)
    assert (payment.charge_model, payment.stripe_account) == (ChargeModel.DIRECT, account_of(shop))
    assert (payment.captured, payment.platform_fee) == (Money(4000, "USD"), Money(400, "USD"))
    assert payment.payment_method is not None
    assert payment.payment_method["last4"] == "4242"
    assert (payment.fee_credit_minor, payment.host_credit_minor) == (400, None)
    assert await pots(shop) == {
        LedgerAccountKind.GUEST_CLEARING: -4000, LedgerAccountKind.HOST_BALANCE: 3600,
        LedgerAccountKind.APPLICATION_FEES: 400,
    }  # fmt: skip
    allocation = await PaymentAllocation.get(payment_id=payment.id)
    assert (allocation.amount_minor, allocation.transferred_minor, allocation.owed_minor) == (3600, 3600, 0)
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    await shop.check()


async def test_the_charge_is_on_the_host_s_account_with_our_ids_and_no_customer_of_ours(shop: Shop) -> None:
    payment = await shop.paid()
    intent = await shop.intent(payment)
    assert intent["metadata"]["payment_id"] == str(payment.id)
    assert (intent["application_fee_amount"], intent["transfer_data"]) == (200, None)
    assert (intent["customer"], intent["on_behalf_of"], intent["setup_future_usage"]) == (None, None, None)
    assert intent["latest_charge"]["id"] == payment.stripe_charge_id
    assert payment.balance_transaction_id == intent["latest_charge"]["balance_transaction"]["id"]
    steps = await OperationStep.all().order_by("id")
    assert [(step.step, step.stripe_account) for step in steps] == [
        ("clone_method", account_of(shop)), ("create_payment_intent", account_of(shop)),
    ]  # fmt: skip


async def test_a_saved_method_is_cloned_for_each_payment_and_stays_the_guest_s(shop: Shop) -> None:
    wallet = wallet_of(shop)
    saved = await wallet.attach()
    first = await shop.paid(saved.stripe_payment_method_id)
    second = await shop.paid("default")
    for payment in (first, second):
        assert payment.payment_method is not None
        assert payment.payment_method["stripe_id"] != saved.stripe_payment_method_id
    assert [method.id for method in await wallet.methods()] == [saved.id]
    await shop.check()


async def test_a_guest_who_is_away_is_charged_with_what_is_saved(shop: Shop) -> None:
    await wallet_of(shop).attach()
    result = await pay_for_activity(
        shop.services, viewer=SERVICE, activity_id=shop.activity.id, quantity=1, payment_method="default",
        expected_amount=None, capture_later=False, save_payment_method=False, return_url=None,
        idempotency_key=str(uuid4()), payer_external_id=shop.guest.external_id, off_session=True,
    )  # fmt: skip
    assert (result.payment.status, result.error) == (PaymentStatus.SUCCEEDED, None)
    await shop.check()


async def test_a_method_that_is_to_be_saved_is_the_guest_s_before_it_is_cloned(shop: Shop) -> None:
    wallet = wallet_of(shop)
    made = await wallet.made()
    await shop.paid(made, save_payment_method=True)
    [saved] = await wallet.methods()
    assert (saved.stripe_payment_method_id, saved.is_default) == (made, True)
    await shop.paid("default")
    await shop.check()


async def test_a_method_that_is_not_saved_is_nobody_s_afterwards(shop: Shop) -> None:
    wallet = wallet_of(shop)
    made = await wallet.made()
    await shop.paid(made)
    assert await wallet.methods() == []
    result = await shop.pay(made)
    assert result.error is not None
    assert result.payment.status is PaymentStatus.CANCELED
    await shop.check()


async def test_somebody_else_s_saved_method_is_no_way_to_pay(shop: Shop) -> None:
    theirs = await (await wallet_of(shop).another()).attach()
    result = await shop.pay(theirs.stripe_payment_method_id)
    assert isinstance(result.error, InvalidInput)
    assert result.payment.status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == 0
    assert await pots(shop) == {}
    assert await shop.sandbox.every("/v1/payment_intents", account=account_of(shop)) == []


async def test_a_declined_card_can_be_replaced_and_each_try_has_its_clone(shop: Shop) -> None:
    declined = await shop.pay("pm_card_chargeDeclined")
    assert isinstance(declined.error, CardDeclined)
    assert declined.payment.status is PaymentStatus.FAILED
    again = await retry(shop, declined.payment, "pm_card_chargeDeclinedInsufficientFunds")
    assert isinstance(again.error, CardDeclined)
    key = str(uuid4())
    paid = await retry(shop, declined.payment, "pm_card_visa", idempotency_key=key)
    assert (paid.payment.status, paid.error) == (PaymentStatus.SUCCEEDED, None)
    assert paid.payment.stripe_payment_intent_id == declined.payment.stripe_payment_intent_id
    replayed = await retry(shop, declined.payment, "pm_card_visa", idempotency_key=key)
    assert replayed.payment.id == paid.payment.id
    assert await OperationStep.filter(step="clone_method").count() == 3
    await shop.check()


async def test_a_retry_with_a_method_that_cannot_be_cloned_leaves_the_payment_as_it_is(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    theirs = await (await wallet_of(shop).another()).attach()
    result = await retry(shop, payment, theirs.stripe_payment_method_id)
    assert isinstance(result.error, InvalidInput)
    assert result.payment.status is PaymentStatus.FAILED
    assert await shop.seats_taken() == 1
    await shop.check()


async def test_the_guest_confirms_with_the_bank_on_the_host_s_account(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_authenticationRequired")).payment
    assert payment.status is PaymentStatus.REQUIRES_ACTION
    assert payment.client_secret is not None
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await shop.check()


@pytest.mark.parametrize("minor", [None, 1500])
async def test_what_was_authorized_is_captured_with_its_fee(shop: Shop, minor: int | None) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    assert payment.status is PaymentStatus.AUTHORIZED
    amount = None if minor is None else Money(minor, "USD")
    result = await capture_payment(
        shop.services, viewer=SERVICE, payment_id=payment.id, amount=amount, idempotency_key=str(uuid4())
    )
    captured = minor or 2000
    assert (result.payment.captured_minor, result.payment.platform_fee_minor) == (captured, captured // 10)
    assert (await pots(shop))[LedgerAccountKind.HOST_BALANCE] == captured - captured // 10
    await shop.deliver_all(payment)
    await shop.check()


async def test_what_is_unpaid_is_canceled_on_the_host_s_account(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    result = await cancel_payment(shop.services, viewer=SERVICE, payment_id=payment.id, idempotency_key="1")
    assert (result.payment.status, result.error) == (PaymentStatus.CANCELED, None)
    assert await shop.seats_taken() == 0
    other = (await shop.pay("pm_card_chargeDeclined")).payment
    shop.clock.forward(seconds=shop.services.settings.hold_s + 1)
    assert await expire_holds(shop.services) == 1
    assert (await shop.now(other)).status is PaymentStatus.CANCELED
    assert (await shop.rsvp(other)).status is RsvpStatus.EXPIRED
    await shop.check()


async def test_a_host_in_another_country_is_charged_for_in_their_own_way(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(
        services, sandbox, clock, type_=ConnectAccountType.STANDARD, country="FR", currency="EUR", price_minor=9999
    )
    payment = await shop.paid()
    assert payment.on_behalf_of is None
    assert (payment.settlement_currency, payment.settlement_minor) == ("EUR", 9999)
    assert await pots(shop) == {
        LedgerAccountKind.GUEST_CLEARING: -9999, LedgerAccountKind.HOST_BALANCE: 8999,
        LedgerAccountKind.APPLICATION_FEES: 1000,
    }  # fmt: skip
    await shop.check()


async def test_a_host_who_may_not_charge_is_not_charged_for(shop: Shop) -> None:
    await ConnectAccount.filter(id=shop.account.id).update(capabilities={"card_payments": "inactive"})
    with pytest.raises(HostNotReady):
        await shop.pay()
    assert await Payment.all().count() == 0
    # Stripe knows it before we do.
    await ConnectAccount.filter(id=shop.account.id).update(capabilities={"card_payments": "active"})
    await shop.sandbox.act(f"accounts/{account_of(shop)}/restrict")
    result = await shop.pay()
    assert isinstance(result.error, HostNotReady)
    assert result.payment.status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == 0
    assert await pots(shop) == {}


async def test_the_same_key_answers_the_same_payment(shop: Shop) -> None:
    key = str(uuid4())
    first, second = await shop.paid(idempotency_key=key), await shop.paid(idempotency_key=key)
    assert first.id == second.id
    assert await Operation.all().count() == 1
    await shop.check()
