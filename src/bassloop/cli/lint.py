"""`bassloop lint`: what is wrong with a repository's checks, before anything runs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from bassloop.cli.fmt import find_scripts
from bassloop.cli.options import quick_imports
from bassloop.cli.scripts import run_late


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
        from bassloop.tools.linting import CHECKS_FILE, EVENTS, PROJECT, SCRIPT, foresee, lint_bass

    errors = warnings = 0
    root = path if path.is_dir() else path.parent
    declared = None
    if path.is_dir() and (root / CHECKS_FILE).is_file():
        declared, problems = _read_checks_file(root / CHECKS_FILE)
        for problem in problems:
            click.echo(problem)
        errors += len(problems)
    for script in find_scripts((path,)):
        for found in lint_bass(script.read_text(encoding="utf-8", errors="replace"), str(script)):
            click.echo(str(found))
            errors += found.level == "error"
            warnings += found.level == "warning"
    if path.is_dir() and not any(
        (root / name).is_file() for name in (CHECKS_FILE, PROJECT, SCRIPT)
    ):
        click.echo("there are no checks here; bassloop init proposes some")
    elif not errors and path.is_dir():
        outlooks = {
            event: run_late(partial(foresee, root, sample, declared=declared))
            for event, sample in EVENTS.items()
        }
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
