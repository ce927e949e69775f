"""What an answer shows an administrator of other people: noted by the executor, so that no resolver has to think of it.

Whatever the schema gains is recorded, unless it is listed here as nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from graphql import GraphQLError, OperationType
from graphql.execution.values import get_argument_values

from schema.audit import subject_name
from schema.ids import parse_id
from services.audit.reads import Read, record_read
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from graphql import ExecutionResult
    from graphql.execution import Executor

    from resolvers.transport.documents import Operation
    from services.core import Services
    from services.viewer import Viewer

TYPES_OF_NOBODY: Final = frozenset({"Activity", "Drift", "Plan", "ReconciliationRun"})
"""Things with an id that tell of no person: everybody with a token may see them, or they are Stripe's books."""
FIELDS_OF_NOBODY: Final = frozenset(
    {"activity", "feePreview", "node", "nodes", "plans", "reconciliation", "reconciliations", "viewer"}
)
"""Fields at the top that say nothing of people by themselves: what they lead to is noted as it comes."""


class Notes:
    """What one answer is made of."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[str, Mapping[str, Any]]] = {}
        """By their keys in the answer, the fields at the top with their arguments."""
        self.seen: dict[str, dict[UUID, None]] = {}
        self.tops: list[tuple[str, UUID]] = []

    def see(self, type_name: str, shown: Any, viewer: Viewer, *, at_top: bool) -> None:
        """Note a thing, unless it is the viewer's own person."""
        known = parse_id(shown.id)
        if known is None or (type_name == "User" and shown.external_id == viewer.external_id):
            return
        self.seen.setdefault(type_name, {})[known.id] = None
        if at_top:
            self.tops.append((subject_name(type_name), known.id))


class AdminReads:
    """Watches what is answered to admins, and records it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @staticmethod
    def concerns(viewer: Viewer | None) -> bool:
        """Whether this viewer's reads are recorded: `service` is no person, and what a user sees is theirs."""
        return viewer is not None and viewer.role is Role.ADMIN

    @staticmethod
    def watching(base: type[Executor[Any]]) -> type[Executor[Any]]:
        """The same executor, which notes what it answers."""

        class Watching(_Noting, base):  # type: ignore[misc, valid-type]
            pass

        return Watching

    async def record(self, executor: Executor[Any], operation: Operation, result: ExecutionResult) -> None:
        """Record an answer that such an executor made, where it holds people's data.

        Raises: ConnectionError, OutcomeUnknownError: it must not be given then.
        """
        notes: Notes = executor.notes  # type: ignore[attr-defined]
        if result.data is None:
            return
        answered = [asked for key, asked in notes.asked.items() if result.data.get(key) is not None]
        changes = operation.kind is OperationType.MUTATION
        says_something = not changes and any(name not in FIELDS_OF_NOBODY for name, _ in answered)
        if not notes.seen and not says_something:
            return
        # The arguments of a mutation are in what it recorded itself, as far as they may be kept.
        fields = [(name, {} if changes else arguments) for name, arguments in answered]
        subject = notes.tops[0] if len(notes.tops) == 1 else None
        viewer = executor.context_value.require_viewer()
        await record_read(
            self._services, viewer, Read(operation.kind.value, operation.name, fields, notes.seen, subject)
        )


class _Noting:
    """Notes each field at the top, and each object that has an id."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes = Notes()

    def build_per_event_executor(self, payload: Any) -> Any:
        """Each event of a subscription is an answer of its own."""
        executor = super().build_per_event_executor(payload)  # type: ignore[misc]
        executor.notes = Notes()
        return executor

    def execute_field(self, parent_type: Any, source: Any, details: Any, path: Any, position: Any) -> Any:
        """Note a field at the top before it is resolved."""
        if path.prev is None:
            self._note_field(parent_type, details, path.key)
        return super().execute_field(parent_type, source, details, path, position)  # type: ignore[misc]

    def complete_object_value(
        self, return_type: Any, details: Any, info: Any, path: Any, result: Any, position: Any
    ) -> Any:
        """Note an object before its fields are resolved."""
        if return_type.name not in TYPES_OF_NOBODY and any(each.name == "Node" for each in return_type.interfaces):
            self.notes.see(return_type.name, result, info.context.require_viewer(), at_top=path.prev is None)
        return super().complete_object_value(  # type: ignore[misc]
            return_type, details, info, path, result, position
        )

    def _note_field(self, parent_type: Any, details: Any, key: str) -> None:
        executor: Any = self
        node = details[0].node
        field = executor.schema.get_field(parent_type, node.name.value)
        if field is None or node.name.value.startswith("__"):
            return
        try:
            arguments = get_argument_values(
                field, node, executor.variable_values, details[0].fragment_variable_values, hide_suggestions=True
            )
        except GraphQLError:  # for which the field itself is refused in a moment
            arguments = {}
        self.notes.asked[key] = (node.name.value, arguments)
