"""`bassloop lint`: what is wrong with a repository's checks, before anything runs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from bassloop.cli.fmt import find_scripts
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
    from bassloop.project import CHECKS_FILE, ChecksFileError, read_checks
    from bassloop.tools.linting import EVENTS, PROJECT, SCRIPT, foresee, lint_bass

    errors = warnings = 0
    root = path if path.is_dir() else path.parent
    declared = root / CHECKS_FILE
    if path.is_dir() and declared.is_file():
        from bassloop.access.policy import PolicyError, read_rules

        content = declared.read_bytes()
        try:
            read_checks(content, str(declared))
            read_rules(content)  # the policy, in the same file
        except (ChecksFileError, PolicyError) as error:
            for line in str(error).splitlines():
                click.echo(f"{line}")
                errors += 1
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
            event: run_late(partial(foresee, root, sample)) for event, sample in EVENTS.items()
        }
        if all(outlook.fails for outlook in outlooks.values()):
            why = {outlook.error: None for outlook in outlooks.values()}
            for message in why:
                click.echo(f"{root}: error: the hook fails: {message}")
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


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
