"""The audit trail."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import orjson
import strawberry

from models.audit import AuditEntry as AuditEntryRow
from schema.context import Info
from schema.described import field, object_type
from schema.enums import ProofSide
from schema.ids import global_id
from schema.nodes import Node
from schema.pages import Connection
from schema.scalars import BigInt
from services.audit.hashing import entry_hash

if TYPE_CHECKING:
    from services.audit.hashing import SealFacts
    from services.audit.proofs import InclusionProof as Proof


def subject_type(name: str) -> str:
    """The type here of what an entry calls "CONNECT_ACCOUNT": ConnectAccount."""
    # "Subscription" is GraphQL's own.
    return "BillingSubscription" if name == "SUBSCRIPTION" else name.title().replace("_", "")


def subject_name(type_name: str) -> str:
    """What entries call a type: the other way round."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type_name).upper()
    return "SUBSCRIPTION" if type_name == "BillingSubscription" else name


@object_type
class InclusionStep:
    """One step up the tree: ours becomes SHA-256 of a byte 0x01 and the two hashes, the left one first."""

    side: ProofSide = strawberry.field(description="Where the neighbour stands.")
    hash: str = strawberry.field(description="The neighbour's hash, in hexadecimal.")


@object_type
class AuditSeal:
    """What one seal says: a run of audit entries, and the seal before it. Hashes are in hexadecimal."""

    number: BigInt = strawberry.field(description="Counts from 1, without gaps.")
    hash: str = strawberry.field(description="SHA-256 of the bytes 0x02 0x01 and `content`.")
    previous_hash: str = strawberry.field(description="The hash of the seal before; zeros in the first.")
    root: str = strawberry.field(description="The Merkle root over the hashes of its entries.")
    count: int = strawberry.field(description="How many entries it has.")
    sealed_at: datetime = strawberry.field(description="When it was made.")
    content: str = strawberry.field(description="The JSON that its hash is of.")

    @classmethod
    def of(cls, seal: SealFacts) -> AuditSeal:
        """From what it says."""
        return cls(
            number=BigInt(seal.number),
            hash=seal.hash.hex(),
            previous_hash=seal.previous_hash.hex(),
            root=seal.root.hex(),
            count=seal.count,
            sealed_at=seal.sealed_at,
            content=seal.content.decode(),
        )


@object_type
class InclusionProof:
    """That one entry is among those that a seal sealed, to be checked without us: docs/audit-trail.md says how."""

    content: str = strawberry.field(description="The JSON that the entry's hash is of.")
    leaf_hash: str = strawberry.field(description="SHA-256, in hexadecimal, of the bytes 0x00 0x01 and `content`.")
    path: list[InclusionStep] = strawberry.field(description="From the entry's hash up to the root.")
    root: str = strawberry.field(description="Where the path leads to, if the entry is as it was sealed.")
    seal: AuditSeal = strawberry.field(description="The seal that has this root.")

    @classmethod
    def of(cls, proof: Proof) -> InclusionProof:
        """From the service's answer."""
        return cls(
            content=proof.content.decode(),
            leaf_hash=proof.leaf_hash.hex(),
            path=[InclusionStep(side=step.side, hash=step.hash.hex()) for step in proof.path],
            root=proof.seal.root.hex(),
            seal=AuditSeal.of(proof.seal),
        )


@object_type
class AuditEntry(Node):
    """One recorded act. Visible to admins."""

    actor: str = strawberry.field(description="Who: `user:alice`, `stripe:evt_…` or a job.")
    action: str = strawberry.field(description="What: `payment.succeeded` …")
    subject: strawberry.ID = strawberry.field(description="The id of what it was done to.")
    detail: str = strawberry.field(description="What it changed: JSON of the subject `before` and `after`.")
    hash: str = strawberry.field(description="SHA-256, in hexadecimal, of all that the entry says: what is sealed.")
    occurred_at: datetime = strawberry.field(description="When.")
    row: strawberry.Private[AuditEntryRow]

    @classmethod
    def of(cls, row: AuditEntryRow) -> AuditEntry:
        """From its row."""
        return cls(
            id=global_id("AuditEntry", row.id),
            actor=row.actor,
            action=row.action,
            subject=global_id(subject_type(row.subject_type), row.subject_id),
            detail=orjson.dumps({"before": row.before, "after": row.after}, option=orjson.OPT_SORT_KEYS).decode(),
            hash=entry_hash(row),
            occurred_at=row.created_at,
            row=row,
        )

    @field
    async def proof(self, info: Info) -> InclusionProof | None:
        """That it is sealed, and since when; null until it is, within a minute or so."""
        proof = await info.context.loaders.inclusion_proofs.load(self.row.id)
        return None if proof is None else InclusionProof.of(proof)


@object_type
class AuditEntryConnection(Connection[AuditEntry]):
    """A page of the audit trail, newest first."""
