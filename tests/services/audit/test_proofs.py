"""A proof holds for the entry that it is of and for nothing else, and anybody can check it."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import orjson
import pytest

from models.merkle import ProofSide, Step
from services.audit.proofs import InclusionProof, flaw_of, inclusion_proofs, prove
from services.errors import Forbidden
from services.viewer import Role, Viewer
from tests.support.audit import record, seal_all, tampering

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from services.core import Services
    from services.database import Database

    Connection = asyncpg.Connection[Any]

GUIDE = Path(__file__).parents[3] / "docs/audit-trail.md"


@pytest.fixture
async def ids(connection: Connection) -> list[UUID]:
    """Eleven entries in three seals, and one that waits."""
    ids = await record(connection, 11)
    await seal_all(connection)
    return ids + await record(connection, 1)


async def test_every_sealed_entry_has_one_that_holds(connection: Connection, ids: list[UUID]) -> None:
    proofs = await prove(connection, [*ids, uuid4()])
    assert sorted(proofs) == ids[:-1]
    assert [flaw_of(proof) for proof in proofs.values()] == [None] * 11
    assert [proofs[id_].seal.number for id_ in ids[:-1]] == [1] * 4 + [2] * 4 + [3] * 3
    assert all(str(id_) in proof.content.decode() for id_, proof in proofs.items())


async def test_it_survives_its_way_to_whoever_checks_it(connection: Connection, ids: list[UUID]) -> None:
    proof = (await prove(connection, ids))[ids[6]]
    assert InclusionProof.from_json(orjson.loads(orjson.dumps(proof.to_json()))) == proof


async def test_a_wrong_one_does_not_hold(connection: Connection, ids: list[UUID]) -> None:
    proofs = await prove(connection, ids)
    proof, other = proofs[ids[1]], proofs[ids[2]]
    turned = tuple(
        Step(ProofSide.LEFT if step.side is ProofSide.RIGHT else ProofSide.RIGHT, step.hash) for step in proof.path
    )
    wrong = [
        replace(proof, content=proof.content.replace(b"user:", b"admin:")),
        replace(proof, content=other.content),
        replace(proof, content=other.content, leaf_hash=other.leaf_hash),
        replace(proof, leaf_hash=other.leaf_hash),
        replace(proof, path=other.path),
        replace(proof, path=()),
        replace(proof, path=turned),
        replace(proof, path=proof.path[::-1]),
        replace(proof, seal=proofs[ids[5]].seal),
        replace(proof, seal=replace(proof.seal, number=9)),
        replace(proof, seal=replace(proof.seal, hash=bytes(32))),
    ]
    assert flaw_of(proof) is None
    assert None not in [flaw_of(each) for each in wrong]


async def test_that_of_a_changed_entry_does_not_hold(connection: Connection, ids: list[UUID]) -> None:
    async with tampering(connection):
        await connection.execute("UPDATE audit_entries SET actor = 'user:mallory' WHERE id = $1", ids[3])
    proofs = await prove(connection, ids)
    assert flaw_of(proofs[ids[3]]) is not None
    assert flaw_of(proofs[ids[2]]) is None


async def test_an_entry_that_was_slipped_in_has_none(connection: Connection, ids: list[UUID]) -> None:
    async with tampering(connection):
        await connection.execute("UPDATE audit_entries SET position = 1 WHERE id = $1", ids[-1])
    assert ids[-1] not in await prove(connection, ids)


@pytest.mark.parametrize("value", [None, [], {}, {"content": 1}, "x"])
def test_what_is_no_proof_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        InclusionProof.from_json(value)


class OnlyADatabase:
    def __init__(self, database: Database) -> None:
        self.database = database


async def test_they_are_for_admins(connection: Connection, database: Database, ids: list[UUID]) -> None:
    services = cast("Services", OnlyADatabase(database))
    for role in (Role.USER, Role.SERVICE):
        with pytest.raises(Forbidden):
            await inclusion_proofs(services, viewer=Viewer(role, "x"), entry_ids=ids)
    assert len(await inclusion_proofs(services, viewer=Viewer(Role.ADMIN, "x"), entry_ids=ids)) == 11


async def test_the_guide_s_program_checks_it(connection: Connection, ids: list[UUID], tmp_path: Path) -> None:
    [source] = re.findall(r"```python\n(import json.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(source.splitlines()) <= 30
    (tmp_path / "check.py").write_text(source)
    proofs = await prove(connection, ids)
    proof = proofs[ids[4]]

    async def run(value: InclusionProof, *arguments: str) -> int:
        (tmp_path / "proof.json").write_bytes(orjson.dumps(value.to_json()))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(tmp_path / "check.py"), str(tmp_path / "proof.json"), *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert (str(ids[4]) in said.decode()) == (process.returncode == 0)
        return process.returncode or 0

    assert await run(proof) == 0
    assert await run(proof, proof.seal.hash.hex()) == 0
    assert await run(proof, proofs[ids[0]].seal.hash.hex()) == 1
    assert await run(replace(proof, content=proof.content.replace(b"user:", b"admin:"))) == 1
    assert await run(replace(proof, path=proof.path[1:])) == 1
    assert await run(replace(proof, seal=replace(proof.seal, number=9))) == 1
