"""Every recipe of the documentation is evaluated, and starts the checks that it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bassloop.project import read_checks, write_bass
from bassloop.tools.expected_checks import find_expected_checks
from bassloop.tools.formatter import format_bass
from bassloop.tools.linting import lint_bass
from bassloop.tools.sample_events import PUSH

from .pages import PAGES, ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

COOKBOOK = ROOT / "docs" / "cookbook.md"
AROUND = """(use (.git (linux/alpine/git)) (.github))

{recipe}

(defn github-hook [event client]
  (let [*loop* client]
    (github:check-hook event git:checkout checks)))
"""

DECLARED = [
    pytest.param(block.text, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if block.kind == "toml" and re.search(r"^\[checks\.|^\[checks\]\n\w+ = \"", block.text, re.M)
]
WRITTEN = [
    pytest.param(block.text, id=str(number))
    for number, block in enumerate(blocks(COOKBOOK))
    if block.kind == "bass"
]


@pytest.mark.parametrize("toml", DECLARED)
async def test_checks_in_toml_are_started(toml: str, tmp_path: Path) -> None:
    checks = read_checks(toml.encode())
    needed = {need for check in checks.values() for need in check.needs}
    expected = await find_expected_checks(tmp_path, PUSH, declared=write_bass(checks))
    assert expected.error is None
    assert expected.names
    assert needed <= {name.partition(" (")[0] for name in expected.names}


@pytest.mark.parametrize("bass", WRITTEN)
async def test_checks_in_bass_are_started(bass: str, tmp_path: Path) -> None:
    source = bass if "github-hook" in bass else AROUND.format(recipe=bass)
    assert [str(found) for found in lint_bass(source, "project.bass")] == []
    assert format_bass(bass) == bass
    (tmp_path / "project.bass").write_text(source)
    expected = await find_expected_checks(tmp_path, PUSH)
    assert expected.error is None
    assert expected.names == re.findall(r"^\s+\{?:([\w.-]+) \((?:from|test-on|cd)", bass, re.M)


def test_the_documentation_has_recipes() -> None:
    assert len(DECLARED) >= 12
    assert len(WRITTEN) >= 8
