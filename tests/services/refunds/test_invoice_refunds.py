from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.events import EventSubject
from models.money import Money
from models.payments import Payment, PaymentStatus
from models.refunds import Refund, RefundReason, RefundStatus
from services.errors import Forbidden, InvalidState, NotFound, RefundExceedsBalance
from services.history import histories
from services.movements import movements_of
from services.payments.actions import cancel_payment, capture_payment
from services.payments.holds import expire_holds
from services.refunds.creation import refund_payment
from services.refunds.preview import refund_preview
from services.viewer import Role, Viewer
from tests.support.billing import MONTH, Subscriber
from tests.support.rows import add_user
from tests.support.shop import SERVICE, as_user

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

ADMIN = Viewer(Role.ADMIN, "operator")


@pytest.fixture
async def subscriber(services: Services, sandbox: Sandbox, clock: Clock) -> Subscriber:
    """Pays with a Visa."""
    return await Subscriber.begin(services, sandbox, clock)


async def paid(subscriber: Subscriber, method: str | None = None) -> Payment:
    """The first month of 10 USD, paid for."""
    if method is not None:
        await subscriber.give(method)
    await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    [payment] = await subscriber.payments()
    return payment


async def refund(
    subscriber: Subscriber, payment: Payment, minor: int | None = None, viewer: Viewer = SERVICE, **values: Any
) -> Refund:
    return await refund_payment(
        subscriber.services, viewer=viewer, payment_id=payment.id,
        amount=None if minor is None else Money(minor, payment.currency), reason=values.pop("reason", None),
        idempotency_key=values.pop("key", str(uuid4())),
    )  # fmt: skip


async def test_all_of_it_comes_out_of_what_the_platform_took_in(subscriber: Subscriber) -> None:
    payment = await paid(subscriber)
    made = await refund(subscriber, payment, reason=RefundReason.REQUESTED_BY_CUSTOMER)
    assert (made.status, made.amount_minor) == (RefundStatus.SUCCEEDED, 1000)
    assert (made.fee_minor, made.host_minor, made.platform_minor) == (1000, 0, 0)
    assert (made.transfer_reversed_minor, made.application_fee_refunded_minor) == (0, 0)
    now = await Payment.get(id=payment.id)
    assert (now.status, now.refunded_minor, now.fee_refunded_minor) == (PaymentStatus.REFUNDED, 1000, 1000)
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == await subscriber.balance("GUEST_CLEARING") == 0
    await subscriber.deliver()
    await subscriber.check()


async def test_parts_of_it_can_be_given_back_but_no_more_than_there_is(subscriber: Subscriber) -> None:
    payment = await paid(subscriber)
    await refund(subscriber, payment, 333)
    await refund(subscriber, payment, 333, ADMIN)
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 334
    with pytest.raises(RefundExceedsBalance):
        await refund(subscriber, payment, 335)
    await refund(subscriber, payment, 334)
    assert (await Payment.get(id=payment.id)).status is PaymentStatus.REFUNDED
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 0
    await subscriber.check()


async def test_the_same_key_gives_back_once(subscriber: Subscriber) -> None:
    payment = await paid(subscriber)
    one, again = [await refund(subscriber, payment, 400, key="k") for _ in range(2)]
    assert one.id == again.id
    assert (await Payment.get(id=payment.id)).refunded_minor == 400
    await subscriber.check()


async def test_what_a_refund_takes_is_the_platform_s_in_the_preview_too(subscriber: Subscriber) -> None:
    payment = await paid(subscriber)
    preview = await refund_preview(
        subscriber.services, viewer=SERVICE, payment_id=payment.id, amount=Money(400, "USD")
    )
    assert (preview.guest_receives.minor, preview.host_pays.minor, preview.platform_pays.minor) == (400, 0, 400)


async def test_the_guest_may_not_and_others_do_not_see_it(subscriber: Subscriber) -> None:
    payment = await paid(subscriber)
    async with subscriber.services.database.transaction() as connection:
        other = await add_user(connection)
    with pytest.raises(Forbidden, match="Only the platform may do this"):
        await refund(subscriber, payment, viewer=as_user(subscriber.user))
    with pytest.raises(NotFound):
        await refund(subscriber, payment, viewer=as_user(other))
    assert await Refund.all().count() == 0
    await subscriber.check()


async def test_one_that_fails_later_gives_the_income_back(subscriber: Subscriber) -> None:
    payment = await paid(subscriber, "pm_card_refundFail")
    made = await refund(subscriber, payment, 600)
    await subscriber.sandbox.act(f"refunds/{made.stripe_refund_id}/fail")
    await subscriber.deliver()
    assert (await Refund.get(id=made.id)).status is RefundStatus.FAILED
    now = await Payment.get(id=payment.id)
    assert (now.status, now.refunded_minor, now.refundable.minor) == (PaymentStatus.SUCCEEDED, 0, 1000)
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 1000
    await subscriber.check()


async def test_one_made_in_the_dashboard_comes_in_even_before_its_payment_is_known(subscriber: Subscriber) -> None:
    await subscriber.subscribe(await subscriber.plan())
    [intent] = await subscriber.sandbox.every("/v1/payment_intents", {"customer": subscriber.customer})
    await subscriber.sandbox.post("/v1/refunds", {"payment_intent": intent["id"], "amount": 250})
    events = await subscriber.events()
    await subscriber.deliver([event for event in events if event["type"] == "refund.created"])
    [payment] = await subscriber.payments()
    assert (payment.status, payment.refunded_minor) == (PaymentStatus.PARTIALLY_REFUNDED, 250)
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 750
    await subscriber.deliver(events)
    await subscriber.check()


async def test_a_payment_of_an_invoice_is_neither_captured_nor_canceled_nor_does_it_hold_seats(
    subscriber: Subscriber,
) -> None:
    await subscriber.subscribe(await subscriber.plan())
    await subscriber.give("pm_card_chargeCustomerFail")
    await subscriber.let_pass(MONTH + 7200)
    await subscriber.deliver()
    failed = (await subscriber.payments())[-1]
    assert failed.status is PaymentStatus.FAILED
    with pytest.raises(InvalidState, match="Cancel the subscription instead"):
        await cancel_payment(
            subscriber.services, viewer=as_user(subscriber.user), payment_id=failed.id, idempotency_key="c"
        )
    with pytest.raises(InvalidState, match="Only an authorized payment can be captured"):
        await capture_payment(
            subscriber.services, viewer=SERVICE, payment_id=failed.id, amount=None, idempotency_key="c"
        )
    with pytest.raises(InvalidState, match="Only a payment that has been made can be refunded"):
        await refund(subscriber, failed)
    subscriber.clock.forward(hours=1000)
    assert await expire_holds(subscriber.services) == 0
    assert (await Payment.get(id=failed.id)).version == failed.version
    await subscriber.check()


async def test_its_history_and_movements_tell_all_of_it(subscriber: Subscriber) -> None:
    payment = await paid(subscriber)
    await refund(subscriber, payment, 400)
    pages = await histories(subscriber.services, EventSubject.PAYMENT, [payment.id], first=10, after=None)
    told = [(change.event.previous_status, change.event.status) for change in pages[payment.id].items]
    assert told[:2] == [(None, "PENDING"), ("PENDING", "SUCCEEDED")]
    assert told[-1] == ("SUCCEEDED", "PARTIALLY_REFUNDED")
    assert all(change.event.payer_id == subscriber.user.id for change in pages[payment.id].items)
    moved = (await movements_of(subscriber.services, [payment.id]))[payment.id]
    held: dict[str, int] = {}
    for movement in moved:
        held[movement.account] = held.get(movement.account, 0) + movement.amount.minor
    assert held == {"guest_clearing": -600, "platform_balance": 0, "subscription_income": 600, "refunds": 0}
    causes = {movement.cause.split(":")[0] for movement in moved}
    assert causes == {"charge", "invoice_income", "refund", "invoice_income_refund", "refund_paid"}
