"""The guides say what the code does: every mutation, setting, event type and command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from manage import app
from models.transfers import TransferHold
from resolvers.api import build_schema
from services.metrics import Metrics
from services.stripe_gateway import API_VERSION
from services.webhooks.handlers import enabled_events
from services.webhooks.inbox import EventSource
from settings import Settings, load_settings, settings_page, variable_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
GUIDES = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "sandbox/README.md"]
)  # fmt: skip


def first_column(text: str) -> set[str]:
    """What stands as code in the first column of its tables."""
    cells = (line.split("|")[1] for line in text.splitlines() if line.startswith("| "))
    return {word for cell in cells for word in re.findall("`([^`]+)`", cell)}


def section(text: str, title: str) -> str:
    """What stands below a heading."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_mutation_stands_in_the_readme() -> None:
    mutation = build_schema()._schema.mutation_type
    assert mutation is not None
    assert first_column(section(README, "The API")) == set(mutation.fields)


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page()
    assert all(field.description for field in Settings.model_fields.values())


def test_what_production_asks_for_stands_in_the_readme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    with pytest.raises(Exception, match="must be set in production") as refusal:
        load_settings(env="production")
    wanted = set(re.findall(r"\b[A-Z_]{8,}\b", str(refusal.value)))
    assert wanted - {"STRIPE_API_BASE"} == first_column(section(README, "Deploy"))


@pytest.mark.parametrize("source", list(EventSource))
def test_every_event_that_is_handled_is_listed_for_its_endpoint(source: EventSource) -> None:
    lists = dict(
        re.findall(r"`https://…(/webhooks/[a-z/]+)`[^\n]*\n\n```\n(.*?)\n```", OPERATIONS, flags=re.DOTALL)
    )
    path = {EventSource.PLATFORM: "/webhooks/stripe", EventSource.CONNECT: "/webhooks/stripe/connect"}[source]
    assert lists[path].split() == enabled_events(source)


def test_what_operators_are_to_watch_is_measured() -> None:
    families = list(Metrics().registry.collect())
    told = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    watched = {name.split("{")[0] for name in first_column(section(OPERATIONS, "What to watch"))}
    assert {name for name in watched if name.startswith("paydesk_")} <= told
    assert set(re.findall(r"\bpaydesk_[a-z_]+[a-z]\b", OPERATIONS)) <= told


def test_every_reason_to_hold_a_host_s_part_is_explained() -> None:
    title = "Releasing hosts' parts, and their debts"
    assert first_column(section(OPERATIONS, title)) - {"held"} == {hold.value for hold in TransferHold}


def test_every_link_to_a_section_of_the_guide_leads_there() -> None:
    titles = re.findall(r"^## (.*)$", OPERATIONS, flags=re.MULTILINE)
    anchors = {re.sub("[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", OPERATIONS)) <= anchors


def test_every_command_is_listed() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert {name.split()[0] for name in first_column(section(OPERATIONS, "Commands"))} == commands


def test_the_version_of_stripes_api_is_the_gateways() -> None:
    for guide in GUIDES:
        assert set(re.findall(r"\b20\d\d-\d\d-\d\d\.[a-z]+\b", guide.read_text())) <= {API_VERSION}, guide.name


def test_every_link_within_the_project_leads_somewhere() -> None:
    for guide in GUIDES:
        for target in re.findall(r"\]\(([^)#:]+)\)", guide.read_text()):
            assert (guide.parent / target).exists(), f"{guide.name}: {target}"


def test_the_example_of_the_environment_names_only_settings() -> None:
    names = set(re.findall(r"^([A-Z_]+)=", (ROOT / "deploy/paydesk.env.example").read_text(), flags=re.MULTILINE))
    own = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "PAYDESK_API_REPLICAS", "PAYDESK_PUBLISH"}
    assert names - own <= {variable_of(field) for field in Settings.model_fields}
