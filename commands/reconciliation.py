"""Comparing what is kept here with Stripe."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer
from rich.console import Console

from commands.reach import RefusedError, command_settings, in_utc, progress_bar, reach, run
from models.reconciliations import Drift
from services.billing_review import ReviewUnderWayError, review
from services.errors import DomainError
from services.reconciliation.repairing import repair as repair_now
from services.reconciliation.runs import Progress, RunUnderWayError, begin
from services.reconciliation.runs import reconcile as go_through
from services.stripe_gateway import StripeError
from services.wiring import open_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from models.reconciliations import ReconciliationRun
    from services.core import Services

OPERATOR: Final = "system:operator"
_AT_ONCE: Final = 100


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


def reconcile(
    from_: Annotated[
        datetime | None, typer.Option("--from", help="Where the period begins, in UTC; by the settings.")
    ] = None,
    to: Annotated[datetime | None, typer.Option(help="Where it ends, exclusive, in UTC; now.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what safely can be.")] = False,  # noqa: FBT002 -- an option
) -> None:
    """Compare Stripe's books with ours for a period and list what differs; exit 1 where any of it is left.

    It goes on with a run that was broken off, whatever its period, and can be broken off itself.
    """
    settings = reach(command_settings())

    async def work() -> int:
        async with open_services(settings) as services:
            until = in_utc(to) or services.clock()
            since = in_utc(from_) or until - timedelta(days=settings.reconcile_days)
            if since >= until:
                raise RefusedError("The period must end after it begins.")
            await begin(services, since, until, requested_by=OPERATOR)
            finished = await _finished(services)
            left = 0
            async for drift in _drifts(finished):
                resolution = await _repaired(services, drift) if repair else None
                left += resolution is None
                place = drift.stripe_account or "platform"
                what = f"{drift.kind} {drift.object_type} {drift.stripe_id} ({place})"
                typer.echo(f"{what}: {resolution or drift.detail}")
        typer.echo(
            f"{finished.from_at:%Y-%m-%d %H:%M} to {finished.to_at:%Y-%m-%d %H:%M}: {finished.checked:,} compared,"
            f" {finished.matched:,} agree, {left:,} drifts are left."
        )
        return 1 if left else 0

    run(work())


async def _finished(services: Services) -> ReconciliationRun:
    with progress_bar(Console(stderr=True)) as shown:
        task = shown.add_task("accounts", total=None)

        def progress(now: ReconciliationRun) -> None:
            at = Progress.of(now)
            words = f"{at.account or 'platform'} {at.kind}, {now.checked:,} compared; accounts"
            shown.update(task, description=words, total=at.accounts, completed=at.accounts_done)

        try:
            found = await go_through(services, progress=progress)
        except RunUnderWayError:
            raise RefusedError("A reconciliation is under way in another process.") from None
        except StripeError as error:
            raise RefusedError(f"Stripe cannot be reached: {error}. The next run goes on from here.") from error
    if found is None:
        raise RefusedError("Another process has finished it in the meantime.")
    return found


async def _drifts(finished: ReconciliationRun) -> AsyncIterator[Drift]:
    """What a run found, some at a time, the earliest first."""
    after = UUID(int=0)
    while drifts := await Drift.filter(run_id=finished.id, id__gt=after).order_by("id").limit(_AT_ONCE):
        for drift in drifts:
            yield drift
        after = drifts[-1].id


async def _repaired(services: Services, drift: Drift) -> str | None:
    """What became of a drift; None where it is left."""
    try:
        return (await repair_now(services, drift.id, actor=OPERATOR)).resolution
    except DomainError as error:
        typer.echo(str(error), err=True)
        return None
