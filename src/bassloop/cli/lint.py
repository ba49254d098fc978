"""`bassloop lint` and `fmt`: what is wrong with a repository's checks, and the format of scripts."""

from __future__ import annotations

import difflib
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.options import quick_imports
from bassloop.cli.scripts import run_late

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.tools.linting import LintMessage

_SKIPPED = frozenset({"node_modules", "vendor", "target", "build", "dist", "__pycache__"})


@click.command("fmt")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Change nothing; show what would change.")
def fmt(paths: tuple[Path, ...], check: bool, diff: bool) -> None:
    """Format Bass scripts: indentation, spaces and blank lines.

    PATHS are files and folders; without any, all scripts below this folder. - is standard input,
    whose formatted text goes to standard output.

    \b
    Example:
      bassloop fmt --check project.bass
    """
    if paths == (Path("-"),):
        sys.stdout.write(_formatted(sys.stdin.read(), "standard input"))
        return
    changed = 0
    for path in find_scripts(paths or (Path(),)):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{path}: {_reason(error)}") from error
        formatted = _formatted(text, str(path))
        if formatted == text:
            continue
        changed += 1
        if diff:
            lines = text.splitlines(keepends=True), formatted.splitlines(keepends=True)
            click.echo("".join(difflib.unified_diff(*lines, str(path), str(path))), nl=False)
        elif check:
            click.echo(f"would format {path}")
        else:
            _replace(path, formatted)
            click.echo(f"formatted {path}")
    if changed and (check or diff):
        sys.exit(1)


def find_scripts(paths: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files that paths name: themselves, or the scripts below a folder."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and name not in _SKIPPED
            )
            for name in sorted(files):
                if name.endswith(".bass") or (
                    name == "github-hook" and Path(folder).name == "bass"
                ):
                    yield Path(folder, name)


def _formatted(text: str, name: str) -> str:
    """Return a text formatted. Exit with a message if it is no Bass."""
    from bassloop.bass.errors import BassError
    from bassloop.bass.reader import read_source
    from bassloop.cli.scripts import report_script_errors
    from bassloop.tools.formatter import format_bass

    with report_script_errors():
        before = read_source(text, name)
        formatted = format_bass(text)
        after = read_source(formatted, name)
        if [str(form) for form in before] != [str(form) for form in after]:
            raise BassError(f"{name} would mean something else when formatted; please report it")
    return formatted


def _replace(path: Path, text: str) -> None:
    """Put a text in a file's place, whole, with the file's permissions."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(path.stat().st_mode)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise click.ClickException(f"{path}: {_reason(error)}") from error


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


@click.command("lint")
@click.argument("path", type=click.Path(path_type=Path, exists=True), default=".")
def lint(path: Path) -> None:
    """Find mistakes in the checks of the repository at PATH, without running any.

    Reads .bassloop.toml and all scripts: names that nothing binds, wrong arguments, words of a
    command that aren't passed as they look. Then shows which checks a push, a pull request and a
    merge queue would start. Exits with 1 if there is an error.

    \b
    Example:
      bassloop lint
    """
    with quick_imports():
        from bassloop.tools.outlook import CHECKS_FILE, PROJECT, SCRIPT, foresee_all

    errors = warnings = 0
    root = path if path.is_dir() else path.parent
    declared = None
    if path.is_dir() and (root / CHECKS_FILE).is_file():
        declared, problems = _read_checks_file(root / CHECKS_FILE)
        for problem in problems:
            click.echo(problem)
        errors += len(problems)
    for script in find_scripts((path,)):
        for found in _lint_script(script):
            click.echo(str(found))
            errors += found.level == "error"
            warnings += found.level == "warning"
    if path.is_dir() and not any(
        (root / name).is_file() for name in (CHECKS_FILE, PROJECT, SCRIPT)
    ):
        click.echo("there are no checks here; bassloop init proposes some")
    elif not errors and path.is_dir():
        outlooks = run_late(partial(foresee_all, root, declared=declared))
        if all(outlook.fails for outlook in outlooks.values()):
            why = {(outlook.place or "", outlook.error): None for outlook in outlooks.values()}
            for place, message in why:
                click.echo(f"{root / place}: error: the hook fails: {message}")
            errors += len(why)
            outlooks = {}
        for event, outlook in outlooks.items():
            checks = ", ".join(outlook.checks) or "no check"
            if outlook.error:
                checks = (
                    f"{checks}, then: {outlook.error}"
                    if outlook.checks
                    else f"can't tell: {outlook.error}"
                )
            click.echo(f"{event} starts {checks}")
    if errors or warnings:
        click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", err=True)
    sys.exit(1 if errors else 0)


def _lint_script(script: Path) -> list[LintMessage]:
    with quick_imports():  # most repositories have none
        from bassloop.tools.linting import lint_bass

    return lint_bass(script.read_text(encoding="utf-8", errors="replace"), str(script))


def _read_checks_file(file: Path) -> tuple[str | None, list[str]]:
    """Return the Bass that the file means, None if it declares no checks, and what is wrong with it."""
    with quick_imports():
        from bassloop.access.policy import PolicyError, read_rules
        from bassloop.project import ChecksFileError, read_checks, write_bass

    content = file.read_bytes()
    problems: list[str] = []
    declared = None
    try:
        if checks := read_checks(content, str(file)):
            declared = write_bass(checks)
        read_rules(content)  # the policy, in the same file
    except (ChecksFileError, PolicyError) as error:
        problems += str(error).splitlines()
    return declared, problems


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
