"""GraphQL documents, parsed and validated once: the same text again costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    ValidationRule,
    parse,
    specified_rules,
    validate,
)

from resolvers.transport.bounded_cache import BoundedCache
from resolvers.transport.limits import CostModel, OperationCost, check_cost, check_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import DocumentNode, GraphQLSchema, StringValueNode

    from settings import Settings

_CACHED_DOCUMENTS: Final = 1_000
# A parsed document takes about 300 times the memory of its text.
_CACHED_CHARACTERS: Final = 256 * 1024
_ERRORS: Final = 20


class RequestRefused(Exception):
    """A request that is not executed; `errors` say why."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(*(error.message for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document, ready to be executed."""

    document: DocumentNode
    node: OperationDefinitionNode
    name: str | None
    cost: OperationCost
    costs: CostModel

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.node.operation

    def check(self, variables: Mapping[str, Any], settings: Settings) -> None:
        """Hold the cost with these variables against the limit, where they matter.

        Raises: RequestRefused.
        """
        if self.cost.depends:
            errors = check_cost(self.costs.weigh(self.node, variables), settings)
            if errors:
                raise RequestRefused(*errors)


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document within the limits."""

    operations: Mapping[str | None, Operation]

    def operation(self, name: str | None) -> Operation:
        """The operation of that name; without a name, the only one.

        Raises: RequestRefused.
        """
        if name is None:
            if len(self.operations) > 1:
                raise RequestRefused(GraphQLError("Say with `operationName` which operation of the document is meant."))
            return next(iter(self.operations.values()))
        found = self.operations.get(name)
        if found is None:
            raise RequestRefused(GraphQLError(f"The document has no operation named '{name}'."))
        return found


class NoNulCharacters(ValidationRule):
    """No text contains the character U+0000: PostgreSQL cannot store it."""

    def enter_string_value(self, node: StringValueNode, *_args: Any) -> None:
        """Refuse it in literals; variables are looked at when they are read."""
        if "\0" in node.value:
            self.report_error(GraphQLError("Text must not contain the character U+0000.", node))


class Documents:
    """The documents that clients send, by their text."""

    def __init__(self, schema: GraphQLSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings
        # Built once: graphql-core and Strawberry take a new class of rule for a new set of rules.
        self._rules = (
            *specified_rules, NoNulCharacters, *(() if settings.introspection else (NoSchemaIntrospectionCustomRule,)),
        )  # fmt: skip
        self._cache: BoundedCache[Document] = BoundedCache(entries=_CACHED_DOCUMENTS, weight=_CACHED_CHARACTERS)

    def read(self, text: str) -> Document:
        """Parse and validate a document.

        Raises: RequestRefused with what GraphQL or the limits have against it.
        """
        known = self._cache.get(text)
        if known is not None:
            return known
        document = self._build(text)
        self._cache.put(text, document, weight=len(text))
        return document

    def _build(self, text: str) -> Document:
        ast = self._parse(text)
        errors = check_document(ast, self._settings) or validate(
            self._schema, ast, self._rules, max_errors=_ERRORS, hide_suggestions=not self._settings.introspection
        )
        if errors:
            raise RequestRefused(*errors)
        costs = CostModel(self._schema, ast)
        operations: dict[str | None, Operation] = {}
        for node in ast.definitions:
            if isinstance(node, OperationDefinitionNode):
                cost = costs.weigh(node, None)
                if cost.fields > self._settings.query_cost:
                    # The variables may ask for smaller pages than they could.
                    cost = OperationCost(0, cost.depth, depends=True) if node.variable_definitions else cost
                errors.extend(check_cost(cost, self._settings))
                name = node.name.value if node.name else None
                operations[name] = Operation(ast, node, name, cost, costs)
        if errors:
            raise RequestRefused(*errors)
        if not operations:
            raise RequestRefused(GraphQLError("The document contains no operation."))
        return Document(operations)

    def _parse(self, text: str) -> DocumentNode:
        limit = self._settings.query_tokens
        try:
            return parse(text, max_lexical_tokens=limit, max_comments=limit)
        except GraphQLError as error:
            if "Parsing aborted" in error.message:
                raise RequestRefused(
                    GraphQLError(
                        f"This document has more tokens than the limit, {limit}. Split it into several requests.",
                        extensions={"code": "DOCUMENT_TOO_LARGE"},
                    )
                ) from None
            raise RequestRefused(error) from None
