"""The package says what it needs, and takes with it what it is made of."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def imported() -> set[str]:
    """The top-level names of what the package's modules import, other than the standard library."""
    names: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"bassloop"}


@cache
def in_source_distribution() -> set[str]:
    """Return the paths of the files that the build puts into the source distribution."""
    return {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_all_imports_are_declared() -> None:
    declared = {
        canonical(re.split(r"[\[<>=!~; ]", entry, maxsplit=1)[0])
        for entries in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for entry in entries
    }
    known = packages_distributions()
    missing = {
        name
        for name in imported()
        if not {canonical(found) for found in known.get(name, ())} & declared
    }
    assert not missing


def test_help_needs_neither_trio_nor_the_server() -> None:
    import subprocess

    code = "import sys, bassloop.cli; sys.exit('trio' in sys.modules or 'quart' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0


def test_lint_imports_the_reader_of_declared_checks_only_for_those() -> None:
    import subprocess

    code = """
import sys
from bassloop.cli.lint import lint
try:
    lint(["examples/hello"], standalone_mode=False)
except SystemExit as done:
    sys.exit(done.code or "pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_the_container_image_is_built_with_all_files_that_the_build_reads() -> None:
    copied = (ROOT / "Containerfile").read_text()
    sent = (ROOT / ".containerignore").read_text().splitlines()
    for name in ("pyproject.toml", "hatch_build.py", PROJECT["readme"], *PROJECT["license-files"]):
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", copied, re.M), name
        assert f"!{name}" in sent


@pytest.mark.parametrize(
    "name",
    [
        ".containerignore",
        "LICENSE",
        "Makefile",
        "bass/github.bass",
        "benchmarks/fuzz.py",
        "examples/hello/project.bass",
        "noxfile.py",
        "src/bassloop/__main__.py",
        "tests/test_packaging.py",
    ],
)
def test_the_source_distribution_has_the_files_that_the_readme_and_the_tests_use(name: str) -> None:
    assert name in in_source_distribution()


def test_all_versions_of_the_package_agree() -> None:
    from bassloop import __version__

    assert PROJECT["version"] == __version__


ONLY_THE_LOOPS = (
    "gidgethub",
    "hypercorn",
    "jinja2",
    "jwt",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "quart",
    "sqlite_utils",
    "werkzeug",
)


def test_a_runner_imports_nothing_that_only_the_loop_uses() -> None:
    import subprocess

    code = f"""
import sys, bassloop.runner, bassloop.cli.runner
sys.exit(" ".join(sorted(set(sys.modules) & set({ONLY_THE_LOOPS!r}))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"
