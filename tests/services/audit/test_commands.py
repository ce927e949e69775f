"""What operators and auditors run: their words, their exit codes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from schema.ids import global_id
from tests.support.audit import record, seal_all, tampering

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    Connection = asyncpg.Connection[Any]

ROOT = Path(__file__).parents[3]


class Operator:
    """Somebody at a shell."""

    def __init__(self, shell: asyncio.subprocess.Process, database_url: str) -> None:
        self._shell = shell
        self._environment = {"DATABASE_URL": database_url}

    async def run(self, *arguments: str, given: str = "") -> tuple[int, str, str]:
        """The exit code of a command of manage.py, and what it says on either stream."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        command = {"environment": self._environment, "arguments": arguments, "given": given}
        self._shell.stdin.write(orjson.dumps(command) + b"\n")
        code, said, complained = orjson.loads(await self._shell.stdout.readline())
        return code, said, complained


@pytest.fixture(scope="module")
async def shell() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.audit.operator_shell", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield process
    process.kill()
    await process.communicate()


@pytest.fixture
def operator(shell: asyncio.subprocess.Process, database_url: str) -> Operator:
    return Operator(shell, database_url)


async def test_an_auditor_keeps_a_head_and_finds_what_was_done_since(
    connection: Connection, operator: Operator
) -> None:
    assert await operator.run("audit", "head") == (1, "", "Nothing has been sealed yet.\n")
    nothing = "0 seals with 0 entries fit.\nNothing has been sealed yet.\n"
    assert await operator.run("audit", "verify") == (0, nothing, "")
    ids = await record(connection, 9)
    seals = await seal_all(connection)
    await record(connection, 2)
    head = f"3:{seals[-1].hash.hex()}"
    assert await operator.run("audit", "head") == (0, f"{head}\n", "")
    code, said, _ = await operator.run("audit", "verify", "--head", head)
    assert code == 0
    assert said.startswith("3 seals with 9 entries fit.\n2 entries wait to be sealed, the oldest since ")
    assert said.endswith(f" UTC.\nThe newest seal is {head}.\n")
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_entries WHERE id = $1", ids[5])
        await connection.execute("UPDATE audit_seals SET number = 9 WHERE number = 3")
    code, said, _ = await operator.run("audit", "verify", "--head", head)
    assert (code, said) == (1, f"1 seals with 4 entries fit.\ndeleted: {ids[5]}: seal 2 sealed it\n")
    code, said, _ = await operator.run("audit", "verify", "--from-seal", "3")
    assert (code, said) == (1, "0 seals with 0 entries fit.\nseal removed: 3: the next one that is there is 9\n")
    code, said, _ = await operator.run("audit", "verify", "--from-seal", "10", "--head", head)
    assert code == 1
    assert "\nseal removed: 3: it was kept elsewhere" in said
    assert await operator.run("audit", "verify", "--from-seal", "7") == (2, "", "There is no seal 6 to start after.\n")


async def test_an_entry_is_proved_and_the_proof_checked_without_a_database(
    connection: Connection, operator: Operator, shell: asyncio.subprocess.Process
) -> None:
    ids = await record(connection, 4)
    await seal_all(connection)
    [waits] = await record(connection, 1)
    code, proof, _ = await operator.run("audit", "prove", str(ids[1]))
    assert code == 0
    assert await operator.run("audit", "prove", global_id("AuditEntry", ids[1])) == (0, proof, "")
    assert await operator.run("audit", "prove", str(waits)) == (1, "", "No seal holds an entry with this id.\n")
    away = Operator(shell, "")
    hash_ = orjson.loads(proof)["seal"]["hash"]
    code, said, _ = await away.run("audit", "check", "-", "--head", f"1:{hash_}", given=proof)
    assert code == 0
    assert said.startswith(f"Seal 1:{hash_} of 20")
    for arguments, given, expected in (
        ((), proof, 0), (("--head", f"2:{hash_}"), proof, 1), ((), proof.replace("user:", "admin:"), 1),
        ((), "{}", 2), ((), "", 2), (("--head", "x"), proof, 2),
    ):  # fmt: skip
        assert (await away.run("audit", "check", "-", *arguments, given=given))[0] == expected, (arguments, given)


async def test_a_proof_of_what_was_changed_is_printed_and_said_to_be_none(
    connection: Connection, operator: Operator
) -> None:
    [id_] = await record(connection, 1)
    await seal_all(connection)
    async with tampering(connection):
        await connection.execute("UPDATE audit_entries SET actor = 'x'")
    code, proof, why = await operator.run("audit", "prove", str(id_))
    assert (code, why) == (1, "The path does not lead to the seal's root.\n")
    assert orjson.loads(proof)["seal"]


async def test_what_is_no_id_is_refused(operator: Operator) -> None:
    refusal = "nonsense is not the id of an audit entry.\n"
    assert await operator.run("audit", "prove", "nonsense") == (2, "", refusal)


async def test_after_a_restore_a_new_epoch_begins(operator: Operator) -> None:
    assert await operator.run("restored") == (0, "Epoch 2 has begun.\n", "")
