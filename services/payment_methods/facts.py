"""What Stripe says of customers and what they have saved (the Customer and PaymentMethod objects)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.payment_method_requests import list_payment_methods, retrieve_customer
from services.stripe_gateway import StripeInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.payment_methods import SavedPaymentMethod
    from services.core import Services
    from services.rate_limiter import Priority


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """One attached method: tokens and what people know it by."""

    id: str
    type: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    country: str | None
    fingerprint: str | None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> MethodFacts:
        """From a PaymentMethod of any type: each type has its details under its own name."""
        details = body.get(body["type"]) or {}
        return cls(
            id=body["id"],
            type=body["type"],
            brand=details.get("brand"),
            last4=details.get("last4"),
            exp_month=details.get("exp_month"),
            exp_year=details.get("exp_year"),
            country=details.get("country"),
            fingerprint=details.get("fingerprint"),
        )

    def apply(self, method: SavedPaymentMethod) -> None:
        """Write them to a row; a card that was renewed may be made known again when it is about to expire."""
        if (method.exp_month, method.exp_year) != (self.exp_month, self.exp_year):
            method.expiry_noticed_at = None
        method.type = self.type
        method.brand, method.last4 = self.brand, self.last4
        method.exp_month, method.exp_year = self.exp_month, self.exp_year
        method.country, method.fingerprint = self.country, self.fingerprint


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """A customer's methods, the newest first, and which of them is the default; `is_gone` where it was deleted."""

    id: str
    methods: Sequence[MethodFacts] = ()
    default: str | None = None
    is_gone: bool = False


async def fetch_customer(services: Services, customer: str, *, priority: Priority) -> CustomerFacts:
    """The customer as Stripe has it now.

    Raises: StripeError where Stripe cannot be reached.
    """
    try:
        body = (await services.stripe.send(retrieve_customer(customer), priority=priority)).body
        if body.get("deleted"):
            return CustomerFacts(customer, is_gone=True)
        listed = services.stripe.list_all(list_payment_methods(customer), priority=priority)
        methods = [MethodFacts.parse(method) async for method in listed]
    except StripeInvalidRequest as error:
        if error.code != "resource_missing":
            raise
        return CustomerFacts(customer, is_gone=True)
    default = body["invoice_settings"]["default_payment_method"]
    # The list is the younger of the two: a default that it lacks was detached in between.
    known = {method.id for method in methods}
    return CustomerFacts(customer, methods, default if default in known else None)
