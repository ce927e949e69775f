"""Paying: every outcome of the card, and exactly what it leaves behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from models.ledger import LedgerAccountKind
from models.money import Money
from models.operations import Operation, OperationStatus
from models.payments import Payment, PaymentAllocation, PaymentAttempt, PaymentStatus
from models.rsvps import RsvpStatus
from services.errors import CardDeclined, IdempotencyKeyReused
from tests.support.rows import add_activity, add_user
from tests.support.shop import Shop, as_user, pool_fetch

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def test_a_card_that_works_pays_the_host_and_the_platform_its_fee(shop: Shop) -> None:
    result = await shop.pay(quantity=2)
    payment = result.payment
    assert result.error is None
    assert payment.status is PaymentStatus.SUCCEEDED
    assert (payment.amount, payment.captured) == (Money(4000, "USD"), Money(4000, "USD"))
    assert (payment.platform_fee, payment.host_amount) == (Money(400, "USD"), Money(3600, "USD"))
    assert payment.payment_method is not None
    assert payment.payment_method["last4"] == "4242"
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    assert await shop.seats_taken() == 2
    await shop.check()


async def test_the_charge_at_stripe_is_a_destination_charge_with_our_ids(shop: Shop) -> None:
    payment = await shop.paid()
    intent = await shop.intent(payment)
    assert intent["metadata"]["payment_id"] == str(payment.id)
    assert intent["application_fee_amount"] == 200
    assert intent["transfer_data"]["destination"] == shop.account.stripe_account_id
    assert intent["on_behalf_of"] is None
    assert intent["customer"] is not None
    assert intent["statement_descriptor_suffix"] == "Wine tasting"
    assert intent["latest_charge"]["id"] == payment.stripe_charge_id


async def test_what_stripe_credited_is_kept(shop: Shop) -> None:
    payment = await shop.paid()
    balance = (await shop.intent(payment))["latest_charge"]["balance_transaction"]
    assert payment.balance_transaction_id == balance["id"]
    assert (payment.settlement_minor, payment.settlement_currency) == (balance["amount"], "USD")
    assert (payment.host_credit_minor, payment.host_credit_currency) == (2000, "USD")
    assert (payment.fee_credit_minor, payment.fee_credit_currency) == (200, "USD")


async def test_each_pot_holds_its_part(shop: Shop) -> None:
    await shop.paid()
    pots = await pool_fetch(
        shop.services,
        "SELECT a.kind, a.owner_id, sum(p.amount_minor)::int AS minor FROM ledger_postings p"
        " JOIN ledger_accounts a ON a.id = p.account_id GROUP BY 1, 2",
    )
    assert {(LedgerAccountKind(pot["kind"]), pot["owner_id"]): pot["minor"] for pot in pots} == {
        (LedgerAccountKind.GUEST_CLEARING, None): -2000,
        (LedgerAccountKind.PLATFORM_BALANCE, None): 0,
        (LedgerAccountKind.HOST_BALANCE, shop.host.id): 1800,
        (LedgerAccountKind.APPLICATION_FEES, None): 200,
    }


async def test_the_host_s_part_and_the_try_are_rows_of_their_own(shop: Shop) -> None:
    payment = await shop.paid()
    [allocation] = await PaymentAllocation.all()
    assert (allocation.payment_id, allocation.host_id) == (payment.id, shop.host.id)
    assert (allocation.amount_minor, allocation.transferred_minor, allocation.owed_minor) == (1800, 1800, 0)
    assert allocation.stripe_transfer_id
    [attempt] = await PaymentAttempt.all()
    assert (attempt.stripe_charge_id, attempt.status) == (payment.stripe_charge_id, "succeeded")


async def test_a_guest_becomes_a_customer_once_however_many_payments_come_first(shop: Shop) -> None:
    results = await asyncio.gather(*(shop.pay() for _ in range(5)))
    assert {result.payment.status for result in results} == {PaymentStatus.SUCCEEDED}
    intents = [await shop.intent(result.payment) for result in results]
    assert len({intent["customer"] for intent in intents}) == 1
    await shop.check()


@pytest.mark.parametrize(
    ("country", "currency", "price"),
    [("DE", "EUR", 2000), ("JP", "JPY", 1500), ("GB", "GBP", 999), ("US", "ISK", 2500), ("US", "KWD", 12340)],
)
async def test_any_currency_reaches_stripe_as_its_wire_says(
    services: Services, sandbox: Sandbox, clock: Clock, country: str, currency: str, price: int
) -> None:
    shop = await Shop.open(services, sandbox, clock, country=country, currency=currency, price_minor=price)
    payment = await shop.paid(quantity=3)
    intent = await shop.intent(payment)
    assert intent["amount"] == Money(price * 3, currency).wire
    assert intent["currency"] == currency.lower()
    assert intent["on_behalf_of"] == (None if country == "US" else shop.account.stripe_account_id)
    assert payment.platform_fee + payment.host_amount == payment.amount
    await shop.check()


DECLINES = {
    "pm_card_chargeDeclined": ("generic_decline", True),
    "pm_card_chargeDeclinedInsufficientFunds": ("insufficient_funds", True),
    "pm_card_chargeDeclinedLostCard": ("lost_card", False),
    "pm_card_chargeDeclinedStolenCard": ("stolen_card", False),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", False),
    "pm_card_chargeDeclinedIncorrectCvc": ("incorrect_cvc", True),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", True),
    "pm_card_chargeDeclinedFraudulent": ("fraudulent", False),
    "pm_card_radarBlock": ("fraudulent", False),
}


@pytest.mark.parametrize("payment_method", sorted(DECLINES))
async def test_a_decline_says_why_in_words_and_keeps_the_seat(shop: Shop, payment_method: str) -> None:
    result = await shop.pay(payment_method)
    payment = result.payment
    code, retryable = DECLINES[payment_method]
    assert isinstance(result.error, CardDeclined)
    assert (result.error.decline_code, result.error.retryable) == (code, retryable)
    assert result.error.message.endswith(".")
    assert "_" not in result.error.message
    assert payment.status is PaymentStatus.FAILED
    assert (payment.failure_decline_code, payment.failure_retryable) == (code, retryable)
    assert (payment.captured_minor, payment.refunded_minor) == (0, 0)
    assert (await shop.rsvp(payment)).status is RsvpStatus.HELD
    assert await shop.seats_taken() == 1
    assert await pool_fetch(shop.services, "SELECT FROM ledger_transactions") == []
    await shop.check()


async def test_the_same_key_answers_the_same_decline_and_asks_stripe_nothing(shop: Shop) -> None:
    key = str(uuid4())
    first = await shop.pay("pm_card_chargeDeclinedInsufficientFunds", idempotency_key=key)
    again = await shop.pay("pm_card_chargeDeclinedInsufficientFunds", idempotency_key=key)
    assert again.payment.id == first.payment.id
    assert isinstance(again.error, CardDeclined)
    assert isinstance(first.error, CardDeclined)
    assert (again.error.decline_code, again.error.message) == (first.error.decline_code, first.error.message)
    assert await Payment.all().count() == 1
    assert len(await shop.sandbox.every("/v1/charges", {"payment_intent": first.payment.stripe_payment_intent_id})) == 1


async def test_the_same_key_with_other_arguments_is_refused_and_moves_nothing(shop: Shop) -> None:
    key = str(uuid4())
    payment = await shop.paid(idempotency_key=key)
    with pytest.raises(IdempotencyKeyReused):
        await shop.pay(idempotency_key=key, quantity=2)
    assert await Payment.all().count() == 1
    assert (await shop.now(payment)).version == payment.version
    assert await shop.seats_taken() == 1


async def test_another_guest_may_use_the_same_key(shop: Shop) -> None:
    key = str(uuid4())
    other = await shop.new_guest()
    payments = [await shop.paid(idempotency_key=key), await shop.paid(idempotency_key=key, guest=other)]
    assert payments[0].id != payments[1].id
    assert await shop.seats_taken() == 2


async def test_two_hundred_calls_with_one_key_are_one_charge_and_two_hundred_equal_answers(shop: Shop) -> None:
    key = str(uuid4())
    results = await asyncio.gather(*(shop.pay(idempotency_key=key) for _ in range(200)))
    answers = {(r.payment.id, r.payment.status, r.payment.version, r.payment.captured_minor, r.error) for r in results}
    assert len(answers) == 1
    intent = results[0].payment.stripe_payment_intent_id
    assert len(await shop.sandbox.every("/v1/charges", {"payment_intent": intent})) == 1
    succeeded = [e["type"] for e in await shop.events_of(results[0].payment) if e["type"].startswith("payment_intent")]
    assert succeeded == ["payment_intent.succeeded"]
    assert await shop.seats_taken() == 1
    await shop.check()


async def test_two_hundred_calls_with_one_key_and_a_declined_card_are_one_decline(shop: Shop) -> None:
    key = str(uuid4())
    results = await asyncio.gather(*(shop.pay("pm_card_chargeDeclined", idempotency_key=key) for _ in range(200)))
    assert {(r.payment.id, r.payment.status, str(r.error)) for r in results} == {
        (results[0].payment.id, PaymentStatus.FAILED, str(results[0].error))
    }
    await shop.check()


async def test_five_hundred_guests_for_a_hundred_seats_fill_them_and_no_more(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, capacity=100)
    async with services.database.transaction() as connection:
        guests = [await add_user(connection, stripe_customer_id=None) for _ in range(500)]
    outcomes = await asyncio.gather(*(shop.pay(guest=guest) for guest in guests), return_exceptions=True)
    refused = [type(outcome).__name__ for outcome in outcomes if isinstance(outcome, BaseException)]
    assert refused == ["SoldOut"] * 400
    assert await shop.seats_taken() == 100
    assert await Payment.filter(status=PaymentStatus.SUCCEEDED).count() == await Payment.all().count() == 100
    assert await Operation.filter(status=OperationStatus.SUCCEEDED, kind="pay_for_activity").count() == 100
    await shop.check()


async def test_groups_take_no_more_seats_than_there_are(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    shop = await Shop.open(services, sandbox, clock, capacity=10)
    outcomes = await asyncio.gather(
        *(shop.pay(quantity=quantity) for quantity in (4, 4, 4, 3, 2, 1, 1)), return_exceptions=True
    )
    paid = [outcome.payment for outcome in outcomes if not isinstance(outcome, BaseException)]
    seats = [(await shop.rsvp(payment)).quantity for payment in paid]
    assert sum(seats) == await shop.seats_taken() <= 10
    await shop.check()


async def test_guests_of_many_activities_in_one_batch_do_not_disturb_each_other(shop: Shop) -> None:
    async with shop.services.database.transaction() as connection:
        activities = [await add_activity(connection, shop.host, capacity=1) for _ in range(10)]
    results = await asyncio.gather(
        *(shop.pay(activity_id=activity.id) for activity in activities for _ in range(2)), return_exceptions=True
    )
    assert sum(1 for result in results if not isinstance(result, BaseException)) == 10
    await shop.check()


async def test_a_saved_card_is_kept_with_the_customer(shop: Shop) -> None:
    payment = await shop.paid(save_payment_method=True)
    customer = (await shop.intent(payment))["customer"]
    methods = await shop.sandbox.every(f"/v1/customers/{customer}/payment_methods")
    assert [method["card"]["last4"] for method in methods] == ["4242"]


async def test_the_hold_lasts_as_long_as_the_setting_says(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    expires = (await shop.rsvp(payment)).hold_expires_at
    assert expires is not None
    assert timedelta(seconds=840) < expires - shop.clock() <= timedelta(seconds=900)


async def test_every_change_is_an_event_in_order_and_an_audit_entry(shop: Shop) -> None:
    payment = await shop.paid()
    events = await pool_fetch(shop.services, "SELECT * FROM events WHERE subject_id = $1 ORDER BY version", payment.id)
    assert [(event["version"], event["previous_status"], event["status"]) for event in events] == [
        (1, None, "PENDING"), (2, "PENDING", "SUCCEEDED"),
    ]  # fmt: skip
    assert {(event["payer_id"], event["host_id"], event["activity_id"]) for event in events} == {
        (shop.guest.id, shop.host.id, shop.activity.id)
    }
    positions = [event["position"] for event in events]
    assert positions == sorted(positions)
    assert payment.version == 2
    audit = await pool_fetch(shop.services, "SELECT * FROM audit_entries WHERE subject_id = $1 ORDER BY id", payment.id)
    assert [(entry["action"], entry["actor"]) for entry in audit] == [
        ("payment.created", as_user(shop.guest).caller), ("payment.succeeded", as_user(shop.guest).caller),
    ]  # fmt: skip


async def test_nothing_secret_is_written_into_events_or_the_audit(shop: Shop) -> None:
    result = await shop.pay("pm_card_authenticationRequired")
    secret = result.payment.client_secret
    assert secret
    rows = await pool_fetch(shop.services, "SELECT e::text FROM events e UNION ALL SELECT a::text FROM audit_entries a")
    assert len(rows) >= 4
    assert not any(secret in row[0] for row in rows)
