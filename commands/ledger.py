"""The double-entry ledger."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from commands.reach import command_settings, connect, database_url, in_utc, run
from models.money import Money
from services.balances.reading import balances_in
from services.ledger_check import check_ledger
from services.ledger_export import COLUMNS, exported_postings

ledger = typer.Typer(help="The double-entry ledger.", no_args_is_help=True)


@ledger.command("check")
def ledger_check() -> None:
    """Check that every transaction balances and that every payment's pots hold what its row says; exit 1 if not."""
    url = database_url(command_settings())

    async def work() -> int:
        async with connect(url) as connection:
            report = await check_ledger(connection)
        console = Console()
        table = Table("account", "owner", "holds", box=None, padding=(0, 2))
        for kind, owner, currency, minor in report.balances:
            table.add_row(kind.lower(), owner or "platform", str(Money(minor, currency)))
        console.print(table)
        console.print(f"{report.transactions} transactions, {report.payments} payments")
        console.print(
            f"{report.mirrored} of Stripe's balance transactions; {report.waiting} wait for what they belong to, "
            f"{report.nobodys} belong to nothing here"
        )
        for finding in report.findings:
            console.print(f"[red]{finding.rule}[/red]: {finding.subject}: {finding.detail}")
        console.print("The ledger holds." if not report.findings else f"{len(report.findings)} findings.")
        return 1 if report.findings else 0

    run(work())


@ledger.command("balances")
def ledger_balances(
    as_of: Annotated[datetime | None, typer.Option(help="A time, UTC; now if it is not said.")] = None,
) -> None:
    """Show what the accounts of each kind held at a time, by when things happened at Stripe."""
    url = database_url(command_settings())

    async def work() -> int:
        async with connect(url) as connection:
            balances = await balances_in(connection, as_of.replace(tzinfo=UTC) if as_of else datetime.now(UTC))
        table = Table("account", "lies at", "held", box=None, padding=(0, 2))
        for balance in balances:
            table.add_row(balance.kind.lower(), balance.place.lower(), str(balance.amount))
        Console().print(table)
        return 0

    run(work())


@ledger.command("export")
def ledger_export(
    from_: Annotated[datetime | None, typer.Option("--from", help="Where the period begins, in UTC.")] = None,
    to: Annotated[datetime | None, typer.Option(help="Where it ends, exclusive, in UTC.")] = None,
) -> None:
    """Print the ledger as CSV, one line a posting, the earliest first."""
    url = database_url(command_settings())

    async def work() -> int:
        lines = csv.writer(sys.stdout)
        lines.writerow(COLUMNS)
        async with connect(url) as connection:
            async for posting in exported_postings(connection, from_at=in_utc(from_), to_at=in_utc(to)):
                lines.writerow(posting)
        return 0

    run(work())
