"""What the tests of invoices begin with: customers who can pay, drafts, and time that goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sandbox.driver import Driver

START = 1_800_000_000  # 2027-01-15 08:00:00 UTC
HOUR = 3_600
DAY = 86_400


async def payer(driver: Driver, method: str | None = "pm_card_visa", *, on_clock: bool = False, **fields: Any) -> str:
    """A customer with a default payment method, perhaps on a clock of its own that stands at `START`."""
    if on_clock:
        clock = await driver.v1.test_helpers.test_clocks.create_async({"frozen_time": START})
        fields["test_clock"] = clock.id
    customer = await driver.v1.customers.create_async({"email": "guest@example.com", **fields})
    if method is not None:
        await give_method(driver, customer.id, method)
    return str(customer.id)


async def give_method(driver: Driver, customer: str, method: str) -> str:
    """Attach a test method and make it the customer's default."""
    attached = await driver.v1.payment_methods.attach_async(method, {"customer": customer})
    await driver.v1.customers.update_async(customer, {"invoice_settings": {"default_payment_method": attached.id}})
    return str(attached.id)


async def drafted(driver: Driver, customer: str, *amounts: int, currency: str = "usd", **fields: Any) -> Any:
    """A draft with a line for each amount."""
    invoice = await driver.v1.invoices.create_async({"customer": customer, "currency": currency, **fields})  # type: ignore[typeddict-item]
    for amount in amounts:
        await driver.v1.invoice_items.create_async(
            {"customer": customer, "invoice": invoice.id, "amount": amount, "description": f"For {amount}"}
        )
    return await driver.v1.invoices.retrieve_async(invoice.id)


async def finalized(driver: Driver, customer: str, *amounts: int, **fields: Any) -> Any:
    """An open invoice that is not collected yet."""
    draft = await drafted(driver, customer, *amounts, **fields)
    return await driver.v1.invoices.finalize_invoice_async(draft.id)


async def intent_of(driver: Driver, invoice: str) -> Any:
    """The payment intent of an invoice's latest payment."""
    payments = await driver.v1.invoice_payments.list_async(
        {"invoice": invoice, "expand": ["data.payment.payment_intent"]}
    )
    return payments.data[0].payment.payment_intent


async def advance(driver: Driver, customer: str, seconds: int) -> int:
    """Let time go by for a customer on a clock; when it is then."""
    clock = (await driver.v1.customers.retrieve_async(customer, {"expand": ["test_clock"]})).test_clock
    then: int = clock.frozen_time + seconds
    await driver.v1.test_helpers.test_clocks.advance_async(clock.id, {"frozen_time": then})
    await driver.control("POST", f"test_clocks/{clock.id}/settled")
    return then


async def told(driver: Driver, *ids: str) -> list[str]:
    """The types of the events about objects, the oldest first, without what only says that something changed."""
    return [event.type for event in await driver.events_of(*ids) if event.type != "invoice.updated"]
