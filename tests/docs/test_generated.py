"""The parts of the documentation that are made of the code."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bassloop.cli import COMMANDS

from .pages import ROOT

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_of_the_documentation_are_current() -> None:
    """In a process of its own: a command remembers its help option as it was when another test ran it alone."""
    program = (
        "import json, runpy; print(json.dumps(runpy.run_path('docs/generate.py')['generated']()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name, text in json.loads(done.stdout).items():
        assert (ROOT / "docs" / name).read_text() == text, "run: python docs/generate.py"


def test_every_generated_part_is_in_the_documentation(generate: ModuleType) -> None:
    begun = [
        page.relative_to(ROOT / "docs").as_posix()
        for page in (ROOT / "docs").rglob("*.md")
        if "<!-- begin " in page.read_text()
    ]
    assert sorted(begun) == sorted(generate.PAGES)


def test_every_command_has_its_section(generate: ModuleType) -> None:
    page = generate.commands()
    for name in COMMANDS:
        assert f"## bassloop {name}\n" in page
    assert "## bassloop deliveries replay\n" in page
    assert "Usage: bassloop prune [OPTIONS]" in page


def test_every_operation_of_the_api_has_its_section(generate: ModuleType) -> None:
    page = generate.http()
    described = json.loads((ROOT / "src/bassloop/web/openapi.json").read_text())
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict) and "summary" in operation:
                assert f"## `{method.upper()} {path}`\n" in page
