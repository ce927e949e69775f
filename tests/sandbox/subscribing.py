"""What the tests of subscriptions begin with: prices, subscribers, and what their invoices say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.sandbox.invoicing import advance

if TYPE_CHECKING:
    from tests.sandbox.driver import Driver

START = 1_800_000_000  # 2027-01-15 08:00:00 UTC, where `invoicing.payer` puts its clocks
MONTH = 31 * 86_400  # January's
FEBRUARY = 28 * 86_400
HALF = START + MONTH // 2


def at(text: str) -> int:
    """Seconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


async def price(
    driver: Driver, amount: int = 1_000, interval: str = "month", *, name: str = "Gold", currency: str = "usd",
    count: int = 1, **fields: Any,
) -> str:  # fmt: skip
    """A recurring price of a product of its own."""
    params: Any = {
        "currency": currency, "unit_amount": amount, "recurring": {"interval": interval, "interval_count": count},
        "product_data": {"name": name}, **fields,
    }  # fmt: skip
    return str((await driver.v1.prices.create_async(params)).id)


async def subscribe(driver: Driver, customer: str, *prices: str, **params: Any) -> Any:
    """A subscription to prices, one of each unless `items` says otherwise, with its latest invoice."""
    items = params.pop("items", None) or [{"price": one} for one in prices]
    return await driver.v1.subscriptions.create_async(
        {"customer": customer, "items": items, "expand": ["latest_invoice"], **params}  # type: ignore[typeddict-item]
    )


async def change(driver: Driver, subscription: Any, **params: Any) -> Any:
    """An update, with the latest invoice."""
    id_ = subscription if isinstance(subscription, str) else subscription.id
    return await driver.v1.subscriptions.update_async(id_, {"expand": ["latest_invoice"], **params})  # type: ignore[typeddict-item]


async def fetch(driver: Driver, subscription: Any) -> Any:
    """A subscription as it is now, with its latest invoice."""
    id_ = subscription if isinstance(subscription, str) else subscription.id
    return await driver.v1.subscriptions.retrieve_async(id_, {"expand": ["latest_invoice"]})


def first(subscription: Any) -> Any:
    """The first item."""
    return subscription["items"].data[0]


def period(subscription: Any) -> tuple[int, int]:
    """The first item's period."""
    item = first(subscription)
    return item.current_period_start, item.current_period_end


def lines(invoice: Any) -> list[tuple[str, int]]:
    """What is on an invoice: descriptions and amounts."""
    return [(line.description, line.amount) for line in invoice.lines.data]


async def invoices(driver: Driver, subscription: Any) -> list[Any]:
    """A subscription's invoices, the oldest first."""
    page = await driver.v1.invoices.list_async({"subscription": subscription.id, "limit": 100})
    return page.data[::-1]


async def pending(driver: Driver, customer: str) -> list[tuple[str, int]]:
    """What waits for a customer's next invoice, the oldest first."""
    page = await driver.v1.invoice_items.list_async({"customer": customer, "pending": True})
    return [(str(item.description), item.amount) for item in page.data[::-1]]


async def go_to(driver: Driver, customer: str, second: int) -> None:
    """Let a customer's clock come to a second, in steps that a clock may make."""
    while True:
        clock = (await driver.v1.customers.retrieve_async(customer, {"expand": ["test_clock"]})).test_clock
        left = second - clock.frozen_time
        if left <= 0:
            return
        await advance(driver, customer, min(left, 27 * 86_400))


async def told_of(driver: Driver, subscription: Any) -> list[str]:
    """The types of the events about a subscription, without their prefix, the oldest first."""
    events = await driver.events_of(subscription if isinstance(subscription, str) else subscription.id)
    return [event.type.removeprefix("customer.subscription.") for event in events]
