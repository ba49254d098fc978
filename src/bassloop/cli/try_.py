"""`bassloop try`: a whole loop around a local repository, for one event."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors, report_output_errors
from bassloop.cli.options import quick_imports
from bassloop.cli.scripts import run_late
from bassloop.repository_files import (
    CONFIG_FILE,
    explain_missing_checks,
    find_checks_folder,
    has_checks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.tools.trial import EngineName

EVENTS = ("check_suite", "check_run", "push", "pull_request", "merge_group")
MOST_NODES = 9
NO_CHECKS = (
    "there are no checks in {} yet. `bassloop init` writes checks that fit the project to "
    ".bassloop.toml; `bassloop try` runs them"
)
FULL = "the disk is full"
"""The text of errors in the daemon's log that a trial reports itself, with advice."""

ENGINES = ("auto", "podman", "docker", "sandbox", "host")


@click.command("try")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="NAME",
    help="Run this check only, without those that it needs; may be repeated.",
)
@click.option("--list", "list_only", is_flag=True, help="List the checks, and run none.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    envvar="BASSLOOP_TRY_ENGINE",
    show_envvar=True,
    help="Run commands in containers of Podman or Docker, or with this machine's own programs: in a sandbox of "
    "bubblewrap's, or just as they are. auto takes the first of these that works.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Fail if an image was not used, a step did not run, or a report or an artifact is missing.",
)
@click.option("--watch", is_flag=True, help="Try again whenever files change, until interrupted.")
@click.option(
    "--event",
    type=click.Choice(EVENTS),
    default="check_suite",
    show_default=True,
    help="The event that is delivered.",
)
@click.option(
    "--payload",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the event's payload (JSON), instead of a generated one.",
)
@click.option(
    "--committed", is_flag=True, help="Try HEAD, without the changes that are not committed."
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    help="Give the checks this secret, with the value of the environment variable NAME, or one that is asked for; may "
    "be repeated. It isn't stored.",
)
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the artifacts of the checks in this folder.",
)
@click.option("--serve", is_flag=True, help="Keep serving the pages until interrupted.")
@click.option("--no-runner", is_flag=True, help="Connect no runner.")
@click.option(
    "--private", is_flag=True, help="Make the repository private: sign in to see its runs."
)
@click.option(
    "--nodes",
    type=click.IntRange(1, MOST_NODES),
    default=1,
    show_default=True,
    help="Run several daemons on one PostgreSQL database: the runner connects to the first, the last one takes the "
    "webhook, and any shows the pages.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the daemon's log.")
def try_(
    path: Path,
    checks: tuple[str, ...],
    list_only: bool,
    engine: EngineName,
    strict: bool,
    watch: bool,
    event: str,
    payload: Path | None,
    committed: bool,
    secrets: tuple[str, ...],
    artifacts: Path | None,
    serve: bool,
    no_runner: bool,
    private: bool,
    nodes: int,
    verbose: bool,
) -> None:
    """Run a repository's checks as a push to GitHub would, all on this machine.

    PATH is a repository or a folder in one. Its working tree is tried as it is, without what Git ignores; --committed
    tries HEAD. The daemon, with throw-away data, a stand-in for github.com and a runner are all started here, and a
    signed webhook is delivered. The exit status is 0 if every check passed, otherwise 1.

    Without Podman and Docker, images aren't used: commands run with this machine's own programs, and the result says
    so. With --engine host they aren't contained at all: use it only for code that you trust.

    \b
    Example:
      bassloop try ~/src/my-project --check test --watch
    """
    if checks and (payload is not None or event != "check_suite"):
        raise click.UsageError("--check has an event of its own; leave --event and --payload out")
    if watch and committed:
        raise click.UsageError("--watch tries the working tree, and --committed doesn't")
    folder = find_checks_folder(path)
    root = path.resolve() if folder is None else folder
    if payload is None and not has_checks(root):
        why = explain_missing_checks(root)
        if why or folder is None or list_only:
            raise click.ClickException(why or NO_CHECKS.format(root))
    if folder is not None and (list_only or checks):
        listed = _list_checks(folder, event)
        if list_only:
            if listed is not None and not listed.started and not listed.others:
                raise click.ClickException(NO_CHECKS.format(folder))
            _print_list(listed)
            sys.exit(0)
        if listed is not None:
            _require_known(checks, (*listed.started, *listed.others))
    values = _secret_values(secrets)
    import trio

    from bassloop.cli.progress import output_console, show_status

    console = output_console()
    with show_status(console, "starting a loop on this machine …") as starting:
        with quick_imports(starting.erase if starting else lambda: None):
            from bassloop.cli.options import configure_logs
            from bassloop.daemon import StartError
            from bassloop.runner import RunnerError
            from bassloop.settings import SettingsError
            from bassloop.standin import StandInError
            from bassloop.store import StoreError
            from bassloop.tools.trial import TrialOptions
            from bassloop.tools.working_copy import TrialError
        from bassloop.cli.trial_advice import explain_full_disk
        from bassloop.cli.trial_session import TrialSession, run_trial

        configure_logs("info" if verbose else "error", without=None if verbose else FULL)
        options = TrialOptions(
            path=path,
            event=event,
            committed=committed,
            watched=watch,
            checks=checks,
            engine=engine,
            payload=payload,
            runner=not no_runner,
            private=private,
            nodes=nodes,
            secrets=values,
        )
        session = TrialSession(console, options, serve, strict, starting, artifacts)
        errors = (TrialError, StandInError, SettingsError, StartError, StoreError, RunnerError)
        with report_output_errors(), report_errors(*errors, advise=explain_full_disk):
            status = trio.run(run_trial, session)
    sys.exit(status)


def _secret_values(names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    from bassloop.runner.secrets.secret_store import SecretError, check_secret

    values = {name: _secret_value(name) for name in names}
    with report_errors(SecretError):
        for name, value in values.items():
            check_secret(name, value)
    return values


def _secret_value(name: str) -> str:
    """Return a secret's value from the environment, or ask for it on a terminal."""
    if value := os.environ.get(name):
        return value
    if "=" in name:
        raise click.UsageError(
            f"--secret {name.partition('=')[0]}=…: give the name alone, since others can read command lines; the "
            "value is that of the environment variable"
        )
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"--secret {name}: there is no environment variable {name}, and no terminal to ask for the value"
        )
    return str(click.prompt(name, hide_input=True))


@dataclass(frozen=True, slots=True)
class ListedChecks:
    """The checks that an event starts, and the others that there are, which `--check` runs."""

    started: list[str]
    others: list[str]


def _list_checks(folder: Path, event: str) -> ListedChecks | None:
    """Return the checks that an event would start, or None if that's unknown without running something."""
    from bassloop.project import ChecksFileError, read_checks, write_bass
    from bassloop.project.declaration import When
    from bassloop.tools.expected_checks import find_all_expected_checks, find_expected_checks
    from bassloop.tools.sample_events import SAMPLE_EVENTS

    sample = next((each for each in SAMPLE_EVENTS if each.event == event), None)
    if sample is None:
        raise click.UsageError(
            f"--list can't tell what {event} starts; `bassloop lint` says what each event starts"
        )
    declared = unconditional = None
    file = folder / CONFIG_FILE
    with report_errors(ChecksFileError):
        if file.is_file() and (checks := read_checks(file.read_bytes())):
            declared = write_bass(checks)
            always = {
                name: check.model_copy(update={"when": When()}) for name, check in checks.items()
            }
            unconditional = write_bass(always)
    here = sample.pushed_to(_branch(folder))
    expected = run_late(partial(find_expected_checks, folder, here, declared=declared))
    if expected.error:
        click.echo(f"bassloop: not all checks are known: {expected.error}", err=True)
        return None
    expectations = run_late(partial(find_all_expected_checks, folder, declared=unconditional))
    names = dict.fromkeys(name for _, each in expectations for name in each.names)
    return ListedChecks(expected.names, [name for name in names if name not in expected.names])


def _branch(folder: Path) -> str:
    """Return the branch that is checked out, "main" if there is none."""
    command = ["git", "-C", str(folder), "symbolic-ref", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return "main"
    return done.stdout.decode(errors="replace").strip() or "main"


def _print_list(listed: ListedChecks | None) -> None:
    if listed is None:
        return
    for name in listed.started:
        click.echo(name)
    if listed.others:
        names = ", ".join(listed.others)
        click.echo(f"other events or branches start {names}; --check NAME runs one here", err=True)


def _require_known(checks: tuple[str, ...], names: Sequence[str]) -> None:
    from difflib import get_close_matches

    for name in checks:
        if name not in names:
            similar = [each for each in names if each.startswith(f"{name} (")][:3]
            similar = [repr(each) for each in similar] or get_close_matches(name, names, n=3)
            hint = f"Did you mean {' or '.join(similar)}?" if similar else "See --list."
            raise click.UsageError(f"There is no check {name!r}. {hint}")
