from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from models.audit import AuditEntry
from models.base import new_id
from models.reconciliations import Drift, DriftKind, DriftRepair, ReconciliationRun
from models.sets import insert_rows
from schema.ids import global_id
from services.errors import Forbidden, Unauthenticated
from services.reconciliation.runs import reconcile
from tests.resolvers.conftest import ADMIN, SERVICE, Api, user

if TYPE_CHECKING:
    from models.sets import AnyConnection
    from services.core import Services

START = """mutation($input: StartReconciliationInput!) { startReconciliation(input: $input) {
    reconciliation { id from to startedAt finishedAt checked matched requestedBy
        progress { accounts accountsDone account objectType leftUntil } }
    errors { __typename message path ... on InvalidState { state } }
} }"""
RUN = """query($id: ID!, $first: Int, $after: String) { reconciliation(id: $id) {
    id finishedAt checked matched progress { accounts accountsDone }
    drifts(first: $first, after: $after) {
        edges { cursor node { id kind objectType stripeId stripeAccount detail repair resolution
            here { amount currency } atStripe { amount currency } } }
        pageInfo { hasNextPage }
    }
} }"""
RUNS = "query { reconciliations(first: 5) { edges { node { id } } } }"
REPAIR = """mutation($input: RepairDriftInput!) { repairDrift(input: $input) {
    drift { id resolution repairedBy } errors { __typename message path ... on InvalidState { state } }
} }"""
PERIOD = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}


async def started(api: Api, viewer: Any = ADMIN, **period: str) -> Any:
    return (await api.data(START, viewer, input={**PERIOD, **period}))["startReconciliation"]


async def add_drifts(connection: AnyConnection, run_id: Any, *stripe_ids: str, **values: Any) -> list[Drift]:
    given = {
        "kind": DriftKind.AMOUNT_DIFFERS, "object_type": "charge", "here_minor": 1900, "here_currency": "USD",
        "at_stripe_minor": 2000, "at_stripe_currency": "USD", "detail": "It differs.", "repair": DriftRepair.SETTLE,
    }  # fmt: skip
    rows = [Drift(id=new_id(), run_id=run_id, stripe_id=id_, **{**given, **values}) for id_ in stripe_ids]
    await insert_rows(connection, Drift, rows)
    return rows


async def test_an_admin_starts_a_run_and_follows_it(api: Api, services: Services) -> None:
    begun = await started(api)
    assert begun["errors"] == []
    run = begun["reconciliation"]
    assert (run["from"], run["to"], run["finishedAt"]) == ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z", None)
    assert run["progress"] == {
        "accounts": 1, "accountsDone": 0, "account": None, "objectType": None, "leftUntil": None,
    }  # fmt: skip
    await reconcile(services)
    now = (await api.data(RUN, ADMIN, id=run["id"]))["reconciliation"]
    assert now["finishedAt"] is not None
    assert (now["checked"], now["matched"], now["progress"]) == (0, 0, {"accounts": 1, "accountsDone": 1})
    assert (await api.data(RUNS, ADMIN))["reconciliations"]["edges"] == [{"node": {"id": run["id"]}}]
    entries = await AuditEntry.filter(subject_type="RECONCILIATION_RUN").order_by("id")
    assert [entry.action for entry in entries] == ["reconciliation.started", "reconciliation.finished"]


async def test_asked_for_again_the_same_run_is_answered_and_another_is_refused(api: Api) -> None:
    first = await started(api)
    assert (await started(api))["reconciliation"]["id"] == first["reconciliation"]["id"]
    other = await started(api, to="2020-01-03T00:00:00Z")
    assert other["reconciliation"] is None
    assert [(error["__typename"], error["state"]) for error in other["errors"]] == [("InvalidState", "RUNNING")]
    assert await ReconciliationRun.all().count() == 1


async def test_a_period_that_cannot_be_is_refused(api: Api) -> None:
    for period, path in (
        ({"to": "2020-01-01T00:00:00Z"}, ["input", "to"]),
        ({"from": "2999-01-01T00:00:00Z", "to": "2999-01-02T00:00:00Z"}, ["input", "from"]),
    ):
        refused = await started(api, **period)
        assert [(error["__typename"], error["path"]) for error in refused["errors"]] == [("InvalidInput", path)]
    assert await ReconciliationRun.all().count() == 0


async def test_drifts_come_in_pages(api: Api, connection: AnyConnection) -> None:
    run_id = (await started(api))["reconciliation"]["id"]
    run = await ReconciliationRun.get()
    first, second = await add_drifts(connection, run.id, "ch_1", "ch_2")
    page = (await api.data(RUN, ADMIN, id=run_id, first=1))["reconciliation"]["drifts"]
    assert page["pageInfo"]["hasNextPage"] is True
    assert page["edges"][0]["node"] == {
        "id": global_id("Drift", second.id), "kind": "AMOUNT_DIFFERS", "objectType": "charge", "stripeId": "ch_2",
        "stripeAccount": None, "detail": "It differs.", "repair": "SETTLE", "resolution": None,
        "here": {"amount": "19.00", "currency": "USD"}, "atStripe": {"amount": "20.00", "currency": "USD"},
    }  # fmt: skip
    cursor = page["edges"][0]["cursor"]
    page = (await api.data(RUN, ADMIN, id=run_id, first=1, after=cursor))["reconciliation"]["drifts"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [global_id("Drift", first.id)]


async def test_a_list_of_runs_with_what_they_found_costs_a_fixed_number_of_statements(
    api: Api, connection: AnyConnection
) -> None:
    query = "{ reconciliations(first: 50) { edges { node { drifts(first: 5) { edges { node { stripeId } } } } } } }"
    counts = []
    for _ in range(2):
        for _ in range(4):
            await started(api)
            run = await ReconciliationRun.filter(finished_at=None).get()
            await add_drifts(connection, run.id, "ch_1", "ch_2")
            await ReconciliationRun.filter(id=run.id).update(finished_at=datetime.now(UTC))
        api.statements.clear()
        runs = (await api.data(query, ADMIN))["reconciliations"]["edges"]
        assert {len(run["node"]["drifts"]["edges"]) for run in runs} == {2}
        counts.append(len(api.statements))
    assert counts[0] == counts[1], api.statements


async def test_a_drift_that_was_repaired_is_answered_as_it_is(api: Api, connection: AnyConnection) -> None:
    await started(api)
    [drift] = await add_drifts(
        connection, (await ReconciliationRun.get()).id, "ch_1", resolution="It was repaired.",
        repaired_at=datetime.now(UTC), repaired_by="admin:anna",
    )  # fmt: skip
    answer = (await api.data(REPAIR, ADMIN, input={"driftId": global_id("Drift", drift.id)}))["repairDrift"]
    assert answer["errors"] == []
    assert (answer["drift"]["resolution"], answer["drift"]["repairedBy"]) == ("It was repaired.", "admin:anna")


async def test_what_is_no_drift_is_not_found(api: Api) -> None:
    for id_ in ("nonsense", global_id("Drift", new_id()), global_id("Payment", new_id())):
        answer = (await api.data(REPAIR, ADMIN, input={"driftId": id_}))["repairDrift"]
        assert [(error["__typename"], error["path"]) for error in answer["errors"]] == [
            ("NotFound", ["input", "driftId"])
        ]


async def test_nobody_but_admins_has_anything_to_do_with_it(api: Api, connection: AnyConnection) -> None:
    run_id = (await started(api))["reconciliation"]["id"]
    [drift] = await add_drifts(connection, (await ReconciliationRun.get()).id, "ch_1")
    node = "query($id: ID!) { node(id: $id) { id } }"
    for viewer in (user("gustav"), SERVICE):
        assert (await started(api, viewer))["errors"][0]["__typename"] == "Forbidden"
        assert isinstance(await api.refusal(RUNS, viewer), Forbidden)
        assert (await api.data(RUN, viewer, id=run_id))["reconciliation"] is None
        for id_ in (run_id, global_id("Drift", drift.id)):
            assert (await api.data(node, viewer, id=id_))["node"] is None
        answer = (await api.data(REPAIR, viewer, input={"driftId": global_id("Drift", drift.id)}))["repairDrift"]
        assert answer["errors"][0]["__typename"] == "Forbidden"
    assert isinstance(await api.refusal(RUNS, None), Unauthenticated)
    assert (await api.data(node, ADMIN, id=run_id))["node"] == {"id": run_id}
    assert (await Drift.get(id=drift.id)).repaired_at is None
