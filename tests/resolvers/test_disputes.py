"""Disputes in the API: who sees them, in which order they are listed, and what a client is told of a refusal."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.base import new_id
from models.disputes import Dispute, DisputeStatus, EvidenceFile, FraudWarning
from models.sets import insert_rows
from schema.ids import global_id
from services.changes import ChangeSet
from services.disputes.history import record_change, snapshot
from services.errors import NotFound, Unauthenticated
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_allocation, add_dispute, add_payment

if TYPE_CHECKING:
    from models.sets import AnyConnection

WHOLE = """query($id: ID!) { node(id: $id) { ... on Dispute {
    status reason networkReasonCode evidenceDueBy submissionCount closedAt version
    amount { amount currency } withdrawnAmount { amount } hostAmount { amount } payment { id }
    evidence { name text } gatheredEvidence { name text } files { field name mediaType } notes { author text at }
    history { edges { node { previousStatus status } } }
} } }"""
NODE = "query($id: ID!) { node(id: $id) { id } }"
OF_PAYMENT = """query($id: ID!) { payment(id: $id) {
    disputes(first: 5) { edges { node { id } } } fraudWarnings { fraudType actionable refund { id } }
} }"""
LIST = """query($status: [DisputeStatus!], $first: Int, $after: String, $last: Int, $before: String) {
    disputes(status: $status, first: $first, after: $after, last: $last, before: $before) {
        edges { node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}"""
SUBMIT = """mutation($input: SubmitDisputeEvidenceInput!) { submitDisputeEvidence(input: $input) {
    dispute { id } errors { __typename code message path ... on InvalidState { state } }
} }"""
ACCEPT = """mutation($input: AcceptDisputeInput!) { acceptDispute(input: $input) {
    dispute { id } errors { __typename code path ... on InvalidState { state } }
} }"""
NOTE = """mutation($input: AddDisputeNoteInput!) { addDisputeNote(input: $input) {
    dispute { notes { author text at } } errors { __typename code path }
} }"""
FOLLOW = """subscription($disputeId: ID, $after: String) { disputeChanged(disputeId: $disputeId, after: $after) {
    cursor previousStatus status dispute { id status }
} }"""


def id_of(dispute: Dispute) -> str:
    return global_id("Dispute", dispute.id)


@pytest.fixture
async def dispute(market: Market, connection: AnyConnection) -> Dispute:
    """Of the market's payment."""
    return await add_dispute(
        connection, market.payment, evidence={"customer_name": "Ada", "receipt": "file_1"},
        notes=[{"id": "1", "at": "2030-01-01T00:00:00+00:00", "author": "The guest", "text": "Thanks!"}],
    )  # fmt: skip


async def test_a_dispute_says_everything_about_itself(
    api: Api, market: Market, dispute: Dispute, connection: AnyConnection
) -> None:
    file: dict[str, Any] = {"dispute_id": dispute.id, "field": "receipt", "media_type": "application/pdf", "size": 4}
    kept = EvidenceFile(id=new_id(), filename="receipt.pdf", stripe_file_id="file_1", **file)
    under_way = EvidenceFile(id=new_id(), filename="other.pdf", content=b"%PDF", **file)
    await insert_rows(connection, EvidenceFile, [kept, under_way])
    found = (await api.data(WHOLE, user("henriette"), id=id_of(dispute)))["node"]
    gathered = {text["name"]: text["text"] for text in found.pop("gatheredEvidence")}
    assert gathered["product_description"] == "1 seat of the activity “Wine tasting”, hosted by Henriette."
    assert "The guest: Thanks!" in gathered["uncategorized_text"]
    assert dispute.evidence_due_by is not None
    assert found == {
        "status": "NEEDS_RESPONSE", "reason": "fraudulent", "networkReasonCode": None,
        "evidenceDueBy": dispute.evidence_due_by.isoformat().replace("+00:00", "Z"), "submissionCount": 0,
        "closedAt": None, "version": 1, "amount": {"amount": "20.00", "currency": "USD"},
        "withdrawnAmount": {"amount": "20.00"}, "hostAmount": {"amount": "0.00"},
        "payment": {"id": global_id("Payment", market.payment.id)},
        "evidence": [{"name": "customer_name", "text": "Ada"}],
        "files": [{"field": "RECEIPT", "name": "receipt.pdf", "mediaType": "application/pdf"}],
        "notes": [{"author": "The guest", "text": "Thanks!", "at": "2030-01-01T00:00:00Z"}],
        "history": {"edges": []},
    }  # fmt: skip


async def test_hosts_see_of_the_guests_address_what_they_see_elsewhere(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    dispute = await add_dispute(connection, market.payment, evidence={"customer_email_address": market.guest.email})
    name, _, domain = market.guest.email.partition("@")
    for viewer, address in ((user("henriette"), f"{name[0]}…@{domain}"), (SERVICE, market.guest.email)):
        found = (await api.data(WHOLE, viewer, id=id_of(dispute)))["node"]
        for said in ("evidence", "gatheredEvidence"):
            assert {"name": "customer_email_address", "text": address} in found[said]
            assert viewer is SERVICE or market.guest.email not in str(found[said])


async def test_hosts_who_have_a_part_of_the_payment_see_its_disputes_and_leave_the_answer_to_the_activity_s_host(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    dispute = await add_dispute(connection, market.payment, evidence={"customer_email_address": market.guest.email})
    await add_allocation(connection, market.payment, market.host)
    await add_allocation(connection, market.payment, market.stranger)
    other = await add_dispute(connection, await add_payment(connection, market.guest, host_id=market.host.id))
    co_host = user("stella")
    assert await api.data(WHOLE, co_host, id=id_of(dispute)) == await api.data(
        WHOLE, user("henriette"), id=id_of(dispute)
    )
    assert market.guest.email not in str(await api.data(WHOLE, co_host, id=id_of(dispute)))
    payment = (await api.data(OF_PAYMENT, co_host, id=global_id("Payment", market.payment.id)))["payment"]
    assert [edge["node"]["id"] for edge in payment["disputes"]["edges"]] == [id_of(dispute)]
    assert [edge["node"]["id"] for edge in (await api.data(LIST, co_host))["disputes"]["edges"]] == [id_of(dispute)]
    assert (await api.data(NODE, co_host, id=id_of(other)))["node"] is None
    given = {"disputeId": id_of(dispute), "idempotencyKey": "k"}
    evidence = {**given, "evidence": {"productDescription": "Mine."}, "submit": True}
    for document, name, values in ((SUBMIT, "submitDisputeEvidence", evidence), (ACCEPT, "acceptDispute", given)):
        answer = (await api.data(document, co_host, input=values))[name]
        assert (answer["dispute"], [error["code"] for error in answer["errors"]]) == (None, ["FORBIDDEN"])
    assert await connection.fetchval("SELECT count(*) FROM operations") == 0
    assert (await connection.fetchval("SELECT version FROM disputes WHERE id = $1", dispute.id)) == dispute.version


async def test_the_host_and_the_platform_see_disputes_and_the_guest_does_not(
    api: Api, market: Market, dispute: Dispute, connection: AnyConnection
) -> None:
    warning = FraudWarning(
        id=new_id(), payment_id=market.payment.id, stripe_warning_id="issfr_1", stripe_charge_id="ch_1",
        fraud_type="misc", actionable=True, stripe_created_at=datetime.now(UTC),
    )  # fmt: skip
    await insert_rows(connection, FraudWarning, [warning])
    payment_id = global_id("Payment", market.payment.id)
    for viewer, sees in ((user("henriette"), True), (user("gustav"), False), (SERVICE, True), (ADMIN, True)):
        payment = (await api.data(OF_PAYMENT, viewer, id=payment_id))["payment"]
        assert [edge["node"]["id"] for edge in payment["disputes"]["edges"]] == ([id_of(dispute)] if sees else [])
        assert payment["fraudWarnings"] == (
            [{"fraudType": "misc", "actionable": True, "refund": None}] if sees else []
        )
        assert ((await api.data(NODE, viewer, id=id_of(dispute)))["node"] is not None) == sees
        assert len((await api.data(LIST, viewer))["disputes"]["edges"]) == (1 if sees else 0)
    assert (await api.data(NODE, user("stella"), id=id_of(dispute)))["node"] is None
    assert isinstance(await api.refusal(LIST, None), Unauthenticated)


async def test_they_are_listed_by_deadline_and_then_the_newest_first_page_by_page(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    given: list[dict[str, Any]] = [
        {"status": DisputeStatus.WON, "stripe_created_at": now - timedelta(days=3)},
        {"evidence_due_by": now + timedelta(days=5)},
        {"status": DisputeStatus.UNDER_REVIEW, "stripe_created_at": now},
        {"evidence_due_by": now + timedelta(days=1), "status": DisputeStatus.WARNING_NEEDS_RESPONSE},
        {"evidence_due_by": None},
    ]
    rows = [await add_dispute(connection, market.payment, **values) for values in given]
    order = [id_of(rows[place]) for place in (3, 1, 4, 2, 0)]
    listed = (await api.data(LIST, SERVICE))["disputes"]
    assert [edge["node"]["id"] for edge in listed["edges"]] == order
    found: list[str] = []
    after = None
    while True:
        page = (await api.data(LIST, SERVICE, first=2, after=after))["disputes"]
        found += [edge["node"]["id"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == order
    last = (await api.data(LIST, SERVICE, last=2, before=after))["disputes"]
    assert [edge["node"]["id"] for edge in last["edges"]] == order[2:4]
    waiting = (await api.data(LIST, SERVICE, status=["NEEDS_RESPONSE"]))["disputes"]
    assert [edge["node"]["id"] for edge in waiting["edges"]] == [order[1], order[2]]


async def test_a_list_of_disputes_costs_a_fixed_number_of_statements(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    query = """{ disputes(first: 50) { edges { node {
        id payment { id payer { name } } files { name } gatheredEvidence { name text } history { edges { cursor } }
    } } } }"""
    await add_dispute(connection, market.payment)
    await api.data(query, SERVICE)
    api.statements.clear()
    await api.data(query, SERVICE)
    one = len(api.statements)
    for _ in range(9):
        payment = await add_payment(connection, market.guest, host_id=market.host.id, captured=True)
        await add_dispute(connection, payment, reason="duplicate")
    api.statements.clear()
    assert len((await api.data(query, SERVICE))["disputes"]["edges"]) == 10
    assert len(api.statements) <= one + 1  # the other payment of those who say that they paid twice


async def test_what_is_wrong_with_an_answer_is_said_by_its_field(api: Api, dispute: Dispute) -> None:
    file = {"field": "RECEIPT", "name": "a.pdf", "mediaType": "application/pdf", "content": "no base64"}
    given: dict[str, Any] = {"disputeId": id_of(dispute), "evidence": {}, "idempotencyKey": "k1"}
    wrong: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"files": [file]}, "InvalidInput", ["input", "files", "0", "content"]),
        ({"evidence": {"serviceDate": "x" * 20_001}}, "InvalidInput", ["input", "evidence", "serviceDate"]),
        ({"disputeId": "nonsense"}, "NotFound", ["input", "disputeId"]),
        ({"disputeId": global_id("Dispute", new_id())}, "NotFound", ["input", "disputeId"]),
        ({"idempotencyKey": ""}, "InvalidInput", ["input", "idempotencyKey"]),
    ]
    for changed, kind, path in wrong:
        answer = (await api.data(SUBMIT, user("henriette"), input={**given, **changed}))["submitDisputeEvidence"]
        assert [(error["__typename"], error["path"]) for error in answer["errors"]] == [(kind, path)]
    guests = (await api.data(SUBMIT, user("gustav"), input=given))["submitDisputeEvidence"]
    assert [error["__typename"] for error in guests["errors"]] == ["NotFound"]


async def test_what_is_decided_takes_no_answer_and_cannot_be_accepted(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    lost = await add_dispute(connection, market.payment, status=DisputeStatus.LOST)
    content = b64encode(b"%PDF").decode()
    file = {"field": "RECEIPT", "name": "a.pdf", "mediaType": "application/pdf", "content": content}
    given = {"disputeId": id_of(lost), "idempotencyKey": "k"}
    submitted = (await api.data(SUBMIT, ADMIN, input={**given, "evidence": {}, "files": [file]}))
    [error] = submitted["submitDisputeEvidence"]["errors"]
    assert (error["__typename"], error["state"]) == ("InvalidState", "LOST")
    [error] = (await api.data(ACCEPT, ADMIN, input=given))["acceptDispute"]["errors"]
    assert (error["__typename"], error["state"]) == ("InvalidState", "LOST")
    assert await EvidenceFile.all().count() == 0


async def test_notes_are_the_platform_s(api: Api, dispute: Dispute) -> None:
    given = {
        "disputeId": id_of(dispute), "author": "Support", "text": "Called twice.", "at": "2030-02-01T10:00:00Z",
        "idempotencyKey": "n1",
    }  # fmt: skip
    answer = (await api.data(NOTE, user("henriette"), input=given))["addDisputeNote"]
    assert [error["__typename"] for error in answer["errors"]] == ["Forbidden"]
    for _ in range(2):
        answer = (await api.data(NOTE, SERVICE, input=given))["addDisputeNote"]
        assert answer["errors"] == []
        assert answer["dispute"]["notes"][1:] == [
            {"author": "Support", "text": "Called twice.", "at": "2030-02-01T10:00:00Z"}
        ]
    other = (await api.data(NOTE, SERVICE, input={**given, "text": "Called."}))["addDisputeNote"]
    assert [error["__typename"] for error in other["errors"]] == ["IdempotencyKeyReused"]


async def test_changes_are_followed_by_the_host_and_the_platform(
    api: Api, market: Market, dispute: Dispute, connection: AnyConnection
) -> None:
    async with connection.transaction():
        xid: int = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        changes = ChangeSet("stripe:evt_1", xid)
        record_change(changes, dispute, market.payment, "dispute.needs_response", None)
        record_change(changes, dispute, market.payment, "dispute.won", snapshot(dispute))
        await changes.write(connection)
    page = (await api.data(WHOLE, SERVICE, id=id_of(dispute)))["node"]["history"]["edges"]
    assert [edge["node"]["previousStatus"] for edge in page] == [None, "NEEDS_RESPONSE"]
    first = (await api.data("""query($id: ID!) { node(id: $id) { ... on Dispute {
        history(first: 1) { edges { cursor } } } } }""", SERVICE, id=id_of(dispute)))["node"]
    after = first["history"]["edges"][0]["cursor"]
    for viewer, variables in (
        (user("henriette"), {}), (user("henriette"), {"disputeId": id_of(dispute)}), (SERVICE, {}),
    ):  # fmt: skip
        stream = await api.schema.subscribe(
            FOLLOW, variable_values={**variables, "after": after}, context_value=api.context(viewer)
        )
        result = await anext(aiter(stream))  # type: ignore[arg-type]
        assert result.errors is None
        assert result.data is not None
        change = result.data["disputeChanged"]
        assert (change["previousStatus"], change["dispute"]["id"]) == ("NEEDS_RESPONSE", id_of(dispute))
        await stream.aclose()  # type: ignore[union-attr]


async def test_who_does_not_see_a_dispute_cannot_follow_it(api: Api, dispute: Dispute) -> None:
    for viewer in (user("gustav"), user("stella")):
        stream = await api.schema.subscribe(
            FOLLOW, variable_values={"disputeId": id_of(dispute)}, context_value=api.context(viewer)
        )
        result = await anext(aiter(stream))  # type: ignore[arg-type]
        assert result.errors is not None
        assert isinstance(result.errors[0].original_error, NotFound)
