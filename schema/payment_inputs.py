"""What is sent in to make payments and to act on them, and what is answered."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import strawberry

from schema.described import input_type, object_type
from schema.errors import Payload, user_errors
from schema.idempotency import KEY
from schema.money import Money, MoneyInput
from schema.payments import Payment
from services.errors import InvalidInput
from services.payments.charging import Split

if TYPE_CHECKING:
    from services.fees import FeeBreakdown as Fees
    from services.payments.result import PaymentResult

METHOD = (
    "A Stripe payment method id (pm_…), as Stripe.js gives it, the id of a saved PaymentMethod, or `default` for the"
    " saved one that is."
)
RETURN_URL = "Where a redirect (3-D Secure, a bank's page) brings the guest back to; allow-listed."


@input_type
class SplitInput:
    """One host's share of the hosts' part."""

    host_external_id: str = strawberry.field(description="The platform's own id of the host.")
    share: Decimal = strawberry.field(description='The part of the whole: "0.25".')

    def to_split(self) -> Split:
        """As the services take it."""
        return Split(self.host_external_id, self.share)


@input_type
class PayForActivityInput:
    """Seats, and what to pay for them with."""

    activity_id: strawberry.ID = strawberry.field(description="The activity.")
    quantity: int = strawberry.field(default=1, description="How many seats, 1 to 1,000.")
    payment_method: str = strawberry.field(description=METHOD)
    expected_amount: MoneyInput | None = strawberry.field(
        default=None,
        description="Refused with PriceChanged where the price is no longer this. The price is always the server's.",
    )
    fx_quote_id: strawberry.ID | None = strawberry.field(
        default=None, description="Pay in another currency than the activity's. Refused: there are no quotes yet."
    )
    save_payment_method: bool = strawberry.field(
        default=False, description="Let the guest's method be used again later."
    )
    capture_later: bool = strawberry.field(default=False, description="Authorize now, capture later.")
    splits: list[SplitInput] | None = strawberry.field(
        default=None,
        description="Share the hosts' part among up to 20 hosts; the shares add up to 1. A host who cannot take money"
        " yet is owed their part until they can.",
    )
    return_url: str | None = strawberry.field(default=None, description=RETURN_URL)
    payer_external_id: str | None = strawberry.field(
        default=None,
        description="The platform's own id of a guest who is away, with `offSession`. For the role service alone.",
    )
    off_session: bool = strawberry.field(
        default=False,
        description="The guest is away: a saved method is charged. Where the bank wants the guest to confirm, the"
        " payment is declined (`authentication_required`), the seats are held for longer, and the guest's own"
        " `retryPayment` leads to 3-D Secure. For the role service alone.",
    )
    idempotency_key: str = strawberry.field(description=KEY)

    def refuse_what_cannot_be_done(self) -> None:
        """Refuse what the contract names and Paydesk cannot do, rather than leave it out of a payment without a word.

        Raises: InvalidInput.
        """
        if self.fx_quote_id is not None:
            raise InvalidInput("fxQuoteId", "Payments can be made in the activity's own currency alone.")


@input_type
class RetryPaymentInput:
    """A payment that was declined or not finished, and another way to pay it."""

    payment_id: strawberry.ID = strawberry.field(description="The payment.")
    payment_method: str = strawberry.field(description=METHOD)
    return_url: str | None = strawberry.field(default=None, description=RETURN_URL)
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class CapturePaymentInput:
    """An authorized payment, and how much of it to take."""

    payment_id: strawberry.ID = strawberry.field(description="The payment.")
    amount: MoneyInput | None = strawberry.field(
        default=None, description="How much; all of it where nothing is said. There is one capture: the rest is let go."
    )
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class CancelPaymentInput:
    """A payment that has taken no money yet."""

    payment_id: strawberry.ID = strawberry.field(description="The payment.")
    idempotency_key: str = strawberry.field(description=KEY)


@object_type
class PaymentPayload(Payload):
    """What became of it. A declined payment is here together with its error."""

    payment: Payment | None = strawberry.field(default=None, description="The payment as it is now.")

    @classmethod
    def of(cls, result: PaymentResult) -> PaymentPayload:
        """From the service's answer."""
        return cls(payment=Payment.of(result.payment), errors=user_errors(result.error))


@object_type
class FeeBreakdown:
    """Who would get what of a payment."""

    amount: Money = strawberry.field(description="What the guest pays.")
    platform_fee: Money = strawberry.field(description="The platform's part.")
    host_amount: Money = strawberry.field(description="The host's part.")

    @classmethod
    def of(cls, fees: Fees) -> FeeBreakdown:
        """From the service's answer."""
        return cls(
            amount=Money.of(fees.amount),
            platform_fee=Money.of(fees.platform_fee),
            host_amount=Money.of(fees.host_amount),
        )
