"""The double-entry ledger."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from commands.reach import command_settings, connect, database_url, run
from models.money import Money
from services.ledger_check import check_ledger

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
        for finding in report.findings:
            console.print(f"[red]{finding.rule}[/red]: {finding.subject}: {finding.detail}")
        console.print("The ledger holds." if not report.findings else f"{len(report.findings)} findings.")
        return 1 if report.findings else 0

    run(work())
