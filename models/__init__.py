"""The rows, their legal moves and the arithmetic of money: no I/O but the SQL that stands beside its model."""

from __future__ import annotations

from typing import Any

MODULES = (
    "models.activities",
    "models.activity_cancellations",
    "models.audit",
    "models.balances",
    "models.billing_reviews",
    "models.connect_accounts",
    "models.disputes",
    "models.dunning",
    "models.events",
    "models.invoices",
    "models.ledger",
    "models.operations",
    "models.payment_methods",
    "models.payments",
    "models.payouts",
    "models.plans",
    "models.reconciliations",
    "models.refunds",
    "models.rsvps",
    "models.subscriptions",
    "models.transfers",
    "models.users",
    "models.webhook_events",
)


def tortoise_config(connection: dict[str, Any] | str) -> dict[str, Any]:
    """Tortoise's configuration for these models on one connection (a URL, or engine and credentials)."""
    return {
        "connections": {"default": connection},
        "apps": {
            "models": {"models": list(MODULES), "default_connection": "default", "migrations": "models.migrations"}
        },
        "use_tz": True,
        "timezone": "UTC",
    }
