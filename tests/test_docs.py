"""The documentation of the settings matches the settings."""

from __future__ import annotations

from pathlib import Path

import click

from bassloop.cli.runner import dial, prune
from bassloop.cli.runner_secret import set_
from bassloop.settings import Settings, written_default

DOCS = Path(__file__).parents[1] / "docs"


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
    for command in (dial, prune, set_):
        for option in command.params:
            if isinstance(option, click.Option):
                assert any(f"`{name}" in told or f" {name} " in told for name in option.opts), (
                    option
                )
