"""The GraphQL schema, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import strawberry
from graphql import GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, Undefined
from strawberry.schema.config import StrawberryConfig

from resolvers.activities import ActivityMutations, ActivityQueries
from resolvers.activity_cancellations import (
    ActivityCancellationMutations,
    ActivityCancellationQueries,
    ActivityCancellationSubscriptions,
)
from resolvers.audit import AuditQueries
from resolvers.connect_accounts import ConnectAccountMutations, ConnectAccountSubscriptions
from resolvers.disputes import DisputeMutations, DisputeQueries, DisputeSubscriptions
from resolvers.entitlements import EntitlementQueries
from resolvers.ledger import LedgerQueries
from resolvers.nodes import NodeQueries
from resolvers.payment_changes import PaymentSubscriptions
from resolvers.payment_methods import PaymentMethodMutations
from resolvers.payments import PaymentMutations, PaymentQueries
from resolvers.payouts import PayoutMutations, PayoutQueries, PayoutSubscriptions
from resolvers.plans import PlanMutations, PlanQueries
from resolvers.reconciliation import ReconciliationMutations, ReconciliationQueries
from resolvers.refunds import RefundMutations, RefundQueries
from resolvers.rsvps import RsvpMutations
from resolvers.subscription_changes import BillingSubscriptionSubscriptions
from resolvers.subscriptions import BillingSubscriptionMutations, BillingSubscriptionQueries
from resolvers.users import UserMutations, UserQueries
from resolvers.webhook_events import WebhookEventMutations, WebhookEventQueries
from schema.described import object_type
from schema.errors import error_types
from schema.payment_methods import PaymentMethod
from schema.scalars import scalar_map

if TYPE_CHECKING:
    from collections.abc import Iterator


@object_type
class Query(
    NodeQueries, UserQueries, ActivityQueries, PaymentQueries, RefundQueries, PayoutQueries, PlanQueries,
    DisputeQueries, ActivityCancellationQueries, BillingSubscriptionQueries, EntitlementQueries, AuditQueries,
    LedgerQueries, WebhookEventQueries, ReconciliationQueries,
):  # fmt: skip
    """What can be asked. What the viewer may not see is null, or missing from lists."""


@object_type
class Mutation(
    UserMutations, ActivityMutations, ConnectAccountMutations, PaymentMethodMutations, PaymentMutations, RsvpMutations,
    RefundMutations, DisputeMutations, PayoutMutations, ActivityCancellationMutations,
    PlanMutations, BillingSubscriptionMutations, WebhookEventMutations, ReconciliationMutations,
):  # fmt: skip
    """What can be done. Everything expected that can go wrong is in the payload's `errors`."""


@object_type
class Subscription(
    PaymentSubscriptions, BillingSubscriptionSubscriptions, ConnectAccountSubscriptions, PayoutSubscriptions,
    ActivityCancellationSubscriptions, DisputeSubscriptions,
):  # fmt: skip
    """What can be followed. Each change comes with a cursor, to go on from after the connection was lost."""


def build_schema() -> strawberry.Schema:
    """The schema, to be built once a process; limits and masking are the transport's."""
    schema = strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[*error_types().values(), PaymentMethod],
        config=StrawberryConfig(scalar_map=scalar_map(), disable_field_suggestions=False),
    )
    for argument in _arguments(schema):
        # An optional argument is one that may be left out: it has no default, least of all null.
        if argument.default_value is None:
            argument.default_value = Undefined
    return schema


def _arguments(schema: strawberry.Schema) -> Iterator[Any]:
    """Every argument of a field, and every field of an input type."""
    for kind in schema._schema.type_map.values():  # noqa: SLF001 - Strawberry has no public name for it
        if isinstance(kind, GraphQLInputObjectType):
            yield from kind.fields.values()
        elif isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType)):
            for field in kind.fields.values():
                yield from field.args.values()


def export_schema() -> str:
    """The schema in GraphQL's own language, as `schema.graphql` keeps it."""
    return build_schema().as_str().rstrip() + "\n"
