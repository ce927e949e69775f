"""Proving that one entry is among what was sealed, without showing any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.audit import unpack_leaves
from models.merkle import ProofSide, Step, climb, merkle_paths
from services.audit.hashing import ENTRY_COLUMNS, SealFacts, content_hash, record_content, seal_hash
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from asyncpg import Pool

    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

_ENTRIES: Final = f"""
SELECT {ENTRY_COLUMNS}, (
    SELECT number FROM audit_seals s WHERE (s.last_position, s.last_id) >= (e.position, e.id)
    ORDER BY s.last_position, s.last_id LIMIT 1
) AS seal FROM audit_entries e WHERE id = ANY($1)
"""


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """An entry, the way from its hash up to its seal's root, and the seal; hashes are bytes."""

    content: bytes
    """The JSON that the entry's hash is of."""
    leaf_hash: bytes
    path: tuple[Step, ...]
    seal: SealFacts

    def to_json(self) -> dict[str, Any]:
        """As it goes to whoever checks it."""
        return {
            "content": self.content.decode(),
            "leaf_hash": self.leaf_hash.hex(),
            "path": [{"side": step.side, "hash": step.hash.hex()} for step in self.path],
            "seal": {"content": self.seal.content.decode(), "hash": self.seal.hash.hex()},
        }

    @classmethod
    def from_json(cls, value: Any) -> InclusionProof:
        """From what `to_json` made.

        Raises: ValueError.
        """
        try:
            return cls(
                content=value["content"].encode(),
                leaf_hash=bytes.fromhex(value["leaf_hash"]),
                path=tuple(
                    Step(ProofSide(step["side"]), bytes.fromhex(step["hash"]))
                    for step in value["path"]
                ),
                seal=SealFacts.parse(value["seal"]["content"].encode(), bytes.fromhex(value["seal"]["hash"])),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("This is not an inclusion proof.") from error


async def inclusion_proofs(
    services: Services, *, viewer: Viewer, entry_ids: Sequence[UUID]
) -> dict[UUID, InclusionProof]:
    """A proof for each of the entries that is sealed, in two statements; for admins.

    Raises: Forbidden.
    """
    viewer.require(Role.ADMIN)
    return await prove(services.database.pool, entry_ids)


async def prove(connection: AnyConnection | Pool[Any], entry_ids: Sequence[UUID]) -> dict[UUID, InclusionProof]:
    """A proof for each of the entries that is in a seal, from the entry as it is now: of a changed one it is wrong."""
    entries = await connection.fetch(_ENTRIES, list(entry_ids))
    numbers = {entry["seal"] for entry in entries}
    records = await connection.fetch("SELECT * FROM audit_seals WHERE number = ANY($1)", list(numbers - {None}))
    proofs: dict[UUID, InclusionProof] = {}
    for record in records:
        sealed = unpack_leaves(record["leaves"])
        leaves = [hash_ for _, hash_ in sealed]
        places = {id_: place for place, (id_, _) in enumerate(sealed)}
        here = [entry for entry in entries if entry["seal"] == record["number"] and entry["id"] in places]
        paths = merkle_paths(leaves, [places[entry["id"]] for entry in here])
        for entry, path in zip(here, paths, strict=True):
            content = record_content(entry)
            proofs[entry["id"]] = InclusionProof(content, content_hash(content), tuple(path), SealFacts.of(record))
    return proofs


def flaw_of(proof: InclusionProof) -> str | None:
    """Why a proof proves nothing; None for one that holds. That its seal is one of ours, its chain has to show."""
    if content_hash(proof.content) != proof.leaf_hash:
        return "The entry does not have the hash that the proof begins with."
    if climb(proof.leaf_hash, proof.path) != proof.seal.root:
        return "The path does not lead to the seal's root."
    if seal_hash(proof.seal.content) != proof.seal.hash:
        return "The seal does not have the hash that the proof ends with."
    return None
