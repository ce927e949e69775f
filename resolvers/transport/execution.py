"""Executing GraphQL operations, the same over HTTP and websockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from graphql import ExecutionResult, GraphQLError
from graphql.execution import create_source_event_stream, execute_root_selection_set, execute_subscription_event
from strawberry.execution import optimized_is_awaitable

from resolvers.transport.documents import Documents, RequestRefused
from resolvers.transport.masking import masked_all
from resolvers.transport.persisted_queries import PersistedQueries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import strawberry
    from graphql.execution import Executor

    from resolvers.transport.documents import Operation
    from resolvers.transport.parameters import Parameters
    from services.viewer import Viewer
    from settings import Settings


class ContextFactory(Protocol):
    """Makes what resolvers find as `info.context`; called once a request, and once for each event of a subscription."""

    def __call__(self, viewer: Viewer | None, accept_language: str | None, /) -> Any:
        """A fresh context: its loaders remember what they have read."""


class Watch(Protocol):
    """Sees the answers to some viewers, and records them, before they are given."""

    def concerns(self, viewer: Viewer | None, /) -> bool:
        """Whether answers to this viewer are watched."""

    def watching(self, base: type[Executor[Any]], /) -> type[Executor[Any]]:
        """The executor for their operations."""

    async def record(self, executor: Executor[Any], operation: Operation, result: ExecutionResult, /) -> None:
        """Record what such an executor answers; where that fails, nothing is answered."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and in which language."""

    viewer: Viewer | None
    accept_language: str | None


class SubscriptionFailed(Exception):
    """A subscription that could not be started; `errors` are ready to be sent."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("the subscription could not be started")
        self.errors = errors


class Execution:
    """Runs operations on a schema."""

    def __init__(
        self, schema: strawberry.Schema, settings: Settings, new_context: ContextFactory, watch: Watch | None = None
    ) -> None:
        self._schema = schema._schema  # noqa: SLF001 - Strawberry has no public name for it
        self._executor_class: type[Executor[Any]] = schema.execution_context_class
        self._watch = watch
        self._watching_class = self._executor_class if watch is None else watch.watching(self._executor_class)
        self._settings = settings
        self._new_context = new_context
        self._documents = Documents(self._schema, settings)
        self._persisted = PersistedQueries()

    def prepare(self, parameters: Parameters) -> Operation:
        """The operation that a request means.

        Raises: RequestRefused.
        """
        text = self._persisted.text_of(parameters)
        document = self._documents.read(text)
        self._persisted.remember(parameters, text)
        operation = document.operation(parameters.operation_name)
        operation.check(parameters.variables, self._settings)
        return operation

    async def execute(self, operation: Operation, parameters: Parameters, caller: Caller) -> dict[str, Any]:
        """Run a query or mutation: `data`, and `errors` where there are any.

        Raises: RequestRefused where the variables do not fit.
        """
        executor = self._executor(operation, parameters, caller)
        result = execute_root_selection_set(executor)
        if not isinstance(result, ExecutionResult):
            result = await result
        try:
            await self._record(executor, operation, caller, result)
        except Exception as error:  # noqa: BLE001 - what cannot be recorded is not answered: masked as any error is
            result = ExecutionResult(None, [GraphQLError("This was not recorded.", original_error=error)])
        return response(result, operation)

    async def subscribe(
        self, operation: Operation, parameters: Parameters, caller: Caller
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Start a subscription; the answers come as its events do.

        Raises: RequestRefused where the variables do not fit; SubscriptionFailed.
        """
        executor = self._executor(operation, parameters, caller)
        source: Any = create_source_event_stream(executor)
        if not isinstance(source, ExecutionResult) and executor.is_awaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            raise SubscriptionFailed(masked_all(source.errors or (), operation=operation.name))
        return self._answers(executor, source, operation, caller)

    def _executor(self, operation: Operation, parameters: Parameters, caller: Caller) -> Executor[Any]:
        is_watched = self._watch is not None and self._watch.concerns(caller.viewer)
        executor_class = self._watching_class if is_watched else self._executor_class
        executor = executor_class.build(
            self._schema,
            operation.document,
            context_value=self._new_context(caller.viewer, caller.accept_language),
            raw_variable_values=parameters.variables,
            operation_name=operation.name,
            is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]  # a plain bool, half as dear
            hide_suggestions=not self._settings.introspection,
            operation_extensions=parameters.extensions,
        )
        if isinstance(executor, list):
            raise RequestRefused(*executor)
        return executor

    async def _answers(
        self, executor: Executor[Any], source: Any, operation: Operation, caller: Caller
    ) -> AsyncGenerator[dict[str, Any], None]:
        events = aiter(source)
        try:
            async for event in events:
                each = executor.build_per_event_executor(event)
                # Loaders of an earlier event would answer with the state of that time.
                each.context_value = self._new_context(caller.viewer, caller.accept_language)
                result = execute_subscription_event(each)
                if not isinstance(result, ExecutionResult):
                    result = await result
                await self._record(each, operation, caller, result)
                yield response(result, operation)
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()

    async def _record(
        self, executor: Executor[Any], operation: Operation, caller: Caller, result: ExecutionResult
    ) -> None:
        if self._watch is not None and self._watch.concerns(caller.viewer):
            await self._watch.record(executor, operation, result)


def response(result: ExecutionResult, operation: Operation) -> dict[str, Any]:
    """The response map of what was executed."""
    if result.errors:
        return {"data": result.data, "errors": masked_all(result.errors, operation=operation.name)}
    return {"data": result.data}
