"""Paying with what was saved: by its id, by its being the default, and while the guest is away."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.operations import Operation
from models.payments import Payment, PaymentStatus
from models.rsvps import Rsvp, RsvpStatus
from services.errors import CardDeclined, DomainError, Forbidden, InvalidInput, InvalidState, NotFound
from services.payments.actions import retry_payment
from services.payments.holds import expire_holds
from services.payments.pay import pay_for_activity
from services.viewer import Role, Viewer
from tests.support.shop import SERVICE, as_user
from tests.support.wallet import Wallet

if TYPE_CHECKING:
    from services.payments.result import PaymentResult
    from tests.support.shop import Shop


@pytest.fixture
def wallet(shop: Shop) -> Wallet:
    return Wallet(shop.services, shop.sandbox, shop.clock, shop.guest)


async def charge(shop: Shop, method: Any, *, viewer: Viewer = SERVICE, **values: Any) -> PaymentResult:
    """The platform charges a guest who is away."""
    given: dict[str, Any] = {
        "activity_id": shop.activity.id, "quantity": 1, "expected_amount": None, "capture_later": False,
        "save_payment_method": False, "return_url": None, "idempotency_key": str(uuid4()),
        "payer_external_id": shop.guest.external_id, "off_session": True,
    }  # fmt: skip
    return await pay_for_activity(shop.services, viewer=viewer, payment_method=method, **{**given, **values})


async def test_a_saved_method_is_paid_with_by_its_id_or_as_the_default(shop: Shop, wallet: Wallet) -> None:
    default, other = await wallet.attach(), await wallet.attach("pm_card_mastercard")
    for named, method in ((other.id, other), ("default", default), (default.stripe_payment_method_id, default)):
        payment = (await shop.pay(named)).payment  # type: ignore[arg-type]
        assert payment.status is PaymentStatus.SUCCEEDED
        assert payment.payment_method is not None
        assert payment.payment_method["stripe_id"] == method.stripe_payment_method_id
    await shop.check()


async def test_a_declined_payment_is_tried_again_with_a_saved_method(shop: Shop, wallet: Wallet) -> None:
    saved = await wallet.attach()
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    result = await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=declined.id, payment_method=saved.id, return_url=None,
        idempotency_key="again",
    )  # fmt: skip
    assert (result.error, result.payment.status) == (None, PaymentStatus.SUCCEEDED)
    await shop.check()


async def test_the_same_key_answers_the_same_when_the_method_is_gone_or_no_default_any_more(
    shop: Shop, wallet: Wallet
) -> None:
    saved = await wallet.attach()
    first = {key: (await shop.pay(key, idempotency_key=str(key))).payment for key in (saved.id, "default")}  # type: ignore[arg-type]
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    asked: dict[str, Any] = {
        "viewer": as_user(shop.guest), "payment_id": declined.id, "payment_method": saved.id, "return_url": None,
        "idempotency_key": "again",
    }  # fmt: skip
    await retry_payment(shop.services, **asked)
    await wallet.detach(saved)
    for key, payment in first.items():
        again = await shop.pay(key, idempotency_key=str(key))  # type: ignore[arg-type]
        assert (again.error, again.payment.id) == (None, payment.id)
    assert (await retry_payment(shop.services, **asked)).payment.status is PaymentStatus.SUCCEEDED
    await shop.check()


async def test_others_removed_and_missing_methods_are_refused_and_nothing_is_held(shop: Shop, wallet: Wallet) -> None:
    other = await wallet.another()
    theirs = await other.attach()
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    removed = await wallet.attach()
    await wallet.detach(removed)
    before = (await shop.seats_taken(), await Operation.all().count(), await Payment.all().count())
    refusals: dict[Any, type[DomainError]] = {
        theirs.id: NotFound, uuid4(): NotFound, removed.id: InvalidState, "default": InvalidState, "": InvalidInput,
        "tok_visa": InvalidInput, "4242424242424242": InvalidInput, str(removed.id): InvalidInput,
    }  # fmt: skip
    for method, error in refusals.items():
        with pytest.raises(error) as refusal:
            await shop.pay(method)
        assert refusal.value.path == ["input", "paymentMethod"]
        with pytest.raises(error):
            await retry_payment(
                shop.services, viewer=as_user(shop.guest), payment_id=declined.id, payment_method=method,
                return_url=None, idempotency_key="again",
            )  # fmt: skip
    assert (await shop.seats_taken(), await Operation.all().count(), await Payment.all().count()) == before


async def test_the_platform_charges_a_guest_who_is_away(shop: Shop, wallet: Wallet) -> None:
    saved = await wallet.attach()
    key = str(uuid4())
    for named in (saved.id, "default", saved.stripe_payment_method_id):
        result = await charge(shop, named, idempotency_key=f"{key}{named}")
        assert (result.error, result.payment.status) == (None, PaymentStatus.SUCCEEDED)
        assert result.payment.payer_id == shop.guest.id
        again = await charge(shop, named, idempotency_key=f"{key}{named}")
        assert again.payment.id == result.payment.id
    requests = await shop.sandbox.requests_to("/v1/payment_intents")
    assert "off_session=true" in requests[-1]["body"]
    assert await shop.seats_taken() == 3
    await shop.check()


async def test_only_the_platform_does_so_and_only_with_what_is_saved(shop: Shop, wallet: Wallet) -> None:
    saved = await wallet.attach()
    other = await wallet.another()
    theirs = await other.attach()
    before = (await shop.seats_taken(), await Operation.all().count())
    refusals: list[tuple[type[DomainError], str | None, dict[str, Any]]] = [
        (Forbidden, None, {"viewer": as_user(shop.guest)}),
        (Forbidden, None, {"viewer": as_user(shop.guest), "payer_external_id": None}),
        (Forbidden, None, {"viewer": as_user(shop.guest), "off_session": False}),
        (Forbidden, None, {"viewer": Viewer(Role.ADMIN, "operator")}),
        (Forbidden, None, {"payer_external_id": None, "off_session": False}),
        (InvalidInput, "payerExternalId", {"payer_external_id": None}),
        (InvalidInput, "offSession", {"off_session": False}),
        (InvalidInput, "savePaymentMethod", {"save_payment_method": True}),
        (NotFound, "payerExternalId", {"payer_external_id": "nobody"}),
        (NotFound, "paymentMethod", {"method": theirs.id}),
        (NotFound, "paymentMethod", {"method": theirs.stripe_payment_method_id}),
        (NotFound, "paymentMethod", {"method": "pm_card_visa"}),
        (InvalidState, "paymentMethod", {"payer_external_id": shop.host.external_id, "method": "default"}),
    ]
    for error, field, values in refusals:
        with pytest.raises(error) as refusal:
            await charge(shop, values.pop("method", saved.id), **values)
        assert refusal.value.path == (None if field is None else ["input", field])
    assert (await shop.seats_taken(), await Operation.all().count()) == before


async def test_where_the_bank_asks_for_the_guest_the_way_back_is_a_retry_and_3d_secure(
    shop: Shop, wallet: Wallet
) -> None:
    saved = await wallet.attach("pm_card_authenticationRequired")
    result = await charge(shop, saved.id)
    payment, error = result.payment, result.error
    assert isinstance(error, CardDeclined)
    assert (error.decline_code, error.retryable) == ("authentication_required", True)
    assert "try again and confirm" in str(error)
    assert (payment.status, payment.failure_decline_code) == (PaymentStatus.FAILED, "authentication_required")
    # The guest has a day to come back, and nobody else gets the seats meanwhile.
    rsvp = await Rsvp.get(id=payment.rsvp_id)
    assert rsvp.hold_expires_at is not None
    left = rsvp.hold_expires_at - shop.clock()
    assert timedelta(hours=23, minutes=59) < left <= timedelta(seconds=shop.services.settings.off_session_hold_s)
    shop.clock.forward(hours=23)
    assert await expire_holds(shop.services) == 0
    retried = await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=payment.id, payment_method=saved.id, return_url=None,
        idempotency_key="back",
    )  # fmt: skip
    assert (retried.error, retried.payment.status) == (None, PaymentStatus.REQUIRES_ACTION)
    assert retried.payment.client_secret is not None
    assert retried.payment.next_action is not None
    await shop.sandbox.authenticate(payment.stripe_payment_intent_id or "")
    await shop.deliver_all(payment)
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    await shop.check()


async def test_seats_of_a_guest_who_does_not_come_back_are_given_to_others(shop: Shop, wallet: Wallet) -> None:
    saved = await wallet.attach("pm_card_authenticationRequired")
    payment = (await charge(shop, saved.id)).payment
    shop.clock.forward(seconds=shop.services.settings.off_session_hold_s + 1)
    assert await expire_holds(shop.services) == 1
    assert (await shop.now(payment)).status is PaymentStatus.CANCELED
    assert await shop.seats_taken() == 0
    await shop.check()


async def test_a_card_that_was_set_up_for_it_is_charged_without_the_guest(shop: Shop, wallet: Wallet) -> None:
    saved = await wallet.attach("pm_card_authenticationRequiredSetupForOffSession")
    result = await charge(shop, saved.id)
    assert (result.error, result.payment.status) == (None, PaymentStatus.SUCCEEDED)


async def test_another_decline_is_the_guests_to_pay_otherwise(shop: Shop, wallet: Wallet) -> None:
    saved = await wallet.attach("pm_card_chargeCustomerFail")
    result = await charge(shop, saved.id)
    assert isinstance(result.error, CardDeclined)
    rsvp = await Rsvp.get(id=result.payment.rsvp_id)
    assert (rsvp.status, rsvp.hold_expires_at is not None) == (RsvpStatus.HELD, True)
    retried = await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=result.payment.id, payment_method="pm_card_visa",
        return_url=None, idempotency_key="otherwise",
    )  # fmt: skip
    assert retried.payment.status is PaymentStatus.SUCCEEDED
    await shop.check()
