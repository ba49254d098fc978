"""Programs of this machine that are older than a project requires."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bassloop.cli.machine_advice import explain_old_programs

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "package.json": json.dumps({"engines": {"node": ">=22"}, "packageManager": "pnpm@11.2.0"}),
    "pyproject.toml": "project.requires-python = '>=3.9'",
    "Cargo.toml": "package.rust-version = '1.85'",
}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_program_that_is_too_old_is_named_with_what_requires_another(programs: Path) -> None:
    install(programs, "node", "echo v20.20.2")
    install(programs, "python3", "echo Python 3.11.7")
    assert explain_old_programs(FILES.get) == [
        "this machine has Node 20.20.2, and engines in package.json requires 22 or newer",
        "this machine has Node 20.20.2, and packageManager in package.json (pnpm@11.2.0) requires 22.13 or newer",
    ]


@pytest.mark.parametrize("script", ["echo v22.13.0", "echo v24.0.1", "exit 1", "echo development"])
def test_a_program_that_is_new_enough_or_has_no_version_is_not_named(
    programs: Path, script: str
) -> None:
    install(programs, "node", script)
    assert explain_old_programs(FILES.get) == []


def test_a_program_that_is_not_installed_is_not_old(programs: Path) -> None:
    assert explain_old_programs(FILES.get) == []
