"""The routes of GraphQL: HTTP and websockets at `/graphql`, and GraphiQL's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from resolvers.admin_reads import AdminReads
from resolvers.transport.bodies import Bodies
from resolvers.transport.endpoint import GraphQLEndpoint
from resolvers.transport.execution import Execution
from resolvers.transport.graphiql_page import Graphiql
from resolvers.transport.sockets import SocketEndpoint, SocketLimits, Sockets
from schema.context import Context
from schema.context import new_context as new_paydesk_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    import strawberry
    from starlette.routing import BaseRoute

    from resolvers.transport.execution import ContextFactory, Watch
    from services.authentication import Authenticator
    from services.core import Services
    from services.viewer import Viewer
    from settings import Settings

PATH: Final = "/graphql"
_PREFLIGHT_S: Final = 7200


def graphql_routes(
    schema: strawberry.Schema,
    services: Services,
    authenticator: Authenticator,
    *,
    sockets: Sockets | None = None,
    tokens: Mapping[str, str] | None = None,
) -> list[BaseRoute]:
    """Paydesk's GraphQL; the arguments as for `transport_routes`."""

    def new_context(viewer: Viewer | None, accept_language: str | None) -> Context:
        return new_paydesk_context(services, viewer, accept_language=accept_language)

    return transport_routes(
        schema, services.settings, authenticator, new_context, sockets=sockets, tokens=tokens,
        watch=AdminReads(services),
    )  # fmt: skip


def transport_routes(
    schema: strawberry.Schema,
    settings: Settings,
    authenticator: Authenticator,
    new_context: ContextFactory,
    *,
    sockets: Sockets | None = None,
    tokens: Mapping[str, str] | None = None,
    watch: Watch | None = None,
) -> list[BaseRoute]:
    """GraphQL for any schema.

    Args:
        new_context: makes `info.context` from the viewer and the `Accept-Language` header.
        sockets: the registry of open websockets, to be closed when the server stops.
        tokens: ready-made tokens by role that GraphiQL on this machine fills in; for development.
        watch: records what some viewers are answered.
    """
    execution = Execution(schema, settings, new_context, watch)
    graphiql = Graphiql(path=PATH, tokens=tokens or {}) if settings.graphiql else None
    bodies = Bodies(limit=settings.body_limit, evidence_limit=settings.evidence_body_limit)
    endpoint = GraphQLEndpoint(execution, authenticator, bodies=bodies, graphiql=graphiql)
    limits = SocketLimits(
        init_s=settings.socket_init_s, subscriptions=settings.socket_subscriptions, message_length=settings.body_limit
    )
    socket_endpoint = SocketEndpoint(
        execution, authenticator, Sockets() if sockets is None else sockets, limits,
        allowed_origins=settings.allowed_origins,
    )  # fmt: skip
    # No credentials: tokens come in a header, never in a cookie.
    cors = Middleware(
        CORSMiddleware, allow_origins=list(settings.allowed_origins), allow_methods=["GET", "POST"],
        allow_headers=["*"], max_age=_PREFLIGHT_S,
    )  # fmt: skip
    return [
        Route(PATH, endpoint, middleware=[cors] if settings.allowed_origins else None),
        WebSocketRoute(PATH, socket_endpoint),
        *(graphiql.routes() if graphiql is not None else ()),
    ]
