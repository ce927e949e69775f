"""Bringing a plan to Stripe: its product, its price, and no more sales at the price before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from models.base import from_record
from models.operations import Operation, OperationStatus
from models.plans import Plan, PlanPrice
from services.errors import InvalidInput, InvalidState
from services.lookups import find_made, made_since
from services.operations import Answers, PlannedStep, Refusal, finish, record_answers
from services.plan_requests import (
    archive_price,
    create_price,
    create_product,
    list_prices,
    list_products,
    update_product,
)
from services.stripe_gateway import StripeResponse

if TYPE_CHECKING:
    from models.operations import OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.errors import DomainError
    from services.stripe_gateway import StripeError

KIND = "sync_plan"
CALLER = "system:plans"

PRODUCT = "create_product"
PRICE = "create_price"
UPDATE = "update_product"
_ARCHIVE = "archive_price:"

_OFFER = """
UPDATE plan_prices SET current = true, updated_at = now() WHERE id = (
    SELECT id FROM plan_prices WHERE plan_id = $1 AND stripe_price_id IS NOT NULL AND NOT archived
    ORDER BY id DESC LIMIT 1)
"""
# What Stripe never made, and no later revision of the plan will make.
_FORGET = """
DELETE FROM plan_prices p WHERE p.id = $1 AND p.stripe_price_id IS NULL
    AND ($3 OR EXISTS (SELECT FROM plan_prices later WHERE later.plan_id = $2 AND later.id > p.id))
    AND EXISTS (SELECT FROM plan_prices made WHERE made.plan_id = $2 AND made.stripe_price_id IS NOT NULL)
"""


def key_of(plan: Plan) -> str:
    """What the operation of the plan's revision is known by."""
    return f"{plan.id}:{plan.revision}"


async def newest_price(connection: AnyConnection, plan_id: UUID) -> PlanPrice | None:
    """The price that the platform asked for last."""
    record = await connection.fetchrow(
        "SELECT * FROM plan_prices WHERE plan_id = $1 ORDER BY id DESC LIMIT 1", plan_id
    )
    return None if record is None else from_record(PlanPrice, record)


class SyncPlan:
    """How one revision of a plan goes on: the product, the price, all that the product says, then the old price.

    A revision waits for those before it, so that Stripe hears of them in their order, and leaves what is left to do to
    a later one, which does it all.
    """

    name = KIND

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The next call, as the plan is now.

        Raises: OperationInProgress, StripeUnavailable where an earlier revision is not through.
        """
        if not answers.by_step:
            await _after_earlier_ones(services, operation)
        plan = await Plan.get(id=operation.subject_id)
        if plan.revision != operation.arguments["revision"]:
            return None
        product = _made(answers, PRODUCT) or plan.stripe_product_id
        if product is None:
            return PlannedStep(PRODUCT, _product_request(plan, operation))
        newest, *older = await PlanPrice.filter(plan_id=plan.id).order_by("-id")
        price = _made(answers, PRICE) or newest.stripe_price_id
        if price is None:
            return PlannedStep(PRICE, _price_request(plan, newest, product, operation))
        if answers.get(UPDATE) is None:
            request = update_product(
                product, name=plan.name, features=plan.features, active=plan.active, default_price=price
            )
            return PlannedStep(UPDATE, request)
        for old in older:
            step = f"{_ARCHIVE}{old.id}"
            if old.stripe_price_id is not None and not old.archived and answers.get(step) is None:
                return PlannedStep(step, archive_price(old.stripe_price_id))
        return None

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Keep Stripe's ids, and offer the newest price that is there."""
        plan_id, price_id = operation.subject_id, UUID(operation.arguments["price_id"])
        error = _error_in(answers)
        async with services.database.transaction() as connection:
            revision = await connection.fetchval(
                "SELECT revision FROM plans WHERE id = $1 FOR NO KEY UPDATE", plan_id
            )
            product = _made(answers, PRODUCT)
            if product is not None:
                await connection.execute(
                    "UPDATE plans SET stripe_product_id = $2, updated_at = now() WHERE id = $1", plan_id, product
                )
            price = _made(answers, PRICE)
            if price is not None:
                await connection.execute(
                    "UPDATE plan_prices SET stripe_price_id = $2, updated_at = now() WHERE id = $1", price_id, price
                )
            await connection.execute(
                "UPDATE plan_prices SET archived = true, updated_at = now() WHERE id = ANY($1)", _archived(answers)
            )
            await connection.execute("UPDATE plan_prices SET current = false WHERE plan_id = $1 AND current", plan_id)
            await connection.execute(_OFFER, plan_id)
            is_last = revision == operation.arguments["revision"]
            await connection.execute(_FORGET, price_id, plan_id, is_last and error is not None)
            await record_answers(
                connection, [(operation.id, step, answer) for step, answer in answers.by_step.items()]
            )
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The product or the price, by our metadata; what sets something is sent again and sets the same."""
        if step.step == PRODUCT:
            made = list_products(created_gte=made_since(operation))
            return await find_made(services, made, plan_id=str(operation.subject_id))
        if step.step == PRICE:
            product = await self._product(services, operation)
            return await find_made(
                services, list_prices(product=product), price_id=operation.arguments["price_id"]
            )
        return None

    async def _product(self, services: Services, operation: Operation) -> str:
        """The plan's product, which was there before its price was made.

        Raises: LookupError where there is none.
        """
        plan = await Plan.get(id=operation.subject_id)
        if plan.stripe_product_id is not None:
            return plan.stripe_product_id
        made = list_products(created_gte=made_since(operation))
        found = await find_made(services, made, plan_id=str(plan.id))
        if found is None:
            raise LookupError("a plan's price was asked for without its product")
        return str(found["id"])


async def _after_earlier_ones(services: Services, operation: Operation) -> None:
    """Wait for what is under way of the plan's earlier revisions, or bring it to its end."""
    running = await Operation.filter(kind=KIND, subject_id=operation.subject_id, status=OperationStatus.RUNNING)
    earlier = [other for other in running if other.arguments["revision"] < operation.arguments["revision"]]
    for other in sorted(earlier, key=lambda other: other.arguments["revision"]):
        await services.operations.wait(services, other)


def _made(answers: Answers, step: str) -> str | None:
    """Stripe's id of what a step made."""
    answer = answers.get(step)
    return str(answer.body["id"]) if isinstance(answer, StripeResponse) else None


def _archived(answers: Answers) -> list[UUID]:
    return [
        UUID(step.removeprefix(_ARCHIVE))
        for step, answer in answers.by_step.items()
        if step.startswith(_ARCHIVE) and isinstance(answer, StripeResponse)
    ]


def _product_request(plan: Plan, operation: Operation) -> Any:
    return create_product(
        name=plan.name, features=plan.features, active=plan.active,
        metadata={"plan_id": str(plan.id), "external_id": plan.external_id, "operation_id": str(operation.id)},
    )  # fmt: skip


def _price_request(plan: Plan, price: PlanPrice, product: str, operation: Operation) -> Any:
    return create_price(
        product=product, amount=price.amount, options=price.amounts[1:], interval=price.interval.value,
        interval_count=price.interval_count,
        metadata={"price_id": str(price.id), "plan_id": str(plan.id), "operation_id": str(operation.id)},
    )  # fmt: skip


def _error_in(answers: Answers) -> DomainError | None:
    refused = [answer for answer in answers.by_step.values() if isinstance(answer, Refusal)]
    return _error_of(refused[0].error) if refused else answers.error


def _error_of(error: StripeError) -> DomainError:
    """What Stripe's refusal of a plan means for the platform."""
    param = getattr(error, "param", None) or ""
    code = getattr(error, "code", None) or "refused"
    for name, field in _FIELDS.items():
        if param.startswith(name):
            return InvalidInput(field, "Stripe does not take this.")
    return InvalidState("Stripe refused the plan.", state=str(code).upper())


_FIELDS = {
    "name": "name", "marketing_features": "features", "currency_options": "prices", "currency": "price",
    "unit_amount": "price", "recurring": "interval",
}  # fmt: skip
