"""Strawberry's decorators with one habit added: what a docstring says is what the client reads."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import strawberry

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import Enum

Class = TypeVar("Class")


def _text(documented: Any) -> str | None:
    return inspect.cleandoc(documented.__doc__) if documented.__doc__ else None


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def object_type(cls: type[Class]) -> type[Class]:
    """An object type, described by its docstring."""
    return strawberry.type(cls, description=_text(cls))


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def interface_type(cls: type[Class]) -> type[Class]:
    """An interface, described by its docstring."""
    return strawberry.interface(cls, description=_text(cls))


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def input_type(cls: type[Class]) -> type[Class]:
    """An input type, described by its docstring."""
    return strawberry.input(cls, description=_text(cls))


def field(resolver: Callable[..., Any]) -> Any:
    """A field with a resolver, described by its docstring."""
    return strawberry.field(resolver, description=_text(resolver))


def mutation(resolver: Callable[..., Any]) -> Any:
    """A mutation, described by its docstring."""
    return strawberry.mutation(resolver, description=_text(resolver))


def subscription(resolver: Callable[..., Any]) -> Any:
    """A subscription, described by its docstring."""
    return strawberry.subscription(resolver, description=_text(resolver))


def expose(enum: type[Enum], /, **values: str) -> None:
    """Make an enum of the models one of the schema's; each value is described by the argument of its name."""
    strawberry.enum(enum, description=_text(enum))
    definition: Any = enum.__dict__["__strawberry_definition__"]
    for value in definition.values:
        value.description = values[value.name]
