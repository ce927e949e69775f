"""Checks a request's parameters against the TypedDicts that the `stripe` package ships for it."""

from __future__ import annotations

import importlib
import re
import types
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, NotRequired, Required, Union, get_args, get_origin

from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject
from typing_extensions import get_type_hints, is_typeddict

from sandbox.errors import ApiError, invalid, missing_param

Check = Callable[[Any, str], Any]

_OPTIONS: Final = frozenset(RequestOptions.__annotations__)
_INTEGER: Final = re.compile(r"-?\d{1,15}$")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?$")
_METADATA_KEYS: Final = 50
_METADATA_KEY_LENGTH: Final = 40
_METADATA_LENGTH: Final = 500

# Parameters of older API versions that the package no longer names; taken from requests that say such a version.
_BEFORE_ENDIVE: Final[Mapping[str, Mapping[str, Any]]] = {
    **{
        name: {"payment_method_types": list[str]}
        for name in (
            "payment_intent_create", "payment_intent_update", "payment_intent_confirm", "setup_intent_create",
            "setup_intent_update",
        )
    },
    **{
        # An empty value takes the discount off.
        name: {"coupon": Literal[""] | str, "promotion_code": Literal[""] | str}  # noqa: PYI051
        for name in ("customer_create", "customer_update")
    },
}  # fmt: skip
_ENDIVE: Final = "2026-10-28"


class Validator:
    """Checks made from TypedDicts when they are first needed, and kept."""

    def __init__(self) -> None:
        self._checks: dict[tuple[str, bool], Check] = {}

    def check(self, name: str | None, params: dict[str, Any], api_version: str) -> dict[str, Any]:
        """The parameters with their types, or an error as Stripe words it.

        Args:
            name: as in `stripe.params`: `payment_intent_create`, `test_helpers.test_clock_create`; None for a request
                that takes `expand` alone.
        """
        older = name in _BEFORE_ENDIVE and api_version < _ENDIVE
        key = (name or "", older)
        check = self._checks.get(key)
        if check is None:
            check = self._checks[key] = self._compile(name, older)
        typed: dict[str, Any] = check(params, "")
        return typed

    def _compile(self, name: str | None, older: bool) -> Check:
        if name is None:
            return _hash({"expand": _list(_text)}, frozenset())
        package, _, operation = f"stripe.params.{name}".rpartition(".")
        class_name = "".join(part.title() for part in operation.split("_")) + "Params"
        params = getattr(importlib.import_module(f"{package}._{operation}_params"), class_name)
        extra = {field: _check_of(type_) for field, type_ in _BEFORE_ENDIVE[name].items()} if older else {}
        return _typed_dict(params, extra)


def _typed_dict(type_: Any, extra: Mapping[str, Check] | None = None) -> Check:
    # Deferred: the packages' types go deep, and few requests use more than a corner of them.
    made: list[Check] = []

    def check(value: Any, path: str) -> Any:
        if not made:
            # Without the package's own options, whose types cannot be told from here.
            own = {name: hint for name, hint in type_.__annotations__.items() if name not in _OPTIONS}
            holder = type("Holder", (), {"__annotations__": own, "__module__": type_.__module__})
            hints = get_type_hints(holder, include_extras=True)
            fields = {name: _check_of(hint) for name, hint in hints.items()}
            made.append(_hash({**fields, **(extra or {})}, frozenset(type_.__required_keys__ - _OPTIONS)))
        return made[0](value, path)

    return check


def _hash(fields: Mapping[str, Check], required: frozenset[str]) -> Check:
    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refused(f"Invalid object: {value if isinstance(value, str) else 'array'}", path)
        unknown = [_join(path, name) for name in value if name not in fields]
        if unknown:
            word = "parameter" if len(unknown) == 1 else "parameters"
            raise _refused(f"Received unknown {word}: {', '.join(unknown)}", unknown[0], "parameter_unknown")
        for name in required:
            if name not in value:
                raise missing_param(_join(path, name))
        return {name: fields[name](item, _join(path, name)) for name, item in value.items()}

    return check


def _check_of(type_: Any) -> Check:
    origin = get_origin(type_)
    if origin in (NotRequired, Required):
        return _check_of(get_args(type_)[0])
    if is_typeddict(type_):
        return _typed_dict(type_)
    # `Class | int` in the package's types is the one, `Union[Class, int]` the other.
    if origin in (Union, types.UnionType):
        return _union(get_args(type_))
    if origin is Literal:
        return _enum(get_args(type_))
    if origin is list:
        return _list(_check_of(get_args(type_)[0]))
    if origin is dict:
        item = get_args(type_)[1]
        return _metadata if item is str else _mapping(_check_of(item))
    return _SCALARS.get(type_, _anything)


def _union(types: tuple[Any, ...]) -> Check:
    literals: tuple[Any, ...] = ()
    others = []
    for type_ in types:
        if get_origin(type_) is Literal:
            literals += get_args(type_)
        # An object of the package's own may stand for a hash; on the wire both are one.
        elif type_ is not type(None) and get_origin(type_) is not UntypedStripeObject:
            others.append(type_)
    may_unset = "" in literals
    named = tuple(value for value in literals if value != "")
    if named and str in others:
        # The package leaves enums open for versions to come; the API of one version does not.
        others.remove(str)
    hashes = [_check_of(type_) for type_ in others if is_typeddict(type_) or get_origin(type_) is dict]
    lists = [_check_of(type_) for type_ in others if get_origin(type_) is list]
    scalars = [
        _check_of(type_) for type_ in others if not is_typeddict(type_) and get_origin(type_) not in (dict, list)
    ]

    def check(value: Any, path: str) -> Any:
        if value == "" and may_unset:
            return ""
        if isinstance(value, dict) and hashes:
            return _first_fitting(hashes, value, path)
        if isinstance(value, list) and lists:
            return lists[0](value, path)
        if isinstance(value, str) and value in named:
            return value
        for scalar in scalars[:-1]:
            try:
                return scalar(value, path)
            except ApiError:
                continue
        if scalars:
            return scalars[-1](value, path)
        if named:
            return _enum(named)(value, path)
        return (hashes or lists)[0](value, path)

    return check


def _first_fitting(checks: list[Check], value: Any, path: str) -> Any:
    """An object of one of several kinds. What it lacks is said rather than what it has too much."""
    refusals = []
    for check in checks:
        try:
            return check(value, path)
        except ApiError as refusal:
            refusals.append(refusal)
    raise min(refusals, key=lambda refusal: refusal.code == "parameter_unknown")


def _enum(values: tuple[Any, ...]) -> Check:
    allowed = frozenset(str(value) for value in values)
    by_text = {str(value): value for value in values}

    def check(value: Any, path: str) -> Any:
        if isinstance(value, str) and value in allowed:
            return by_text[value]
        if values == (True,):
            return _boolean(value, path)
        names = [str(name) for name in values]
        listed = f"{', '.join(names[:-1])}, or {names[-1]}" if len(names) > 1 else names[0]
        raise _refused(f"Invalid {path}: must be one of {listed}", path)

    return check


def _list(item: Check) -> Check:
    def check(value: Any, path: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, list):
            raise _refused("Invalid array", path)
        return [item(entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    return check


def _mapping(item: Check) -> Check:
    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refused("Invalid object", path)
        return {name: item(entry, f"{path}[{name}]") for name, entry in value.items()}

    return check


def _metadata(value: Any, path: str) -> dict[str, str]:
    # A mapping whose keys are all numbers decodes as a list.
    entries = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(entries, dict):
        raise _refused("Invalid hash", path)
    typed: dict[str, str] = {}
    for name, item in entries.items():
        if not isinstance(item, str):
            raise _refused("Metadata values must be strings, but for key " + repr(name), _join(path, str(name)))
        if len(str(name)) > _METADATA_KEY_LENGTH:
            raise _refused(
                f"Metadata keys can have up to {_METADATA_KEY_LENGTH} characters, but you passed in a key that is "
                f"{len(str(name))} characters. Invalid key: {name}", path,
            )  # fmt: skip
        if len(item) > _METADATA_LENGTH:
            raise _refused(
                f"Metadata values can have up to {_METADATA_LENGTH} characters, but you passed in a value that is "
                f"{len(item)} characters. Invalid value: {item}", _join(path, str(name)),
            )  # fmt: skip
        typed[str(name)] = item
    if len(typed) > _METADATA_KEYS:
        raise _refused(f"You can only have {_METADATA_KEYS} keys", path)
    return typed


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _refused("Invalid string: " + ("{}" if isinstance(value, dict) else "[]"), path)
    if value == "":
        raise _refused(
            f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty "
            "value.",
            path, "parameter_invalid_empty",
        )  # fmt: skip
    return value


def _integer(value: Any, path: str) -> int:
    if isinstance(value, str) and _INTEGER.match(value):
        return int(value)
    raise _refused(f"Invalid integer: {value}", path, "parameter_invalid_integer")


def _number(value: Any, path: str) -> Decimal:
    if isinstance(value, str) and _NUMBER.match(value):
        return Decimal(value)
    raise _refused(f"Invalid decimal: {value}", path)


def _boolean(value: Any, path: str) -> bool:
    if value in ("true", "false", "1", "0"):
        return value in ("true", "1")
    raise _refused(f"Invalid boolean: {value}", path)


def _anything(value: Any, _path: str) -> Any:
    return value


_SCALARS: Final[Mapping[Any, Check]] = {
    int: _integer, str: _text, bool: _boolean, float: _number, Decimal: _number,
}  # fmt: skip


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _refused(message: str, param: str, code: str | None = None) -> ApiError:
    return invalid(message, param, code, is_saved=False)
