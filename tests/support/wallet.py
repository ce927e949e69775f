"""A guest and what the guest has saved to pay with: as we have it, and as Stripe has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.operations import Operation, OperationStatus
from models.payment_methods import SavedPaymentMethod
from models.users import User
from services.payment_methods.attaching import attach_payment_method
from services.payment_methods.defaults import set_default_payment_method
from services.payment_methods.detaching import detach_payment_method
from services.payment_methods.reading import attached_methods
from services.viewer import Role, Viewer
from services.webhooks.handlers import handler_of
from services.webhooks.processing import process_due
from tests.support.rows import add_user
from tests.support.shop import receive_signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@dataclass(frozen=True)
class Wallet:
    """One guest's."""

    services: Services
    sandbox: Sandbox
    clock: Clock
    guest: User

    @classmethod
    async def open(cls, services: Services, sandbox: Sandbox, clock: Clock) -> Wallet:
        """A guest who is no customer yet."""
        async with services.database.transaction() as connection:
            return cls(services, sandbox, clock, await add_user(connection, stripe_customer_id=None))

    @property
    def viewer(self) -> Viewer:
        """The guest."""
        return Viewer(Role.USER, self.guest.external_id)

    async def another(self) -> Wallet:
        """Somebody else's."""
        return await Wallet.open(self.services, self.sandbox, self.clock)

    def through(self, services: Services) -> Wallet:
        """The same by way of other services."""
        return replace(self, services=services)

    async def attach(self, method: str = "pm_card_visa", *, default: bool = False) -> SavedPaymentMethod:
        """Save one."""
        return await attach_payment_method(
            self.services, viewer=self.viewer, stripe_payment_method_id=method, make_it_default=default
        )

    async def prefer(self, method: SavedPaymentMethod) -> SavedPaymentMethod:
        """Make it the default."""
        return await set_default_payment_method(self.services, viewer=self.viewer, method_id=method.id)

    async def detach(self, method: SavedPaymentMethod) -> SavedPaymentMethod:
        """Remove it."""
        return await detach_payment_method(self.services, viewer=self.viewer, method_id=method.id)

    async def made(self, kind: str = "visa") -> str:
        """A method as Stripe.js makes one, which nobody has yet."""
        method = await self.sandbox.post("/v1/payment_methods", {"type": "card", "card": {"token": f"tok_{kind}"}})
        return str(method["id"])

    async def methods(self) -> list[SavedPaymentMethod]:
        """What the guest finds."""
        return (await attached_methods(self.services, [self.guest.id]))[self.guest.id]

    async def customer(self) -> str:
        """The guest's at Stripe."""
        customer = (await User.get(id=self.guest.id)).stripe_customer_id
        assert customer is not None
        return customer

    async def customers_at_stripe(self) -> list[dict[str, Any]]:
        """All that were ever made for this guest."""
        customers = await self.sandbox.every("/v1/customers")
        return [customer for customer in customers if customer["metadata"].get("user_id") == str(self.guest.id)]

    async def default_at_stripe(self) -> str | None:
        """What Stripe pays invoices with."""
        customer = await self.sandbox.get(f"/v1/customers/{await self.customer()}")
        default: str | None = customer["invoice_settings"]["default_payment_method"]
        return default

    async def events(self) -> list[dict[str, Any]]:
        """Stripe's events of the guest's customer that somebody here handles, the oldest first."""
        customer = await self.customer()
        return [
            event
            for event in await self.sandbox.events()
            if handler_of(event["type"], "") is not None and customer in _customers_of(event)
        ]

    async def deliver(self, events: Sequence[dict[str, Any]] | None = None) -> None:
        """Stripe's webhooks come in, one after another, and are handled; all of them where nothing else is said."""
        for event in await self.events() if events is None else events:
            await receive_signed(self.services, event)
            await process_due(self.services)
        failed = await self.services.database.pool.fetch(
            "SELECT type, last_error FROM webhook_events WHERE last_error IS NOT NULL"
        )
        assert failed == []

    async def recover(self) -> None:
        """Let time pass until every operation has come to its end."""
        for _ in range(30):
            if not await Operation.filter(status=OperationStatus.RUNNING).exists():
                return
            self.clock.forward(seconds=700)
            await self.services.operations.recover(self.services)
        left = await Operation.filter(status=OperationStatus.RUNNING)
        raise AssertionError([(operation.kind, operation.attempts) for operation in left])

    async def check(self) -> None:
        """We have what Stripe has, and one default where there is anything."""
        theirs = await self.sandbox.every(f"/v1/customers/{await self.customer()}/payment_methods")
        ours = await self.methods()
        assert {method.stripe_payment_method_id for method in ours} == {method["id"] for method in theirs}
        defaults = [method.stripe_payment_method_id for method in ours if method.is_default]
        default = await self.default_at_stripe()
        assert defaults == ([] if default is None else [default])
        assert bool(ours) == bool(defaults)


def _customers_of(event: dict[str, Any]) -> set[str]:
    thing = event["data"]["object"]
    before = event["data"].get("previous_attributes") or {}
    named = {thing.get("customer"), before.get("customer"), thing["id"] if thing["object"] == "customer" else None}
    return {str(name) for name in named if name}
