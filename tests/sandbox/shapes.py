"""Whether an answer has every field that the `stripe` package's classes say it has."""

from __future__ import annotations

import types
from importlib import import_module
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

from stripe._object_classes import OBJECT_CLASSES
from stripe._stripe_object import StripeObject


def missing(body: dict[str, Any]) -> list[str]:
    """The fields that are not there, or hold what their class does not allow, in an object and in what it holds.

    What may be null may also be left out: Stripe leaves some of it out.
    """
    return _missing(_class_of(body), body, body["object"])


def _class_of(body: dict[str, Any]) -> Any:
    module, name = OBJECT_CLASSES[body["object"]]
    return getattr(import_module(module), name)


def _missing(class_: Any, body: dict[str, Any], path: str) -> list[str]:
    found = []
    for name, hint in class_.__annotations__.items():
        if name.startswith("_") or str(hint).startswith("typing.ClassVar"):
            continue
        here = f"{path}.{name}"
        if name not in body:
            found += [] if _may_be_null(hint) else [f"{here} is not there"]
        elif body[name] is None:
            found += [] if _may_be_null(hint) else [f"{here} is null"]
        else:
            found += _misfits(hint, body[name], here)
    return found


def _may_be_null(hint: Any) -> bool:
    return type(None) in get_args(hint) or hint is Any


def _misfits(hint: Any, value: Any, path: str) -> list[str]:
    origin, options = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        tried = [_misfits(option, value, path) for option in options if option is not type(None)]
        return min(tried, key=len)
    if origin is Literal:
        return [] if value in options else [f"{path}: {value!r} is none of {options}"]
    if isinstance(hint, ForwardRef):
        return _missing(_class_of(value), value, path) if isinstance(value, dict) else [f"{path} is no object"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [misfit for index, item in enumerate(value) for misfit in _misfits(options[0], item, f"{path}.{index}")]
    if isinstance(hint, type) and issubclass(hint, StripeObject) and hint.__annotations__:
        return _missing(hint, value, path) if isinstance(value, dict) else [f"{path} is no object"]
    if hint in {int, str, bool}:
        return [] if type(value) is hint else [f"{path}: {value!r} is no {hint.__name__}"]
    return []
