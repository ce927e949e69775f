from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from models.audit import AuditEntry
from models.sets import insert_rows
from schema.ids import global_id
from services.audit.hashing import entry_hash
from services.audit.proofs import InclusionProof, flaw_of
from services.errors import Forbidden, InvalidInput, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.audit import seal_all

if TYPE_CHECKING:
    from models.sets import AnyConnection

LOG = """query($subject: ID, $first: Int, $after: String) { auditLog(subject: $subject, first: $first, after: $after) {
    edges { cursor node { id actor action subject detail hash occurredAt } } pageInfo { hasNextPage hasPreviousPage }
} }"""


async def add_entries(connection: AnyConnection, market: Market) -> list[AuditEntry]:
    entries = [
        AuditEntry(
            actor="user:gustav", action=action, subject_type=subject_type, subject_id=subject_id,
            before=None, after={"status": "PENDING", "name": "Gräfin"},
        )
        for action, subject_type, subject_id in (
            ("payment.created", "PAYMENT", market.payment.id), ("payment.succeeded", "PAYMENT", market.payment.id),
            ("connect_account.created", "CONNECT_ACCOUNT", uuid4()),
        )
    ]  # fmt: skip
    await insert_rows(connection, AuditEntry, entries)
    return entries


async def test_admins_read_what_was_done_newest_first(api: Api, market: Market, connection: AnyConnection) -> None:
    entries = await add_entries(connection, market)
    found = (await api.data(LOG, ADMIN))["auditLog"]["edges"]
    assert [edge["node"]["id"] for edge in found] == [global_id("AuditEntry", entry.id) for entry in entries[::-1]]
    account, _, created = [edge["node"] for edge in found]
    assert account["subject"] == global_id("ConnectAccount", entries[2].subject_id)
    assert (created["actor"], created["action"]) == ("user:gustav", "payment.created")
    assert created["subject"] == global_id("Payment", market.payment.id)
    assert orjson.loads(created["detail"]) == {"after": {"status": "PENDING", "name": "Gräfin"}, "before": None}
    assert len(created["hash"]) == 64


async def test_the_log_of_one_thing_comes_in_pages(api: Api, market: Market, connection: AnyConnection) -> None:
    await add_entries(connection, market)
    subject = global_id("Payment", market.payment.id)
    page = (await api.data(LOG, ADMIN, subject=subject, first=1))["auditLog"]
    assert [edge["node"]["action"] for edge in page["edges"]] == ["payment.succeeded"]
    assert page["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False}
    page = (await api.data(LOG, ADMIN, subject=subject, first=1, after=page["edges"][0]["cursor"]))["auditLog"]
    assert [edge["node"]["action"] for edge in page["edges"]] == ["payment.created"]
    assert page["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": True}
    for nothing in ("nonsense", global_id("Payment", uuid4())):
        assert (await api.data(LOG, ADMIN, subject=nothing))["auditLog"]["edges"] == []
    assert isinstance(await api.refusal(LOG, ADMIN, first=101), InvalidInput)


async def test_others_may_not_read_the_log(api: Api, market: Market) -> None:
    for viewer in (user("gustav"), SERVICE):
        assert isinstance(await api.refusal(LOG, viewer), Forbidden)
    assert isinstance(await api.refusal(LOG, None), Unauthenticated)


async def test_the_hash_is_of_all_that_the_entry_says(api: Api, market: Market, connection: AnyConnection) -> None:
    [entry, *_] = await add_entries(connection, market)
    stored = await AuditEntry.get(id=entry.id)
    content: dict[str, Any] = {
        "action": "payment.created", "actor": "user:gustav", "after": {"name": "Gräfin", "status": "PENDING"},
        "before": None, "created_at": stored.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "id": str(entry.id),
        "subject_id": str(market.payment.id), "subject_type": "PAYMENT",
    }  # fmt: skip
    assert entry_hash(stored) == hashlib.sha256(b"\0\1" + orjson.dumps(content)).hexdigest()
    stored.actor = "user:mallory"
    assert entry_hash(stored) != hashlib.sha256(b"\0\1" + orjson.dumps(content)).hexdigest()


PROOFS = """{ auditLog { edges { node { id hash proof { content leafHash path { side hash } root
    seal { number hash previousHash root count sealedAt content } } } } } }"""


async def test_an_entry_has_a_proof_once_it_is_sealed(api: Api, market: Market, connection: Any) -> None:
    await add_entries(connection, market)
    unsealed = (await api.data(PROOFS, ADMIN))["auditLog"]["edges"]
    assert [edge["node"]["proof"] for edge in unsealed] == [None] * 3
    seals = await seal_all(connection, batch=2)
    api.statements.clear()
    found = [edge["node"] for edge in (await api.data(PROOFS, ADMIN))["auditLog"]["edges"]]
    assert len(api.statements) == 3, "one for the list, two for all proofs"
    for node, seal in zip(found, (seals[1], seals[0], seals[0]), strict=True):
        proof = node["proof"]
        assert proof["leafHash"] == node["hash"]
        assert proof["root"] == proof["seal"]["root"] == seal.root.hex()
        assert (proof["seal"]["number"], proof["seal"]["hash"]) == (seal.number, seal.hash.hex())
        assert (proof["seal"]["previousHash"], proof["seal"]["count"]) == (seal.previous_hash.hex(), seal.count)
        checked = InclusionProof.from_json({**proof, "leaf_hash": proof["leafHash"]})
        assert flaw_of(checked) is None


async def test_one_entry_has_its_proof_by_its_id(api: Api, market: Market, connection: Any) -> None:
    [entry, *_] = await add_entries(connection, market)
    await seal_all(connection)
    query = "query($id: ID!) { node(id: $id) { ... on AuditEntry { proof { seal { number } } } } }"
    id_ = global_id("AuditEntry", entry.id)
    assert await api.data(query, ADMIN, id=id_) == {"node": {"proof": {"seal": {"number": 1}}}}
    for viewer in (SERVICE, user("gustav")):
        assert await api.data(query, viewer, id=id_) == {"node": None}
