"""`bassloop try`: a whole loop around a local repository, for one event."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors, report_output_errors
from bassloop.cli.options import quick_imports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import trio
    from rich.console import Console

    from bassloop.cli.trial_display import CheckResult, TrialDisplay
    from bassloop.store import Delivery, Run
    from bassloop.tools.trial import EngineName, Trial, TrialOptions

EVENTS = ("check_suite", "check_run", "push", "pull_request", "merge_group")
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
    "--strict", is_flag=True, help="Fail if an image was not used, or if a step did not run."
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
    help="A file with the event's payload (JSON), instead of one that is made.",
)
@click.option(
    "--committed", is_flag=True, help="Try HEAD, without the changes that are not committed."
)
@click.option("--serve", is_flag=True, help="Keep serving the pages until interrupted.")
@click.option("--no-runner", is_flag=True, help="Connect no runner.")
@click.option(
    "--private", is_flag=True, help="Make the repository private: sign in to see its runs."
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
    serve: bool,
    no_runner: bool,
    private: bool,
    verbose: bool,
) -> None:
    """Run a repository's checks as a push to GitHub would, all on this machine.

    PATH is a repository or a folder in one. Its working tree is tried as it is, without what Git ignores; --committed
    tries HEAD. The daemon, with throw-away data, a stand-in for github.com and a runner are all started here, and a
    signed webhook is delivered. The exit status is 0 if every check passed, else 1.

    Without Podman and Docker, images aren't used: commands run with this machine's own programs, and the result says
    so. With --engine host they aren't contained at all: try what you trust.

    \b
    Example:
      bassloop try ~/src/my-project --check test --watch
    """
    if checks and (payload is not None or event != "check_suite"):
        raise click.UsageError("--check has an event of its own; leave --event and --payload out")
    if watch and committed:
        raise click.UsageError("--watch tries the working tree, and --committed doesn't")
    if list_only or checks:
        names = _foreseen(path, event)
        if list_only:
            for name in names or ():
                click.echo(name)
            sys.exit(0)
        if names is not None:
            _require_known(checks, names)
    with quick_imports():
        import trio

        from bassloop.cli.log_config import configure_logs
        from bassloop.daemon.errors import StartError
        from bassloop.runner import RunnerError
        from bassloop.settings import SettingsError
        from bassloop.standin import StandInError
        from bassloop.store import StoreError
        from bassloop.tools.trial import TrialOptions
        from bassloop.tools.working_copy import TrialError

    configure_logs("info" if verbose else "error")
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
    )
    errors = (TrialError, StandInError, SettingsError, StartError, StoreError, RunnerError)
    with report_output_errors(), report_errors(*errors):
        status = trio.run(_run, options, serve, strict)
    sys.exit(status)


def _foreseen(path: Path, event: str) -> list[str] | None:
    """Return the checks that an event would start; None if that can't be told without running something."""
    import trio

    from bassloop.project import ChecksFileError
    from bassloop.tools.linting import EVENTS as SAMPLES
    from bassloop.tools.linting import foresee

    sample = next((each for each in SAMPLES.values() if each["event"] == event), None)
    if sample is None:
        raise click.UsageError(f"--list can't tell what {event} starts")
    path = path.resolve()
    root = next((each for each in (path, *path.parents) if _has_checks(each)), path)
    with report_errors(ChecksFileError):
        outlook = trio.run(foresee, root, sample)
    if outlook.error:
        click.echo(f"bassloop: not all checks can be told: {outlook.error}", err=True)
        return None
    return list(outlook.checks)


def _has_checks(folder: Path) -> bool:
    names = (".bassloop.toml", "project.bass", "bass/github-hook")
    return any((folder / name).is_file() for name in names)


def _require_known(checks: tuple[str, ...], names: Sequence[str]) -> None:
    from difflib import get_close_matches

    for name in checks:
        if name not in names:
            similar = get_close_matches(name, names, n=3)
            hint = f"Did you mean {' or '.join(similar)}?" if similar else "See --list."
            raise click.UsageError(f"There is no check {name!r}. {hint}")


async def _run(options: TrialOptions, serve: bool, strict: bool) -> int:
    """Run the trial until it is over or interrupted, and return the exit status."""
    import signal

    import trio
    from rich.console import Console

    # A pipe has no width: nothing is wrapped for it.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        session = _Session(console, options, serve, strict)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_at_signal, signals, session, nursery.cancel_scope)
            await session.run()
            nursery.cancel_scope.cancel()
    return session.status


async def _end_at_signal(
    signals: AsyncIterator[int], session: _Session, scope: trio.CancelScope
) -> None:
    async for number in signals:
        session.interrupt(number)
        scope.cancel()


class _Session:
    """One call of `bassloop try`.

    Args:
        serve: keep serving the pages when everything is over.
        strict: don't let pass what was not done as asked.
    """

    def __init__(self, console: Console, options: TrialOptions, serve: bool, strict: bool) -> None:
        self._console = console
        self._options = options
        self._serve = serve
        self._strict = strict
        self._over = False
        self.status = 1

    def interrupt(self, number: int) -> None:
        """Note that a signal ends the session."""
        if not self._over:
            self.status = 128 + number
            self._console.print("interrupted")

    async def run(self) -> None:
        """Try once, or again and again."""
        import trio

        from bassloop.cli.trial_display import TrialDisplay
        from bassloop.tools.trial import open_trial

        async with open_trial(self._options) as trial:
            self._introduce(trial)
            display = TrialDisplay(self._console, trial.daemon)
            await self._round(trial, display)
            if self._options.watched:
                async for _ in _changes(trial.copy.source):
                    await display.forget()
                    if await trial.again():
                        self._over = False
                        await self._round(trial, display)
            elif self._serve:
                url = trial.daemon.url
                self._console.print(f"serving [bold]{url}[/bold] until interrupted (Ctrl-C)")
                await trio.sleep_forever()

    def _introduce(self, trial: Trial) -> None:
        options, copy, print_ = self._options, trial.copy, self._console.print
        what = f"HEAD ({trial.head[:12]})"
        if copy.copied:
            what = "a repository made of its files"
        elif copy.path != copy.source:
            what = "the working tree as it is"
        event = ", ".join(options.checks) or f"event {options.event}"
        print_(f"Trying [bold]{options.path}[/bold]: {what}, {event}", soft_wrap=True)
        if trial.driver is not None:
            print_(str(trial.driver), soft_wrap=True)
        if copy.dirty and options.committed:
            print_("[yellow]uncommitted changes are not part of HEAD[/yellow]")
        print_(f"[dim]follow it at {trial.daemon.url}[/dim]")

    async def _round(self, trial: Trial, display: TrialDisplay) -> None:
        """Show one delivery to its end."""
        console = self._console
        deliveries = await _followed(trial, display)
        if console.is_terminal:
            await display.print_failures()
        else:
            await display.print_news()
        results = await display.results(trial.standin.check_runs)
        display.summarize(results, with_pages=self._serve or self._options.watched)
        runs = [each.run for each in results]
        await _print_causes(console, trial, runs)
        await _keep_log(console, trial, runs)
        for delivery in deliveries:
            if delivery.error:
                console.print(f"the delivery: {delivery.error}")
        for hint in _hints(results, trial):
            console.print(f"\n{hint}", soft_wrap=True)
        verdict, passed = _verdict(results, self._strict)
        console.print(f"\n[{'green' if passed else 'red'}]{verdict}[/]")
        self.status, self._over = 0 if passed else 1, True
        if self._options.watched:
            console.print("[dim]waiting for changes (Ctrl-C ends)[/dim]")


async def _changes(folder: Path) -> AsyncIterator[None]:
    """Generate a None whenever something in a folder may have changed."""
    from contextlib import aclosing

    from watchfiles import awatch

    yield None  # something may have changed before the folder was watched
    watching = awatch(folder, watch_filter=lambda _, path: ".git" not in Path(path).parts)
    async with aclosing(watching) as changes:
        async for _ in changes:
            yield None


def _verdict(results: Sequence[CheckResult], strict: bool) -> tuple[str, bool]:
    """Return the last words, and whether everything passed."""
    if not results or not all(each.passed for each in results):
        return "not passed", False
    images = {image for each in results for image in each.unused_images}
    skipped = sum(each.skipped_steps for each in results)
    missing = []
    if images:
        missing.append(f"{len(images)} image{'s' if len(images) > 1 else ''}")
    if skipped:
        missing.append(f"{skipped} step{'s' if skipped > 1 else ''}")
    if missing and strict:
        return f"not passed: without {' and '.join(missing)} (--strict)", False
    return f"passed, without {' and '.join(missing)}" if missing else "passed", True


async def _print_causes(console: Console, trial: Trial, runs: Sequence[Run]) -> None:
    """Print what the logs of failed checks tell, and keep it for `bassloop logs --last --failed`."""
    from bassloop.tools.failure_report import keep_failures, render_failure

    try:
        failures = await keep_failures(trial.daemon.store, runs)
    except OSError as error:
        console.print(f"\n[yellow]the failures can't be kept: {error.strerror}[/yellow]")
        return
    for check, failure in failures.items():
        if failure["failures"]:
            causes = render_failure({**failure, "reason": "", "excerpt": None})
            console.print(f"\nwhy {check} failed:", style="bold", markup=False, soft_wrap=True)
            console.print(causes, markup=False, soft_wrap=True)


async def _keep_log(console: Console, trial: Trial, runs: Sequence[Run]) -> None:
    """Keep the whole log, and print where; the pages are gone when the trial has ended."""
    from bassloop.tools.last_trial import keep_log

    try:
        path = await keep_log(trial.daemon.store, runs)
    except OSError as error:
        console.print(f"\n[yellow]the log can't be kept: {error.strerror}[/yellow]")
        return
    console.print(f"\n[dim]the whole log: bassloop logs --last[/dim], or {path}", soft_wrap=True)


def _hints(results: Sequence[CheckResult], trial: Trial) -> list[str]:
    """Return what to do about what isn't the fault of a check."""
    from bassloop.lifecycle import RunState

    if not results:
        return [
            f"the hook started no check for the event {trial.options.event}; "
            "--event tries another one, such as check_suite or pull_request"
        ]
    if all(each.run.state == RunState.NEUTRAL for each in results):
        return [
            "a hook is the script that says what the checks of a repository are; "
            "`bassloop init` writes a first one"
        ]
    if any(each.lacks_image for each in results):
        return [
            "an image can't be had; --engine sandbox runs its commands with this machine's own programs, "
            "and says so"
        ]
    return []


async def _followed(trial: Trial, display: TrialDisplay) -> list[Delivery]:
    """Show the trial until its deliveries are handled, and return these."""
    import trio

    deliveries: list[Delivery] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(display.follow)
        for guid in trial.guids:
            if (delivery := await trial.daemon.inbox.finished(guid)) is not None:
                deliveries.append(delivery)
        nursery.cancel_scope.cancel()
    return deliveries
