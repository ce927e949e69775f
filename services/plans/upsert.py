"""Telling of a plan: our row first, then Stripe's product and price, as one operation for each revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.base import from_record, new_id
from models.operations import Operation, OperationStatus
from models.plans import Plan, PlanPrice
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.operations import Claimed, Intent, Reserved, claim
from services.plans.contents import PlanContents, plan_facts
from services.plans.syncing import CALLER, KIND, key_of, newest_price
from services.viewer import Role

if TYPE_CHECKING:
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

_LOCK = """
SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM plans p WHERE external_id = $1 FOR NO KEY UPDATE
"""


async def upsert_plan(services: Services, *, viewer: Viewer, contents: PlanContents) -> Plan:
    """Create or update a plan by the platform's own id, here and at Stripe; the same again changes nothing.

    Another price, interval or currency makes a new price: those who have subscribed keep theirs. Of two that come at
    once the later one stands.

    Raises: Forbidden for users; InvalidInput; InvalidState where Stripe refuses it; OperationInProgress;
        StripeUnavailable.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    contents.check()
    async with services.database.transaction() as connection:
        claimed = await _claimed(connection, services, viewer, contents)
    if claimed is not None:
        await services.operations.answer(services, Reserved(claimed, []))
    return await Plan.get(external_id=contents.external_id)


async def _claimed(
    connection: AnyConnection, services: Services, viewer: Viewer, contents: PlanContents
) -> Claimed | None:
    """The operation that brings the plan to Stripe; None where the plan is there as it should be."""
    plan, price, xid = await _locked(connection, contents)
    known = None if price is None else plan_facts(plan, price)
    if price is not None and contents.is_plan(plan) and contents.is_price(price):
        operation = await _operation(connection, plan)
        if operation is None or operation.status is OperationStatus.SUCCEEDED:
            return None
        if operation.status is not OperationStatus.FAILED:
            return Claimed(operation, new=False)
    if price is not None:
        plan.revision += 1
    plan.name, plan.features = contents.name, list(contents.features)
    plan.trial_days, plan.active = contents.trial_days, contents.active
    if price is None or not contents.is_price(price):
        price = _new_price(plan, contents)
        await insert_rows(connection, PlanPrice, [price])
    await update_rows(connection, Plan, [plan], ("name", "features", "trial_days", "active", "revision"))
    changes = ChangeSet(viewer.caller, xid)
    if known != plan_facts(plan, price):
        changes.audit("plan.upserted", "PLAN", plan.id, before=known, after=plan_facts(plan, price))
    await changes.write(connection)
    arguments = {"revision": plan.revision, "price_id": str(price.id)}
    return await claim(
        connection, Intent(CALLER, key_of(plan), KIND, arguments), subject_id=plan.id,
        leased_until=services.clock() + services.operations.lease, arguments=arguments,
    )  # fmt: skip


async def _locked(connection: AnyConnection, contents: PlanContents) -> tuple[Plan, PlanPrice | None, int]:
    """The locked plan, made if there is none, its newest price (None: it was made just now), and the transaction."""
    plan = Plan(id=new_id(), external_id=contents.external_id, name=contents.name)
    await insert_rows(connection, Plan, [plan], conflict="ON CONFLICT (external_id) DO NOTHING")
    record: Any = await connection.fetchrow(_LOCK, contents.external_id)
    plan = from_record(Plan, record)
    return plan, await newest_price(connection, plan.id), record["xid"]


async def _operation(connection: AnyConnection, plan: Plan) -> Operation | None:
    record = await connection.fetchrow(
        "SELECT * FROM operations WHERE caller = $1 AND idempotency_key = $2", CALLER, key_of(plan)
    )
    return None if record is None else from_record(Operation, record)


def _new_price(plan: Plan, contents: PlanContents) -> PlanPrice:
    return PlanPrice(
        id=new_id(), plan_id=plan.id, currency=contents.price.currency, amount_minor=contents.price.minor,
        currency_options=contents.options, interval=contents.interval, interval_count=contents.interval_count,
    )  # fmt: skip
