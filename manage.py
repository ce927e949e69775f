"""The operators' command line."""

from __future__ import annotations

import asyncio
import difflib
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from commands.audit import audit
from commands.ledger import ledger
from commands.operations import operations
from commands.reach import RefusedError, command_settings, connect, database_url, reach, run
from commands.reconciliation import reconcile, reconcile_billing
from demo.people import DemoError
from demo.walk import run_demo
from resolvers.api import export_schema
from services.authentication import mint_token
from services.endpoints import development_secret, read_endpoints
from services.event_stream import begin_epoch
from services.jobs import run_worker
from services.migrations import migrate as run_migrations
from services.viewer import Role
from services.wiring import open_services
from settings import ConfigurationError, setting_rows, settings_page

app = typer.Typer(help="Operate Paydesk.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.add_typer(ledger, name="ledger")
app.add_typer(audit, name="audit")
app.add_typer(operations, name="operations")
app.command()(reconcile)
app.command("reconcile-billing")(reconcile_billing)

SCHEMA = Path("schema.graphql")


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date; several at once wait for one another."""
    url = database_url(command_settings())

    async def work() -> int:
        for name in await run_migrations(url):
            typer.echo(f"applied {name}")
        typer.echo("The database is up to date.")
        return 0

    run(work())


@app.command()
def token(
    sub: Annotated[str, typer.Option(help="The platform's own id of the person or system.")],
    role: Annotated[Role, typer.Option(help="user, service or admin.")] = Role.USER,
    ttl_s: Annotated[int, typer.Option(help="Seconds until it expires.", min=1)] = 3600,
) -> None:
    """Make a token signed with PAYDESK_JWT_SECRET."""
    settings = development_secret(command_settings())
    if not settings.jwt_secret:
        raise RefusedError("Set PAYDESK_JWT_SECRET.")
    secret = settings.jwt_secret[0].get_secret_value()
    typer.echo(mint_token(secret, sub=sub, role=role, ttl_s=ttl_s, now=int(time.time())))


@app.command()
def worker() -> None:
    """Run background jobs: webhook events, unfinished operations, holds, Stripe's list of events."""
    settings = reach(command_settings())

    async def work() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with open_services(settings) as services:
            await run_worker(services, stop)
        return 0

    run(work())


@app.command()
def schema(
    check: Annotated[bool, typer.Option(help="Compare it with schema.graphql; exit 1 where they differ.")] = False,
) -> None:
    """Print the GraphQL schema."""
    exported = export_schema()
    if not check:
        typer.echo(exported, nl=False)
        return
    written = SCHEMA.read_text() if SCHEMA.exists() else ""
    difference = difflib.unified_diff(
        written.splitlines(keepends=True), exported.splitlines(keepends=True), "schema.graphql", "the code"
    )
    lines = list(difference)
    sys.stdout.writelines(lines)
    if lines:
        typer.echo("\nschema.graphql is out of date: run `make schema`.", err=True)
        raise typer.Exit(1)


@app.command()
def settings(
    markdown: Annotated[bool, typer.Option(help="As docs/settings.md has them.")] = False,
) -> None:
    """List every setting with its variable, default and meaning."""
    if markdown:
        typer.echo(settings_page(), nl=False)
        return
    table = Table("variable", "default", "meaning", box=None, padding=(0, 2))
    for row in setting_rows():
        table.add_row(*row)
    Console().print(table)


@app.command()
def demo() -> None:
    """Walk the main job through the public API of a running development system."""
    endpoints = read_endpoints(command_settings().data_dir)
    if endpoints is None:
        raise RefusedError("Nothing runs here. Start it with `make run` in another terminal.")

    async def work() -> int:
        await run_demo(endpoints, Console())
        return 0

    run(work())


@app.command()
def restored() -> None:
    """Say that the database was restored: cursors become stale, and new audit entries come after all that are there.

    To be run once after each restore, before anything that writes is started.
    """
    url = database_url(command_settings())

    async def work() -> int:
        async with connect(url) as connection:
            epoch = await begin_epoch(connection)
        typer.echo(f"Epoch {epoch} has begun.")
        return 0

    run(work())


def main() -> None:
    """Run a command; what an operator can put right is told in words."""
    try:
        app()
    except (ConfigurationError, RefusedError, DemoError) as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
    except (OSError, asyncpg.PostgresError) as error:
        typer.echo(f"The database cannot be reached: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
