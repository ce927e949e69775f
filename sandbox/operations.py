"""What an operation of the API is: a method, a path, the parameters it takes, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.errors import Json, invalid

if TYPE_CHECKING:
    from sandbox.work import Work


@dataclass(slots=True)
class Call:
    """One request: its parameters with their types, and the ids in its path; no version where it names none."""

    work: Work
    params: Json
    path: dict[str, str]
    api_version: str

    def param(self, name: str, default: Any = None) -> Any:
        """A parameter; the default where it was not given."""
        return self.params.get(name, default)

    def given(self, name: str) -> Any:
        """A parameter; None where it was not given, or was unset with an empty value."""
        value = self.params.get(name)
        return None if value == "" else value


@dataclass(frozen=True, slots=True)
class Contents:
    """An answer that is not JSON: what a file holds."""

    media_type: str
    body: bytes


Handler = Callable[[Call], Json | Contents]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation; `params` names the TypedDict in `stripe.params` (`payment_intent_create`, `test_helpers.…`)."""

    method: str
    path: str
    handler: Handler
    params: str | None = None


class Router:
    """Finds the operation of a request by the parts of its path."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._root: dict[str, Any] = {}
        for operation in operations:
            node = self._root
            for part in operation.path.strip("/").split("/"):
                node = node.setdefault("{}" if part[0] == "{" else part, {})
            names = [part[1:-1] for part in operation.path.strip("/").split("/") if part[0] == "{"]
            node[f" {operation.method}"] = (operation, names)

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """The operation and the values in its path."""
        node: Any = self._root
        values: list[str] = []
        for part in path.strip("/").split("/"):
            child = node.get(part) if part else None
            if child is None:
                child = node.get("{}")
                if child is None or not part:
                    return None
                values.append(part)
            node = child
        found = node.get(f" {method}")
        return None if found is None else (found[0], dict(zip(found[1], values, strict=True)))


def update_metadata(body: Json, metadata: Any) -> None:
    """Merge metadata: an empty value removes a key, empty metadata removes all ("Metadata")."""
    if metadata is None:
        return
    if metadata == "":
        body["metadata"] = {}
        return
    kept = {**body["metadata"], **metadata}
    body["metadata"] = {name: value for name, value in kept.items() if value != ""}


def new_metadata(params: Json) -> Json:
    """The metadata of a new object."""
    metadata = params.get("metadata") or {}
    return {name: value for name, value in metadata.items() if value != ""}


def refuse_both(params: Json, one: str, other: str) -> None:
    """Refuse two parameters that exclude each other."""
    if params.get(one) is not None and params.get(other) is not None:
        raise invalid(f"You may only specify one of these parameters: {one}, {other}.", one)
