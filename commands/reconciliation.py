"""Comparing what is kept here with Stripe."""

from __future__ import annotations

import typer
from rich.console import Console

from commands.reach import RefusedError, command_settings, progress_bar, reach, run
from services.billing_review import ReviewUnderWayError, review
from services.stripe_gateway import StripeError
from services.wiring import open_services


def reconcile_billing() -> None:
    """Compare every live subscription with Stripe and put right what differs; exit 1 where anything did.

    It goes on with a review that was broken off, and can be broken off itself.
    """
    settings = reach(command_settings())

    async def work() -> int:
        async with open_services(settings) as services:
            with progress_bar(Console(stderr=True)) as shown:
                task = shown.add_task("subscriptions", total=None)
                try:
                    found = await review(
                        services,
                        progress=lambda now: shown.update(task, total=now.total, completed=now.checked),
                    )
                except ReviewUnderWayError:
                    raise RefusedError("A review is under way in another process.") from None
                except StripeError as error:
                    raise RefusedError(f"Stripe cannot be reached: {error}. The next run goes on from here.") from error
        typer.echo(f"{found.checked:,} subscriptions compared, {found.repaired:,} put right, {found.failed:,} not.")
        return 1 if found.repaired or found.failed else 0

    run(work())
