"""Every operation that the sandbox knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.resources import (
    account_links,
    accounts,
    application_fees,
    balance,
    balance_transactions,
    capabilities,
    charges,
    customers,
    events,
    external_accounts,
    payment_intents,
    payment_methods,
    persons,
    refunds,
    setup_intents,
    transfers,
    webhook_endpoints,
)

if TYPE_CHECKING:
    from sandbox.operations import Operation

OPERATIONS: Final[tuple[Operation, ...]] = (
    *account_links.OPERATIONS,
    *accounts.OPERATIONS,
    *application_fees.OPERATIONS,
    *balance.OPERATIONS,
    *balance_transactions.OPERATIONS,
    *capabilities.OPERATIONS,
    *charges.OPERATIONS,
    *customers.OPERATIONS,
    *events.OPERATIONS,
    *external_accounts.OPERATIONS,
    *payment_intents.OPERATIONS,
    *payment_methods.OPERATIONS,
    *persons.OPERATIONS,
    *refunds.OPERATIONS,
    *setup_intents.OPERATIONS,
    *transfers.OPERATIONS,
    *webhook_endpoints.OPERATIONS,
)
