"""What a GraphQL document may cost before it runs: depth, aliases and the number of fields, lists multiplied out.

A fragment is weighed once however often it is spread, so the time taken grows with the document's length alone. The
documents that come here have passed GraphQL's own rules: there are no cycles and no unknown fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import DocumentNode, SelectionSetNode

    from settings import Settings

PAGE_SIZE: Final = 20
"""Items of a page that says neither `first` nor `last`."""
PAGE_MAX: Final = 100
LIST_SIZE: Final = 10
"""Items of a list that has no pages."""
INTROSPECTIONS: Final = 4
"""`__schema` and `__type` fields in a document."""

_PAGING: Final = ("first", "last")


@dataclass(frozen=True, slots=True)
class OperationCost:
    """What one operation costs at most; `depends` where a list among its variables can make it more."""

    fields: int
    depth: int
    depends: bool


class CostModel:
    """Weighs the operations of one document."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }

    def weigh(self, operation: OperationDefinitionNode, variables: Mapping[str, Any] | None) -> OperationCost:
        """The cost with these variables; at most, where they are None."""
        root = self._schema.get_root_type(operation.operation)
        if root is None:
            return OperationCost(0, 0, depends=False)
        defaults = {
            definition.variable.name.value: definition.default_value
            for definition in operation.variable_definitions or ()
            if definition.default_value is not None
        }
        weighing = _Weighing(self._schema, self._fragments, variables, defaults)
        fields, depth = weighing.selections(operation.selection_set, root, None)
        return OperationCost(fields, depth, weighing.depends)


class _Weighing:
    """One pass over an operation, remembering each fragment."""

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, Any] | None,
        defaults: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._defaults = defaults
        self._weighed: dict[tuple[str, int | None], tuple[int, int]] = {}
        self.depends = False

    def selections(self, nodes: SelectionSetNode, parent: GraphQLCompositeType, page: int | None) -> tuple[int, int]:
        """Fields and depth below a parent; `page` is the page size that the parent's own arguments ask for."""
        fields, depth = 0, 0
        for node in nodes.selections:
            more, below = self._selection(node, parent, page)
            fields += more
            depth = max(depth, below)
        return fields, depth

    def _selection(self, node: Any, parent: GraphQLCompositeType, page: int | None) -> tuple[int, int]:
        if isinstance(node, FieldNode):
            return self._field(node, parent, page)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value, page)
        if isinstance(node, InlineFragmentNode):
            narrowed = self._composite(node.type_condition.name.value) if node.type_condition else parent
            return self.selections(node.selection_set, narrowed or parent, page)
        return 0, 0

    def _fragment(self, name: str, page: int | None) -> tuple[int, int]:
        known = self._weighed.get((name, page))
        if known is None:
            fragment = self._fragments[name]
            on = self._composite(fragment.type_condition.name.value)
            known = self.selections(fragment.selection_set, on, page) if on is not None else (0, 0)
            self._weighed[name, page] = known
        return known

    def _composite(self, name: str) -> GraphQLCompositeType | None:
        found = self._schema.get_type(name)
        return found if is_composite_type(found) else None

    def _field(self, node: FieldNode, parent: GraphQLCompositeType, page: int | None) -> tuple[int, int]:
        name = node.name.value
        if name.startswith("__"):
            # Introspection has a limit of its own, and is deep by nature.
            return 1, 1
        field = self._schema.get_field(parent, name)
        below = get_named_type(field.type) if field is not None else None
        if field is None or node.selection_set is None or not is_composite_type(below):
            return 1, 1
        own_page = self._page(node, field)
        fields, depth = self.selections(node.selection_set, below, own_page)
        if is_list_type(get_nullable_type(field.type)):
            fields *= self._list(node, own_page if own_page is not None else page)
        return fields + 1, depth + 1

    def _page(self, node: FieldNode, field: GraphQLField) -> int | None:
        """The page size that a field's arguments ask for; None where it has no pages."""
        if not any(name in field.args for name in _PAGING):
            return None
        sizes = [self._int(argument.value) for argument in node.arguments or () if argument.name.value in _PAGING]
        asked = [size for size in sizes if size is not None]
        return min(max(0, *asked), PAGE_MAX) if asked else PAGE_SIZE

    def _list(self, node: FieldNode, page: int | None) -> int:
        if page is not None:
            return page
        return max(LIST_SIZE, *(self._length(argument.value) for argument in node.arguments or ()), 0)

    def _int(self, value: ValueNode) -> int | None:
        if isinstance(value, IntValueNode):
            return int(value.value)
        if isinstance(value, VariableNode):
            if self._variables is None:
                return PAGE_MAX
            name = value.name.value
            if name in self._variables:
                given = self._variables[name]
                return given if isinstance(given, int) else None
            default = self._defaults.get(name)
            return self._int(default) if default is not None and not isinstance(default, NullValueNode) else None
        return None

    def _length(self, value: ValueNode) -> int:
        """How many things a list argument names: such lists answer one for each."""
        if isinstance(value, ListValueNode):
            return len(value.values)
        if isinstance(value, VariableNode):
            if self._variables is None:
                self.depends = True
                return 0
            given = self._variables.get(value.name.value)
            return len(given) if isinstance(given, list) else 0
        return 0


def count_nodes(document: DocumentNode) -> tuple[int, int]:
    """Aliases and introspection fields, as they stand in the text."""
    aliases = introspections = 0
    stack: list[SelectionSetNode] = [
        definition.selection_set
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    while stack:
        for node in stack.pop().selections:
            if isinstance(node, FieldNode):
                aliases += node.alias is not None
                introspections += node.name.value in {"__schema", "__type"}
            nested = getattr(node, "selection_set", None)
            if nested is not None:
                stack.append(nested)
    return aliases, introspections


def check_document(document: DocumentNode, settings: Settings) -> list[GraphQLError]:
    """What the text alone says is too much."""
    aliases, introspections = count_nodes(document)
    errors = []
    if aliases > settings.query_aliases:
        errors.append(_too_much(f"{aliases} aliases", settings.query_aliases, "Send fewer aliased fields at a time."))
    if introspections > INTROSPECTIONS:
        found = f"{introspections} introspection fields"
        errors.append(_too_much(found, INTROSPECTIONS, "Ask for fewer types at a time."))
    return errors


def check_cost(cost: OperationCost, settings: Settings) -> list[GraphQLError]:
    """What an operation's shape says is too much."""
    errors = []
    if cost.depth > settings.query_depth:
        found = f"{cost.depth} levels of nesting"
        errors.append(_too_much(found, settings.query_depth, "Ask for the inner parts in a second query."))
    if cost.fields > settings.query_cost:
        amount = str(cost.fields) if cost.fields < 10**9 else "more than 10^9"
        advice = "Ask for smaller pages with `first`, or for fewer fields."
        errors.append(_too_much(f"up to {amount} fields", settings.query_cost, advice))
    return errors


def _too_much(found: str, limit: int, advice: str) -> GraphQLError:
    return GraphQLError(
        f"This document has {found}; the limit is {limit}. {advice}", extensions={"code": "DOCUMENT_TOO_LARGE"}
    )
