"""Payments that are refused: nothing moves, Stripe hears nothing, and the key is free again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.money import Money
from models.operations import Operation
from models.payments import Payment, PaymentStatus
from models.rsvps import Rsvp
from services.errors import (
    DomainError,
    Forbidden,
    HostNotReady,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
    NotFound,
    PriceChanged,
    SoldOut,
)
from services.payments.pay import pay_for_activity
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def refused(shop: Shop, expected: type[DomainError], **values: Any) -> DomainError:
    """The refusal, after which everything is as it was and the key can still be used."""
    before = len(await shop.sandbox.requests_to("/v1/"))
    with pytest.raises(expected) as error:
        await shop.pay(**values)
    assert len(await shop.sandbox.requests_to("/v1/")) == before
    assert await Payment.all().count() == await Rsvp.all().count() == 0
    assert await Operation.all().count() == 0
    assert await shop.seats_taken() == shop.activity.seats_taken
    assert await shop.services.database.pool.fetchval("SELECT count(*) FROM events") == 0
    return error.value


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": 10**9}, "quantity"),
        ({"payment_method": "4242424242424242"}, "paymentMethod"),
        ({"payment_method": ""}, "paymentMethod"),
        ({"payment_method": "pm_" + "x" * 300}, "paymentMethod"),
        ({"payment_method": "pm_1/../../refunds"}, "paymentMethod"),
        ({"payment_method": "pm_1\n"}, "paymentMethod"),
        ({"return_url": "https://evil.example/"}, "returnUrl"),
        ({"return_url": "https://front.example.evil.example/"}, "returnUrl"),
        ({"return_url": "https://front.example@evil.example/"}, "returnUrl"),
        ({"return_url": "javascript:alert(1)"}, "returnUrl"),
        ({"idempotency_key": ""}, "idempotencyKey"),
        ({"idempotency_key": "k" * 300}, "idempotencyKey"),
        ({"idempotency_key": "a\x00b"}, "idempotencyKey"),
    ],
)
async def test_a_value_that_cannot_be_is_named(shop: Shop, values: dict[str, Any], field: str) -> None:
    error = await refused(shop, InvalidInput, **values)
    assert error.path == ["input", field]


async def test_a_card_number_is_never_repeated(shop: Shop) -> None:
    error = await refused(shop, InvalidInput, payment_method="4242424242424242")
    assert "4242" not in str(error)
    assert "4242" not in str(error.to_record())


async def test_an_unknown_activity_is_not_found(shop: Shop) -> None:
    await refused(shop, NotFound, activity_id=uuid4())


async def test_more_than_what_is_left_is_sold_out_and_says_how_many_are(shop: Shop) -> None:
    await shop.services.database.pool.execute("UPDATE activities SET capacity = 3, seats_taken = 1")
    shop.activity.seats_taken = 1
    error = await refused(shop, SoldOut, quantity=3)
    assert isinstance(error, SoldOut)
    assert error.seats_left == 2


async def test_a_price_that_the_guest_did_not_expect_is_shown(shop: Shop) -> None:
    error = await refused(shop, PriceChanged, quantity=2, expected_amount=Money(3900, "USD"))
    assert isinstance(error, PriceChanged)
    assert error.price == Money(4000, "USD")
    await refused(shop, PriceChanged, expected_amount=Money(2000, "EUR"))
    payment = await shop.paid(quantity=2, expected_amount=Money(4000, "USD"))
    assert payment.status is PaymentStatus.SUCCEEDED


async def test_a_sum_that_no_charge_can_be_is_refused(shop: Shop) -> None:
    await shop.services.database.pool.execute("UPDATE activities SET price_minor = 200000")
    error = await refused(shop, InvalidInput, quantity=1000)
    assert error.path == ["input", "quantity"]


async def test_a_sum_below_what_stripe_charges_is_refused_before_stripe_hears_of_it(shop: Shop) -> None:
    await shop.services.database.pool.execute("UPDATE activities SET price_minor = 49")
    error = await refused(shop, InvalidInput)
    assert "0.50 USD" in str(error)


async def test_a_token_of_somebody_unknown_here_cannot_pay(shop: Shop) -> None:
    with pytest.raises(InvalidState):
        await pay_for_activity(
            shop.services, viewer=Viewer(Role.USER, "nobody"), activity_id=shop.activity.id, quantity=1,
            payment_method="pm_card_visa", expected_amount=None, capture_later=False, save_payment_method=False,
            return_url=None, idempotency_key="k",
        )  # fmt: skip
    assert await Operation.all().count() == 0


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ADMIN])
async def test_services_and_admins_do_not_pay(shop: Shop, role: Role) -> None:
    with pytest.raises(Forbidden):
        await pay_for_activity(
            shop.services, viewer=Viewer(role, shop.guest.external_id), activity_id=shop.activity.id, quantity=1,
            payment_method="pm_card_visa", expected_amount=None, capture_later=False, save_payment_method=False,
            return_url=None, idempotency_key="k",
        )  # fmt: skip
    assert await Operation.all().count() == 0


HINDERED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "without transfers": ({"capabilities": {"transfers": "inactive"}}, ["capability.transfers"]),
    "restricted": (
        {
            "capabilities": {"transfers": "inactive"},
            "requirements": [
                {"field": "individual.verification.document", "urgency": "PAST_DUE", "error": None, "deadline": None}
            ],
        },
        ["individual.verification.document"],
    ),
    "a standard account that may not charge": (
        {"type": ConnectAccountType.STANDARD, "capabilities": {"transfers": "active", "card_payments": "pending"}},
        ["capability.card_payments"],
    ),
    "not made yet": ({"stripe_account_id": None}, ["account_missing"]),
}


@pytest.mark.parametrize("hindrance", sorted(HINDERED))
async def test_a_host_who_cannot_be_paid_is_not_and_it_says_why(shop: Shop, hindrance: str) -> None:
    values, requirements = HINDERED[hindrance]
    await ConnectAccount.filter(id=shop.account.id).update(**values)
    error = await refused(shop, HostNotReady)
    assert isinstance(error, HostNotReady)
    assert error.requirements == requirements


async def test_a_host_without_an_account_or_who_left_cannot_be_paid(shop: Shop) -> None:
    await ConnectAccount.filter(id=shop.account.id).update(deauthorized_at=datetime.now(UTC))
    await refused(shop, HostNotReady)
    await ConnectAccount.filter(id=shop.account.id).delete()
    await refused(shop, HostNotReady)


async def test_a_key_that_was_refused_can_be_used_with_other_arguments(shop: Shop) -> None:
    key = str(uuid4())
    await refused(shop, NotFound, activity_id=uuid4(), idempotency_key=key)
    payment = await shop.paid(idempotency_key=key)
    assert payment.status is PaymentStatus.SUCCEEDED


async def test_a_payment_method_that_stripe_does_not_know_is_refused_and_gives_the_seat_back(shop: Shop) -> None:
    key = str(uuid4())
    result = await shop.pay("pm_1NotThere", idempotency_key=key)
    assert isinstance(result.error, InvalidInput)
    assert result.error.path == ["input", "paymentMethod"]
    assert result.payment.status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == 0
    again = await shop.pay("pm_1NotThere", idempotency_key=key)
    assert isinstance(again.error, InvalidInput)
    with pytest.raises(IdempotencyKeyReused):
        await shop.pay(idempotency_key=key)
    await shop.check()


async def test_a_host_whom_stripe_restricted_unheard_of_is_refused_with_stripe_s_reason(shop: Shop) -> None:
    await shop.sandbox.act(f"accounts/{shop.account.stripe_account_id}/restrict")
    result = await shop.pay()
    assert isinstance(result.error, HostNotReady)
    assert result.payment.status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == 0
    await shop.check()
