"""The documentation of settings, options and files matches what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from bassloop.cli.runner import dial, prune, set_secret
from bassloop.settings import Settings, written_default

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
SOURCES = [
    path
    for room in ("src", "tests", "benchmarks", "docs", "examples")
    for path in (PROJECT / room).rglob("*")
]


def settings_table() -> str:
    rows = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = f"`{written_default(name)}`" if written_default(name) else ""
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_is_documented_with_its_default() -> None:
    assert settings_table() in (DOCS / "settings.md").read_text()


def test_every_option_of_a_runner_is_documented() -> None:
    told = (DOCS / "runners.md").read_text()
    for command in (dial, prune, set_secret):
        for option in command.params:
            if isinstance(option, click.Option):
                assert any(f"`{name}" in told or f" {name} " in told for name in option.opts), (
                    option
                )


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/explanation/node-state.md"]
)
def test_the_files_and_folders_that_contributing_names_exist(page: str) -> None:
    text = (PROJECT / page).read_text()
    named = set(re.findall(r"`([\w./-]+(?:\.py|\.html|\.md|/))`", text))
    named |= set(re.findall(r"\btests/[\w./-]+\.py", text))
    assert named
    missing = [
        each
        for each in named
        if not any(f"{path}/".endswith(f"/{each.strip('/')}/") for path in SOURCES)
    ]
    assert not missing
