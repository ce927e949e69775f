"""Stripe's form encoding: `a[b][0]=…`, `a[]=…` into nested dicts and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sandbox.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEPTH = 8


def decode(encoded: bytes) -> dict[str, Any]:
    """The tree of a form or query; leaves are strings.

    Raises: ApiError where two names contradict each other.
    """
    return tree(parse_qsl(encoded.decode("utf-8", "replace"), keep_blank_values=True)) if encoded else {}


def tree(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The tree of a form's fields, by their names.

    Raises: ApiError where two names contradict each other.
    """
    root: dict[str, Any] = {}
    nested = False
    for name, value in fields:
        if "[" not in name:
            root[name] = value
            continue
        nested = True
        _put(root, name, value)
    return {name: _lists(value) for name, value in root.items()} if nested else root


def _put(root: dict[str, Any], name: str, value: Any) -> None:
    head, _, rest = name.partition("[")
    if not rest.endswith("]"):
        raise invalid(f"Invalid parameter name: {name}", name)
    parts = [head, *rest[:-1].split("][")]
    if len(parts) > _DEPTH:
        raise invalid(f"Parameters are nested too deeply: {name}", name)
    node = root
    for part in parts[:-1]:
        child = node.setdefault(part or str(len(node)), {})
        if not isinstance(child, dict):
            raise invalid(f"Invalid parameter: {name}", head)
        node = child
    node[parts[-1] or str(len(node))] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = {name: _lists(item) for name, item in value.items()}
    if all(name.isdecimal() for name in items):
        return [items[name] for name in sorted(items, key=int)]
    return items
