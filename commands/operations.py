"""Operations that only a person can settle."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID  # noqa: TC003 - typer reads it

import typer
from rich.console import Console
from rich.table import Table

from commands.reach import RefusedError, command_settings, connect, database_url, run
from services.parked import parked_operations, retry_parked

operations = typer.Typer(help="Operations that only a person can settle.", no_args_is_help=True)


@operations.command("parked")
def operations_parked() -> None:
    """List the parked operations with the calls that they made; exit 1 where there are any."""
    url = database_url(command_settings())

    async def work() -> int:
        async with connect(url) as connection:
            found = await parked_operations(connection)
        table = Table("operation", "kind", "caller", "since", "calls", box=None, padding=(0, 2))
        for operation in found:
            since = f"{operation.since:%Y-%m-%d %H:%M}"
            table.add_row(str(operation.id), operation.kind, operation.caller, since, "\n".join(operation.calls))
        Console().print(table if found else "No operation is parked.")
        return 1 if found else 0

    run(work())


@operations.command("retry")
def operations_retry(operation: Annotated[UUID, typer.Argument(help="The operation's id.")]) -> None:
    """Let the recovery job try a parked operation again."""
    url = database_url(command_settings())

    async def work() -> int:
        async with connect(url) as connection:
            if not await retry_parked(connection, operation):
                raise RefusedError(f"No parked operation has the id {operation}.")
        typer.echo("The recovery job takes it up in a moment.")
        return 0

    run(work())
