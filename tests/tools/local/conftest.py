"""Calling the commands as a person would: in a process of their own, in a folder of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bassloop as bassloop_package
from tests.forked_programs import run_in_folder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A private home, so that nothing is kept from one test to the next."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHONPATH": str(Path(bassloop_package.__file__).parents[1]),
    }


@pytest.fixture
def bassloop(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Runs `bassloop` with arguments, in the test's folder."""

    def call(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run_in_folder(tmp_path, *arguments, env=environment, stdin=stdin)

    return call
