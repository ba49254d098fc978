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

    from rich.console import Console

    from bassloop.cli.trial_display import TrialDisplay
    from bassloop.store import Delivery, Run
    from bassloop.tools.trial import Trial, TrialOptions

EVENTS = ("check_suite", "check_run", "push", "pull_request")


@click.command("try")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
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

    The runner runs commands as you, in a private directory and without a container: try what you trust.

    \b
    Example:
      bassloop try ~/src/my-project --event pull_request
    """
    with quick_imports():
        import trio

        from bassloop.cli.log_config import configure_logs
        from bassloop.daemon.errors import StartError
        from bassloop.settings import SettingsError
        from bassloop.standin import StandInError
        from bassloop.store import StoreError
        from bassloop.tools.trial import TrialError, TrialOptions

    configure_logs("info" if verbose else "error")
    options = TrialOptions(
        path=path,
        event=event,
        committed=committed,
        payload=payload,
        runner=not no_runner,
        private=private,
    )
    errors = (TrialError, StandInError, SettingsError, StartError, StoreError)
    with report_output_errors(), report_errors(*errors):
        status = trio.run(_run, options, serve)
    sys.exit(status)


async def _run(options: TrialOptions, serve: bool) -> int:
    """Run the trial with its display. Returns the exit status: 0 when every check passed."""
    import signal

    import trio
    from rich.console import Console

    from bassloop.cli.trial_display import TrialDisplay, summary
    from bassloop.tools.trial import open_trial

    # A pipe has no width: nothing is wrapped for it.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    async with open_trial(options) as trial:
        what = f"HEAD ({trial.head[:12]})"
        if trial.copied:
            what = "a repository made of its files"
        elif trial.dirty and not options.committed:
            what = "the working tree as it is"
        console.print(f"Trying [bold]{options.path}[/bold]: {what}, event {options.event}")
        if trial.dirty and options.committed:
            console.print("[yellow]uncommitted changes are not part of HEAD[/yellow]")
        console.print(f"[dim]follow it at {trial.daemon.url}[/dim]")
        display = TrialDisplay(console, trial.daemon)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            delivery = await _followed(trial, display, signals)
            if delivery is None:
                console.print("interrupted")
                return 130
            if console.is_terminal:
                await display.print_failures()
            else:
                await display.print_news()
            page = await trial.daemon.store.runs.newest(limit=100, public_only=False)
            runs = sorted(page.items, key=lambda run: run.created_at)
            reported = {
                check["external_id"]: check["conclusion"] for check in trial.standin.check_runs
            }
            summary(console, runs, reported, trial.daemon.url)
            await _print_causes(console, trial, runs)
            await _keep_log(console, trial, runs)
            if delivery.error:
                console.print(f"the delivery: {delivery.error}")
            passed = bool(runs) and all(reported.get(run.id) == "success" for run in runs)
            for hint in _hints(runs, options):
                console.print(f"\n{hint}", soft_wrap=True)
            console.print("\n[green]passed[/green]" if passed else "\n[red]not passed[/red]")
            if serve:
                console.print(f"serving [bold]{trial.daemon.url}[/bold] until interrupted (Ctrl-C)")
                async for _ in signals:
                    break
    return 0 if passed else 1


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


def _hints(runs: Sequence[Run], options: TrialOptions) -> list[str]:
    """Return what to do if no check was started."""
    from bassloop.lifecycle import RunState

    if not runs:
        return [
            f"the hook started no check for the event {options.event}; "
            "--event tries another one, such as check_suite or pull_request"
        ]
    if all(run.state == RunState.NEUTRAL for run in runs):
        return [
            "a hook is the script that says what the checks of a repository are; "
            "`bassloop init` writes a first one"
        ]
    return []


async def _followed(
    trial: Trial, display: TrialDisplay, signals: AsyncIterator[int]
) -> Delivery | None:
    """Show the trial until its delivery is handled; None when it is interrupted before."""
    import trio

    delivery: Delivery | None = None
    async with trio.open_nursery() as nursery:

        async def interrupted() -> None:
            async for _ in signals:
                nursery.cancel_scope.cancel()

        nursery.start_soon(display.follow)
        nursery.start_soon(interrupted)
        delivery = await trial.daemon.inbox.finished(trial.guid)
        nursery.cancel_scope.cancel()
    return delivery
