"""Saving payment methods, removing them, and choosing the default."""

from __future__ import annotations

from typing import Annotated

import strawberry

from resolvers.arguments import input_path
from schema.context import Info
from schema.described import mutation, object_type
from schema.errors import payload
from schema.ids import require_id
from schema.payment_methods import (
    AttachPaymentMethodInput,
    AttachPaymentMethodPayload,
    CreateSetupIntentInput,
    CreateSetupIntentPayload,
    DetachPaymentMethodInput,
    DetachPaymentMethodPayload,
    PaymentMethod,
    SetDefaultPaymentMethodInput,
    SetDefaultPaymentMethodPayload,
)
from services.payment_methods import attaching, defaults, detaching, setup_intents

WHICH = "Which of the viewer's."


@object_type
class PaymentMethodMutations:
    """What guests do with what they pay with."""

    @mutation
    @payload(CreateSetupIntentPayload)
    async def create_setup_intent(
        self, info: Info, input: Annotated[CreateSetupIntentInput, strawberry.argument(description="The key.")]
    ) -> CreateSetupIntentPayload:
        """Let Stripe.js save a method of the viewer's for later, without a payment."""
        secret = await setup_intents.create_setup_intent(
            info.context.services, viewer=info.context.require_viewer(), idempotency_key=input.idempotency_key
        )
        return CreateSetupIntentPayload(client_secret=secret)

    @mutation
    @payload(AttachPaymentMethodPayload)
    async def attach_payment_method(
        self, info: Info, input: Annotated[AttachPaymentMethodInput, strawberry.argument(description="What to save.")]
    ) -> AttachPaymentMethodPayload:
        """Save a method of the viewer's that Stripe.js made. The same again answers the same."""
        row = await attaching.attach_payment_method(
            info.context.services,
            viewer=info.context.require_viewer(),
            stripe_payment_method_id=input.stripe_payment_method_id,
            make_it_default=input.make_default,
        )
        return AttachPaymentMethodPayload(payment_method=PaymentMethod.of(row))

    @mutation
    @payload(DetachPaymentMethodPayload)
    async def detach_payment_method(
        self, info: Info, input: Annotated[DetachPaymentMethodInput, strawberry.argument(description=WHICH)]
    ) -> DetachPaymentMethodPayload:
        """Remove a saved method for good; of the default the newest of the others takes the place."""
        row = await detaching.detach_payment_method(
            info.context.services,
            viewer=info.context.require_viewer(),
            method_id=require_id("PaymentMethod", input.payment_method_id, input_path("paymentMethodId")),
        )
        return DetachPaymentMethodPayload(payment_method=PaymentMethod.of(row))

    @mutation
    @payload(SetDefaultPaymentMethodPayload)
    async def set_default_payment_method(
        self, info: Info, input: Annotated[SetDefaultPaymentMethodInput, strawberry.argument(description=WHICH)]
    ) -> SetDefaultPaymentMethodPayload:
        """Pay the viewer's subscriptions with this method from now on; failed ones are tried with it at once.

        A subscription that was begun with a card other than the default keeps that card until a renewal with it fails.
        """
        row = await defaults.set_default_payment_method(
            info.context.services,
            viewer=info.context.require_viewer(),
            method_id=require_id("PaymentMethod", input.payment_method_id, input_path("paymentMethodId")),
        )
        return SetDefaultPaymentMethodPayload(payment_method=PaymentMethod.of(row))
