"""What clients see of the tries at a payment, and of the account that it is on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from models.base import new_id
from models.payments import ChargeModel, PaymentAttempt, PaymentStatus
from models.rsvps import RsvpStatus
from models.sets import insert_rows
from schema.ids import global_id
from tests.resolvers.conftest import SERVICE, Api, Market, user
from tests.support.rows import add_payment, add_rsvp

if TYPE_CHECKING:
    from models.payments import Payment
    from models.sets import AnyConnection

FAILURE = """query($id: ID!) { payment(id: $id) { stripeAccountId failure {
    code declineCode retryable advice nextAttemptAt heldUntil
} } }"""
ATTEMPTS = """query($id: ID!) { payment(id: $id) { attempts {
    stripeChargeId status amount { amount } paymentMethod { brand last4 } failureCode declineCode message
} } }"""


async def failed(connection: AnyConnection, market: Market, **values: Any) -> Payment:
    """A payment that was declined, with its seats held for an hour."""
    until = datetime.now(UTC) + timedelta(hours=1)
    rsvp = await add_rsvp(
        connection, market.activity, market.guest, status=RsvpStatus.HELD, hold_expires_at=until
    )
    given: dict[str, Any] = {
        "activity_id": market.activity.id, "host_id": market.host.id, "rsvp_id": rsvp.id,
        "status": PaymentStatus.FAILED, "captured_minor": 0, "failure_code": "card_declined",
        "failure_decline_code": "insufficient_funds", "failure_message": "No.", "failure_retryable": True,
    }  # fmt: skip
    return await add_payment(connection, market.guest, **{**given, **values})


async def test_a_failure_says_what_helps_until_when_and_when_it_is_tried_again(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    again = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    payment = await failed(connection, market, next_attempt_at=again)
    seen = (await api.data(FAILURE, user("gustav"), id=global_id("Payment", payment.id)))["payment"]
    held_until = seen["failure"].pop("heldUntil")
    assert datetime.fromisoformat(held_until) > again
    assert datetime.fromisoformat(seen["failure"].pop("nextAttemptAt")) == again
    assert seen == {
        "stripeAccountId": None,
        "failure": {
            "code": "card_declined", "declineCode": "insufficient_funds", "retryable": True,
            "advice": ["OTHER_METHOD", "TRY_LATER"],
        },
    }  # fmt: skip


async def test_what_is_not_held_any_more_says_so(api: Api, market: Market, connection: AnyConnection) -> None:
    payment = await failed(
        connection, market, failure_decline_code="lost_card", failure_retryable=False, status=PaymentStatus.CANCELED
    )
    await connection.execute(
        "UPDATE rsvps SET status = 'EXPIRED', hold_expires_at = NULL WHERE id = $1", payment.rsvp_id
    )
    failure = (await api.data(FAILURE, user("gustav"), id=global_id("Payment", payment.id)))["payment"]["failure"]
    assert (failure["heldUntil"], failure["nextAttemptAt"]) == (None, None)
    assert failure["advice"] == ["OTHER_METHOD", "CONTACT_BANK"]


async def test_the_account_of_a_direct_charge_is_told(api: Api, market: Market, connection: AnyConnection) -> None:
    payment = await failed(connection, market, charge_model=ChargeModel.DIRECT, stripe_account="acct_of_the_host")
    for viewer in (user("gustav"), user("henriette"), SERVICE):
        seen = (await api.data(FAILURE, viewer, id=global_id("Payment", payment.id)))["payment"]
        assert seen["stripeAccountId"] == "acct_of_the_host"


async def test_each_try_is_visible_the_oldest_first(api: Api, market: Market, connection: AnyConnection) -> None:
    payment = await failed(connection, market)
    at = datetime.now(UTC)
    tried = [
        PaymentAttempt(
            id=new_id(), payment_id=payment.id, stripe_charge_id=f"ch_{number}", status=status, amount_minor=2000,
            currency="USD", payment_method={"stripe_id": "pm_1", "type": "card", "brand": "visa", "last4": "4242"},
            failure_code=code, decline_code=decline, stripe_created_at=at + timedelta(seconds=number),
        )
        for number, status, code, decline in (
            (2, "succeeded", None, None), (1, "failed", "card_declined", "insufficient_funds"),
        )
    ]  # fmt: skip
    await insert_rows(connection, PaymentAttempt, tried)
    attempts = (await api.data(ATTEMPTS, user("gustav"), id=global_id("Payment", payment.id)))["payment"]["attempts"]
    assert [attempt["stripeChargeId"] for attempt in attempts] == ["ch_1", "ch_2"]
    first, second = attempts
    assert first == {
        "stripeChargeId": "ch_1", "status": "failed", "amount": {"amount": "20.00"},
        "paymentMethod": {"brand": "visa", "last4": "4242"}, "failureCode": "card_declined",
        "declineCode": "insufficient_funds",
        "message": "There is not enough money on the card. Please use another card, or try again later.",
    }  # fmt: skip
    assert (second["failureCode"], second["message"]) == (None, None)
