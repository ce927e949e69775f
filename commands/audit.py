"""The sealed audit trail."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import orjson
import typer
from rich.console import Console

from commands.reach import RefusedError, command_settings, connect, database_url, progress_bar, run
from schema.ids import id_of
from services.audit.proofs import InclusionProof, flaw_of, prove
from services.audit.sealing import newest_seal
from services.audit.verifying import AuditReport, Head, count_sealed, verify

audit = typer.Typer(help="The sealed audit trail.", no_args_is_help=True)


def _head(text: str | None) -> Head | None:
    try:
        return None if text is None else Head.parse(text)
    except ValueError:
        raise RefusedError("A head is written as `manage.py audit head` prints it: 812:5f3c…") from None


@audit.command("verify")
def audit_verify(
    from_seal: Annotated[int, typer.Option(help="The first seal to look at; the one before is believed.", min=1)] = 1,
    head: Annotated[str | None, typer.Option(help="A seal that was kept elsewhere, as `audit head` prints it.")] = None,
) -> None:
    """Compute the whole trail anew and name the first row that does not fit; exit 1 where there is one."""
    url, kept = database_url(command_settings()), _head(head)

    async def work() -> int:
        with progress_bar(Console(stderr=True)) as progress:
            async with connect(url) as connection:
                task = progress.add_task("entries", total=await count_sealed(connection, from_seal=from_seal))
                try:
                    report = await verify(
                        connection, from_seal=from_seal, head=kept,
                        progress=lambda entries: progress.update(task, completed=entries),
                    )  # fmt: skip
                except LookupError as error:
                    raise RefusedError(str(error)) from None
        _print_audit(report)
        return 0 if report.finding is None else 1

    run(work())


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
    url = database_url(command_settings())

    async def work() -> int:
        async with connect(url) as connection:
            seal = await newest_seal(connection)
        typer.echo(Head(seal.number, seal.hash) if seal else "Nothing has been sealed yet.", err=seal is None)
        return 0 if seal else 1

    run(work())


@audit.command("prove")
def audit_prove(entry: Annotated[str, typer.Argument(help="The entry's id, as GraphQL has it or a UUID.")]) -> None:
    """Print a proof, as JSON, that an entry was sealed as it is; exit 1 where it was not, or not yet."""
    try:
        entry_id = id_of("AuditEntry", entry) or UUID(entry)
    except ValueError:
        raise RefusedError(f"{entry} is not the id of an audit entry.") from None
    url = database_url(command_settings())

    async def work() -> int:
        async with connect(url) as connection:
            proof = (await prove(connection, [entry_id])).get(entry_id)
        flaw = "No seal holds an entry with this id." if proof is None else flaw_of(proof)
        if proof is not None:
            typer.echo(orjson.dumps(proof.to_json(), option=orjson.OPT_INDENT_2))
        if flaw is not None:
            typer.echo(flaw, err=True)
        return 0 if flaw is None else 1

    run(work())


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
        raise RefusedError("This is not an inclusion proof.") from None
    flaw = flaw_of(proof)
    if flaw is None and kept is not None and kept != Head(proof.seal.number, proof.seal.hash):
        flaw = "The proof ends with another seal than the one that was kept."
    if flaw is not None:
        typer.echo(flaw, err=True)
        raise typer.Exit(1)
    seal = proof.seal
    typer.echo(f"Seal {Head(seal.number, seal.hash)} of {seal.sealed_at:%Y-%m-%d %H:%M:%S %Z} has it.")
