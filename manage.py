"""The operators' command line."""

from __future__ import annotations

import asyncio
import difflib
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import asyncpg
import orjson
import typer
import uvloop
from pydantic import SecretStr
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from demo.people import DemoError
from demo.walk import run_demo
from models.money import Money
from resolvers.api import export_schema
from schema.ids import id_of
from services.audit.proofs import InclusionProof, flaw_of, prove
from services.audit.sealing import newest_seal
from services.audit.verifying import AuditReport, Head, count_sealed, verify
from services.authentication import mint_token
from services.billing_review import ReviewUnderWayError, review
from services.embedded.sandbox import SECRET_KEY
from services.endpoints import development_secret, read_endpoints
from services.event_stream import begin_epoch
from services.jobs import run_worker
from services.ledger_check import check_ledger
from services.logs import configure_logs
from services.migrations import migrate as run_migrations
from services.parked import parked_operations, retry_parked
from services.stripe_gateway import StripeError
from services.viewer import Role
from services.wiring import open_services
from settings import ConfigurationError, Settings, load_settings, setting_rows, settings_page, variable_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

app = typer.Typer(help="Operate Paydesk.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
ledger = typer.Typer(help="The double-entry ledger.", no_args_is_help=True)
app.add_typer(ledger, name="ledger")
audit = typer.Typer(help="The sealed audit trail.", no_args_is_help=True)
app.add_typer(audit, name="audit")
operations = typer.Typer(help="Operations that only a person can settle.", no_args_is_help=True)
app.add_typer(operations, name="operations")

SCHEMA = Path("schema.graphql")


class _Refused(Exception):
    """A command cannot do what it is asked; the text says why."""


def _run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command to its exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise typer.Exit(runner.run(work))


def _settings() -> Settings:
    settings = load_settings()
    configure_logs(settings)
    return settings


def _reach(settings: Settings) -> Settings:
    """The settings with the parts of a running development system filled in.

    Raises: _Refused.
    """
    missing = [name for name in ("database_url", "redis_url", "stripe_secret_key") if getattr(settings, name) is None]
    if not missing:
        return settings
    endpoints = read_endpoints(settings.data_dir)
    if endpoints is None:
        raise _Refused(f"Set {', '.join(map(variable_of, missing))}, or start a development system with `make run`.")
    filled: dict[str, Any] = {}
    if settings.database_url is None:
        filled["database_url"] = SecretStr(endpoints["database"])
    if settings.redis_url is None:
        filled["redis_url"] = SecretStr(endpoints["redis"])
    if settings.stripe_secret_key is None:
        filled["stripe_secret_key"] = SecretStr(SECRET_KEY)
        filled["stripe_api_base"] = endpoints["sandbox"]
    return settings.model_copy(update=filled)


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _database_url(settings: Settings) -> str:
    url = _reach(settings).database_url if settings.database_url is None else settings.database_url
    if url is None:
        raise _Refused("Set DATABASE_URL.")
    return url.get_secret_value()


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date; several at once wait for one another."""
    url = _database_url(_settings())

    async def work() -> int:
        for name in await run_migrations(url):
            typer.echo(f"applied {name}")
        typer.echo("The database is up to date.")
        return 0

    _run(work())


@app.command()
def token(
    sub: Annotated[str, typer.Option(help="The platform's own id of the person or system.")],
    role: Annotated[Role, typer.Option(help="user, service or admin.")] = Role.USER,
    ttl_s: Annotated[int, typer.Option(help="Seconds until it expires.", min=1)] = 3600,
) -> None:
    """Make a token signed with PAYDESK_JWT_SECRET."""
    settings = development_secret(_settings())
    if not settings.jwt_secret:
        raise _Refused("Set PAYDESK_JWT_SECRET.")
    secret = settings.jwt_secret[0].get_secret_value()
    typer.echo(mint_token(secret, sub=sub, role=role, ttl_s=ttl_s, now=int(time.time())))


@app.command()
def worker() -> None:
    """Run background jobs: webhook events, unfinished operations, holds, Stripe's list of events."""
    settings = _reach(_settings())

    async def work() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with open_services(settings) as services:
            await run_worker(services, stop)
        return 0

    _run(work())


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
    endpoints = read_endpoints(_settings().data_dir)
    if endpoints is None:
        raise _Refused("Nothing runs here. Start it with `make run` in another terminal.")

    async def work() -> int:
        await run_demo(endpoints, Console())
        return 0

    _run(work())


@app.command()
def restored() -> None:
    """Say that the database was restored: cursors become stale, and new audit entries come after all that are there.

    To be run once after each restore, before anything that writes is started.
    """
    url = _database_url(_settings())

    async def work() -> int:
        async with _connection(url) as connection:
            epoch = await begin_epoch(connection)
        typer.echo(f"Epoch {epoch} has begun.")
        return 0

    _run(work())


@app.command("reconcile-billing")
def reconcile_billing() -> None:
    """Compare every live subscription with Stripe and put right what differs; exit 1 where anything did.

    It goes on with a review that was broken off, and can be broken off itself.
    """
    settings = _reach(_settings())

    async def work() -> int:
        console = Console(stderr=True)
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        async with open_services(settings) as services:
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
                task = shown.add_task("subscriptions", total=None)
                try:
                    found = await review(
                        services,
                        progress=lambda now: shown.update(task, total=now.total, completed=now.checked),
                    )
                except ReviewUnderWayError:
                    raise _Refused("A review is under way in another process.") from None
                except StripeError as error:
                    raise _Refused(f"Stripe cannot be reached: {error}. The next run goes on from here.") from error
        typer.echo(f"{found.checked:,} subscriptions compared, {found.repaired:,} put right, {found.failed:,} not.")
        return 1 if found.repaired or found.failed else 0

    _run(work())


@operations.command("parked")
def operations_parked() -> None:
    """List the parked operations with the calls that they made; exit 1 where there are any."""
    url = _database_url(_settings())

    async def work() -> int:
        async with _connection(url) as connection:
            found = await parked_operations(connection)
        table = Table("operation", "kind", "caller", "since", "calls", box=None, padding=(0, 2))
        for operation in found:
            since = f"{operation.since:%Y-%m-%d %H:%M}"
            table.add_row(str(operation.id), operation.kind, operation.caller, since, "\n".join(operation.calls))
        Console().print(table if found else "No operation is parked.")
        return 1 if found else 0

    _run(work())


@operations.command("retry")
def operations_retry(operation: Annotated[UUID, typer.Argument(help="The operation's id.")]) -> None:
    """Let the recovery job try a parked operation again."""
    url = _database_url(_settings())

    async def work() -> int:
        async with _connection(url) as connection:
            if not await retry_parked(connection, operation):
                raise _Refused(f"No parked operation has the id {operation}.")
        typer.echo("The recovery job takes it up in a moment.")
        return 0

    _run(work())


@ledger.command("check")
def ledger_check() -> None:
    """Check that every transaction balances and that every payment's pots hold what its row says; exit 1 if not."""
    url = _database_url(_settings())

    async def work() -> int:
        async with _connection(url) as connection:
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

    _run(work())


def _head(text: str | None) -> Head | None:
    try:
        return None if text is None else Head.parse(text)
    except ValueError:
        raise _Refused("A head is written as `manage.py audit head` prints it: 812:5f3c…") from None


@audit.command("verify")
def audit_verify(
    from_seal: Annotated[int, typer.Option(help="The first seal to look at; the one before is believed.", min=1)] = 1,
    head: Annotated[str | None, typer.Option(help="A seal that was kept elsewhere, as `audit head` prints it.")] = None,
) -> None:
    """Compute the whole trail anew and name the first row that does not fit; exit 1 where there is one."""
    url, kept = _database_url(_settings()), _head(head)

    async def work() -> int:
        console = Console(stderr=True)
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            async with _connection(url) as connection:
                task = progress.add_task("entries", total=await count_sealed(connection, from_seal=from_seal))
                try:
                    report = await verify(
                        connection, from_seal=from_seal, head=kept,
                        progress=lambda entries: progress.update(task, completed=entries),
                    )  # fmt: skip
                except LookupError as error:
                    raise _Refused(str(error)) from None
        _print_audit(report)
        return 0 if report.finding is None else 1

    _run(work())


def _print_audit(report: AuditReport) -> None:
    typer.echo(f"{report.seals:,} seals with {report.entries:,} entries fit.")
    if report.finding is not None:
        typer.echo(f"{report.finding.misfit}: {report.finding.subject}: {report.finding.detail}")
        return
    if report.unsealed:
        since = f"{report.oldest_unsealed:%Y-%m-%d %H:%M:%S %Z}"
        typer.echo(f"{report.unsealed:,} entries wait to be sealed, the oldest since {since}.")
    typer.echo(f"The newest seal is {report.head}." if report.head else "Nothing has been sealed yet.")


@audit.command("head")
def audit_head() -> None:
    """Print the newest seal, to be kept where nobody who can write the database can write; exit 1 without one."""
    url = _database_url(_settings())

    async def work() -> int:
        async with _connection(url) as connection:
            seal = await newest_seal(connection)
        typer.echo(Head(seal.number, seal.hash) if seal else "Nothing has been sealed yet.", err=seal is None)
        return 0 if seal else 1

    _run(work())


@audit.command("prove")
def audit_prove(entry: Annotated[str, typer.Argument(help="The entry's id, as GraphQL has it or a UUID.")]) -> None:
    """Print a proof, as JSON, that an entry was sealed as it is; exit 1 where it was not, or not yet."""
    try:
        entry_id = id_of("AuditEntry", entry) or UUID(entry)
    except ValueError:
        raise _Refused(f"{entry} is not the id of an audit entry.") from None
    url = _database_url(_settings())

    async def work() -> int:
        async with _connection(url) as connection:
            proof = (await prove(connection, [entry_id])).get(entry_id)
        flaw = "No seal holds an entry with this id." if proof is None else flaw_of(proof)
        if proof is not None:
            typer.echo(orjson.dumps(proof.to_json(), option=orjson.OPT_INDENT_2))
        if flaw is not None:
            typer.echo(flaw, err=True)
        return 0 if flaw is None else 1

    _run(work())


@audit.command("check")
def audit_check(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="What `audit prove` printed; - for standard input.")],
    head: Annotated[str | None, typer.Option(help="The proof's seal as it was kept elsewhere.")] = None,
) -> None:
    """Check a proof; exit 1 where it proves nothing. Needs no database."""
    kept = _head(head)
    try:
        proof = InclusionProof.from_json(orjson.loads(file.read()))
    except ValueError:
        raise _Refused("This is not an inclusion proof.") from None
    flaw = flaw_of(proof)
    if flaw is None and kept is not None and kept != Head(proof.seal.number, proof.seal.hash):
        flaw = "The proof ends with another seal than the one that was kept."
    if flaw is not None:
        typer.echo(flaw, err=True)
        raise typer.Exit(1)
    seal = proof.seal
    typer.echo(f"Seal {Head(seal.number, seal.hash)} of {seal.sealed_at:%Y-%m-%d %H:%M:%S %Z} has it.")


def main() -> None:
    """Run a command; what an operator can put right is told in words."""
    try:
        app()
    except (ConfigurationError, _Refused, DemoError) as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
    except (OSError, asyncpg.PostgresError) as error:
        typer.echo(f"The database cannot be reached: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
