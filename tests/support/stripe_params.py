"""Checking a form-encoded request against the parameters that the `stripe` package declares for it."""

from __future__ import annotations

import collections.abc
import re
import sys
import types
from importlib import import_module
from typing import Any, Literal, NotRequired, Union, get_args, get_origin
from urllib.parse import parse_qsl

from typing_extensions import get_type_hints, is_typeddict

_OPTIONAL: tuple[Any, ...] = (NotRequired,)
# Names that the package imports for type checkers alone.
_FOR_CHECKERS = {
    "StripeContext": str, "RequestOptions": dict, "UntypedStripeObject": dict, "StripeObject": dict, "Mapping": dict,
}  # fmt: skip


def decoded(body: str) -> dict[str, Any]:
    """A form as Stripe reads it: `a[b][0]=…` as nested objects and lists."""
    root: dict[str, Any] = {}
    for name, value in parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body)):
        first, *rest = re.findall(r"[^\[\]]+", name)
        node = root
        keys = [first, *rest]
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        if keys[-1] in node:
            raise ValueError(f"{name} twice")
        node[keys[-1]] = value
    return {key: _lists(value) for key, value in root.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = {key: _lists(item) for key, item in value.items()}
    return list(items.values()) if items and list(items) == [str(i) for i in range(len(items))] else items


def breaches(module: str, name: str, params: dict[str, Any]) -> list[str]:
    """What of the parameters the package's declaration (`stripe.params.<module>.<name>`) does not allow."""
    declared = getattr(import_module(f"stripe.params.{module}"), name)
    return list(_breaches(declared, params, ""))


def _breaches(declared: Any, value: Any, path: str) -> list[str]:
    if is_typeddict(declared):
        return _in_typed_dict(declared, value, path)
    origin, arguments = get_origin(declared), get_args(declared)
    if origin in {Union, types.UnionType}:
        tried = [_breaches(option, value, path) for option in arguments if option is not type(None)]
        return min(tried, key=len)
    if origin is Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments}"]
    if origin in {list, collections.abc.Sequence}:
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [found for i, item in enumerate(value) for found in _breaches(arguments[0], item, f"{path}[{i}]")]
    if origin is dict or declared is dict:
        return [] if isinstance(value, dict) else [f"{path}: not an object"]
    if origin is not None and arguments:  # Required, NotRequired, Annotated
        return _breaches(arguments[0], value, path)
    return _in_scalar(declared, value, path)


def _in_typed_dict(declared: Any, value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: not an object"]
    scope = vars(sys.modules[declared.__module__])
    hints = get_type_hints(declared, globalns={**_FOR_CHECKERS, **scope}, include_extras=True)
    needed = [name for name, hint in hints.items() if get_origin(hint) not in _OPTIONAL]
    found = [f"{path}: {name} is missing" for name in needed if name not in value]
    for name, item in value.items():
        here = f"{path}.{name}".lstrip(".")
        found += _breaches(hints[name], item, here) if name in hints else [f"{here}: unknown"]
    return found


def _in_scalar(declared: Any, value: Any, path: str) -> list[str]:
    if not isinstance(value, str):
        return [f"{path}: not a {declared}"]
    fits = {int: re.fullmatch(r"-?\d+", value), bool: value in {"true", "false"}, str: True}
    return [] if fits.get(declared, True) else [f"{path}: {value!r} is no {declared.__name__}"]
