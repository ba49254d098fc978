"""Everything that docs/operating.md names exists: commands, settings, metrics, the runner's exceptions."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from bassloop.cli import cli
from bassloop.cli.manual import contexts
from bassloop.settings import Settings
from bassloop.tools.setup.systemd import RUNNER_NEEDS

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "operating.md").read_text()
NO_SETTINGS = {"BASE", "PIPX_HOME", "PIPX_BIN_DIR", "YOUR", "LOGIN"}
COMMANDS = {
    each.command_path: each.command for each in contexts(click.Context(cli, info_name="bassloop"))
}


def typed() -> list[str]:
    """The commands of ours that the page tells to type, or names."""
    blocks = re.findall(r"^    (bassloop .*)$", TEXT, re.M)
    named = re.findall(r"`(bassloop [^`]+)`", TEXT)
    return sorted({line.partition("  ")[0] for line in [*blocks, *named]})


@pytest.mark.parametrize("line", typed())
def test_every_command_in_the_page_exists_with_its_options(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    path = [words.pop(0)]
    while words and " ".join([*path, words[0]]) in COMMANDS:
        path.append(words.pop(0))
    assert len(path) > 1, line
    command = COMMANDS[" ".join(path)]
    options = {name for each in command.params for name in each.opts}
    passed_on = {"--only"} if path[-1] == "runner" else set()
    assert {word for word in words if word.startswith("--")} <= options | passed_on


def test_every_setting_in_the_page_exists() -> None:
    named = set(re.findall(r"\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b", TEXT)) - NO_SETTINGS
    assert named
    assert named <= {name.upper() for name in Settings.model_fields}


def test_every_metric_in_the_page_is_on_the_dashboard() -> None:
    """Which the tests of the metrics hold against a loop."""
    named = set(re.findall(r"\bbassloop_\w+", TEXT))
    assert named
    assert named <= set(re.findall(r"\bbassloop_\w+", (DOCS / "grafana.json").read_text()))


def test_the_alerts_match_the_page() -> None:
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
    named = re.findall(r"^\| `(.* [<>] [^`]+)` \|", TEXT, re.M)
    assert [rule["expr"] for rule in rules] == named
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_each_exception_of_the_runners_unit_is_documented_with_its_reason() -> None:
    told = dict(re.findall(r"^\| `([A-Z][a-zA-Z`, ]+)` \| (.*) \|$", TEXT, re.M))
    assert {name.replace("`", ""): why for name, why in told.items()} == RUNNER_NEEDS
