"""Rules of the house that no other check knows."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from services import errors
from services.errors import DomainError, InvalidInput
from services.webhooks.handlers import HANDLERS, EventSource, enabled_events
from services.wiring import operation_kinds
from settings import Settings, variable_of

ROOT = Path(__file__).parents[1]
LAYERS = ("models", "services", "schema", "resolvers")
MODULES = sorted(
    path for layer in (*LAYERS, "sandbox") for path in (ROOT / layer).rglob("*.py") if "migrations" not in path.parts
)
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MAKERS = {"list", "dict", "set", "defaultdict", "deque", "Counter", "OrderedDict"}
# What counts in integers, and in whose lines a float would be money.
MONEY = re.compile(r"minor|amount|price|fee|captured|refunded|currency|money", re.IGNORECASE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def trees(*folders: str) -> list[tuple[Path, ast.Module]]:
    return [
        (path, ast.parse(path.read_text()))
        for path in MODULES
        if path.relative_to(ROOT).parts[0] in folders
    ]


def test_no_float_comes_near_money() -> None:
    """In the files that reckon with money nothing is made a float, divided with `/` outside Decimal, or rounded."""
    found = []
    for path, tree in trees("models", "services"):
        source = path.read_text().splitlines()
        for node in [node for node in ast.walk(tree) if isinstance(node, ast.expr)]:
            is_float = isinstance(node, ast.Constant) and isinstance(node.value, float)
            made = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if (is_float or made in {"float", "round"}) and MONEY.search(source[node.lineno - 1]):
                found.append(f"{named(path)}:{node.lineno}: {source[node.lineno - 1].strip()}")
    assert found == []


def test_money_is_never_declared_a_float() -> None:
    declared = re.compile(r"\b(\w*(?:minor|amount|price|fee)\w*)\s*:\s*float\b")
    assert [(named(path), match[1]) for path in MODULES for match in declared.finditer(path.read_text())] == []


def test_there_is_no_mutable_module_state() -> None:
    found = []
    for path, tree in trees(*LAYERS):
        for node in tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            made = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in MAKERS
            if made or isinstance(value, ast.List | ast.ListComp | ast.Set):
                found.append(f"{named(path)}:{node.lineno}: {ast.unparse(node)[:60]}")
    found = [line for line in found if ": __all__ " not in line]
    assert found == []


def test_no_module_constant_is_changed() -> None:
    """A table may be a plain dict, where nothing in its module writes to it."""
    found = []
    for path, tree in trees(*LAYERS):
        tables = {
            ast.unparse(target)
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, MUTABLE)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        }
        found += [f"{named(path)}:{node.lineno}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]:
            written = [
                target.value.id
                for target in getattr(node, "targets", [])
                if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name)
            ]
            found += [f"{named(path)}:{node.lineno}: {name}" for name in written if name in tables]
    assert found == []


def test_nothing_waits_for_stripe_inside_a_transaction() -> None:
    """No call of the gateway stands inside a block that holds a transaction or a pooled connection."""
    to_stripe = re.compile(r"stripe\.(send|list_all)$")
    found = []
    for path, tree in trees("services", "resolvers"):
        for block in ast.walk(tree):
            if not isinstance(block, ast.AsyncWith):
                continue
            opened = " ".join(ast.unparse(item.context_expr) for item in block.items)
            if not re.search(r"\.transaction\(|\.acquire\(\)$|pool\.acquire", opened):
                continue
            calls = [node for node in ast.walk(block) if isinstance(node, ast.Call)]
            found += [f"{named(path)}:{call.lineno}" for call in calls if to_stripe.search(ast.unparse(call.func))]
    assert found == []


def test_nothing_is_done_at_import() -> None:
    """Modules define things; they open, start, read and connect nothing."""
    doing = re.compile(r"(^|\.)(open|run|connect|start|getenv|read_text|create_task|urlopen|Settings|load_settings)$")
    found = []
    for path, tree in trees(*LAYERS):
        for node in tree.body:
            value = getattr(node, "value", None)
            parts = ast.walk(value) if isinstance(value, ast.expr) else ()
            names = [ast.unparse(part.func) for part in parts if isinstance(part, ast.Call)]
            found += [f"{named(path)}:{node.lineno}: {name}" for name in names if doing.search(name)]
    assert found == []


def all_errors() -> list[type[DomainError]]:
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, DomainError) and value is not DomainError
    ]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in all_errors()]
    assert all(re.fullmatch(r"[A-Z_]+", code) for code in codes)
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_is_recorded_and_read_again(error: type[DomainError]) -> None:
    one = InvalidInput("text", "words") if error is InvalidInput else error(message="Words for a guest.")
    again = DomainError.from_record(one.to_record())
    assert type(again) is error
    assert again.to_record() == one.to_record()
    assert str(again) == str(one)


def test_kinds_of_operations_are_known_by_their_names() -> None:
    names = [kind.name for kind in operation_kinds()]
    assert len(names) == len(set(names))
    assert {"pay_for_activity", "refund_payment", "cancel_rsvp"} <= set(names)


def test_every_handled_event_is_registered_for() -> None:
    registered = {*enabled_events(EventSource.PLATFORM), *enabled_events(EventSource.CONNECT)}
    assert registered == set(HANDLERS)


def test_no_file_and_no_function_of_the_money_s_layers_is_too_long() -> None:
    long_files = {named(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long_files.items() if lines > 550} == {}
    long_functions = {
        f"{named(path)}:{node.name}": (node.end_lineno or 0) - node.lineno
        for path, tree in trees(*LAYERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 80
    }
    assert long_functions == {}


def test_the_guides_name_no_setting_that_there_is_not() -> None:
    guides = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    known = {variable_of(field) for field in Settings.model_fields}
    assert set(re.findall(r"\bPAYDESK_[A-Z_]+\b", guides)) - known == set()
