"""Requests to Stripe about transfers to hosts, and what is taken back of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


def create_transfer(
    *, amount: int, currency: str, destination: str, transfer_group: str, source_transaction: str | None,
    metadata: Mapping[str, str],
) -> StripeRequest:  # fmt: skip
    """ "Create a transfer", in Stripe's wire integers.

    Args:
        source_transaction: the charge that it comes from, so that it need not wait for the money to be available; None
            for a transfer from what is.
    """
    return StripeRequest.build(
        "post",
        "/v1/transfers",
        {
            "amount": amount,
            "currency": currency,
            "destination": destination,
            "transfer_group": transfer_group,
            "source_transaction": source_transaction,
            "metadata": dict(metadata),
        },
    )


def list_transfers(*, transfer_group: str) -> StripeRequest:
    """ "List all transfers" of a group, which is strongly consistent."""
    return StripeRequest.build("get", "/v1/transfers", {"transfer_group": transfer_group, "limit": 100})


def create_transfer_reversal(transfer: str, *, amount: int, metadata: Mapping[str, str]) -> StripeRequest:
    """ "Create a transfer reversal", in the transfer's currency and Stripe's wire integers."""
    return StripeRequest.build(
        "post", f"/v1/transfers/{transfer}/reversals", {"amount": amount, "metadata": dict(metadata)}
    )


def list_transfer_reversals(transfer: str) -> StripeRequest:
    """ "List all reversals" of a transfer, which is strongly consistent."""
    return StripeRequest.build("get", f"/v1/transfers/{transfer}/reversals", {"limit": 100})
