"""One call of `bassloop try`: its rounds, and the messages before and after each."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from rich.markup import escape
from watchfiles import awatch

from bassloop.cli import PROGRAM
from bassloop.cli.machine_advice import advise_installation, has_engine
from bassloop.cli.progress import is_live
from bassloop.cli.trial_advice import advise, explain_silence, place_of_missing, warn_of_pitfalls
from bassloop.cli.trial_display import Pulls, TrialDisplay
from bassloop.lifecycle import RunState
from bassloop.terminal import one_line, plain_lines
from bassloop.tools.failure_report import (
    keep_artifacts,
    keep_failures,
    keep_log,
    last_log,
    render_failure,
)
from bassloop.tools.trial import open_trial
from bassloop.units import format_size
from bassloop.wire.conventions import as_in_project

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from rich.console import Console

    from bassloop.cli.progress import StatusLine
    from bassloop.cli.trial_display import CheckResult
    from bassloop.store import Delivery, Run
    from bassloop.tools.trial import Trial, TrialOptions

_UNPULLED = re.compile(r"(the image \S+ can't be pulled): .*")
_EXIT = re.compile(r"exit status \d")
SHOWN_CHANGES = 3
QUIET_MS = 200
"""The milliseconds without further changes before changed files are tried."""

MAX_DEBOUNCE_MS = 2_000

FIRST_LOOK_MS = 500
"""The delay between starting to watch a folder and looking for earlier changes."""


async def run_trial(session: TrialSession) -> int:
    """Run a session until it is over or interrupted, and return the exit status."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_at_signal, signals, session, nursery.cancel_scope)
            await session.run()
            nursery.cancel_scope.cancel()
    return session.status


async def _end_at_signal(
    signals: AsyncIterator[int], session: TrialSession, scope: trio.CancelScope
) -> None:
    async for number in signals:
        session.interrupt(number)
        scope.cancel()


class TrialSession:
    """One call of `bassloop try`.

    Args:
        serve: keep serving the pages after the checks have ended.
        strict: fail if something was skipped or done differently than declared.
        artifacts: the folder to keep artifacts in; None to drop them.
        starting: shows what is being started, until something else is shown.
    """

    def __init__(
        self,
        console: Console,
        options: TrialOptions,
        serve: bool,
        strict: bool,
        starting: StatusLine | None = None,
        artifacts: Path | None = None,
    ) -> None:
        self._console = console
        self._options = options
        self._starting = starting
        self._pulls = Pulls(console)
        self._serve = serve
        self._strict = strict
        self._artifacts = artifacts
        self._over = False
        self.status = 1

    def interrupt(self, number: int) -> None:
        """Note that a signal ends the session."""
        if not self._over:
            self.status = 128 + number
            self._console.print("interrupted")

    async def run(self) -> None:
        """Try once, or again after each change."""
        shown = (self._pulls, self._show_stage, self._show_warning)
        async with open_trial(self._options, *shown) as trial:
            if self._starting is not None:
                self._starting.stop()
            self._introduce(trial)
            display = TrialDisplay(self._console, trial.daemon, self._pulls)
            await self._round(trial, display)
            if self._options.watched:
                await self._watch(trial, display)
            elif self._serve:
                url = trial.daemon.url
                self._console.print(f"serving [bold]{url}[/bold] until interrupted (Ctrl-C)")
                await trio.sleep_forever()

    def _show_stage(self, stage: str) -> None:
        if self._starting is not None:
            self._starting.update(f"{stage} …")

    def _show_warning(self, warning: str) -> None:
        self._console.print(one_line(warning), style="yellow", markup=False, soft_wrap=True)

    async def _watch(self, trial: Trial, display: TrialDisplay) -> None:
        """Try again whenever files have changed that Git doesn't ignore."""
        async for _ in watch_changes(trial.copy.source):
            await display.forget()
            if await trial.again():
                changed = trial.copy.changed
                more = len(changed) - SHOWN_CHANGES
                shown = ", ".join(changed[:SHOWN_CHANGES]) + (
                    f" and {more} more" if more > 0 else ""
                )
                self._console.print(f"\nchanged: {shown}", markup=False, soft_wrap=True)
                self._over = False
                await self._round(trial, display)

    def _introduce(self, trial: Trial) -> None:
        options, copy, print_ = self._options, trial.copy, self._console.print
        what = f"HEAD ({trial.head[:12]})"
        if copy.copied:
            what = "a repository made of its files"
        elif copy.path != copy.source:
            what = "the working tree as it is"
        event = ", ".join(options.checks) or _describe_event(options.event)
        print_(f"Trying [bold]{options.path}[/bold]: {what}, {event}", soft_wrap=True)
        if trial.driver is not None:
            print_(trial.driver.text, soft_wrap=True)
            if trial.driver.no_engine:
                why = f"no containers: {trial.driver.no_engine}"
                # An engine's message can be long, so it's wrapped between words.
                print_(why, style="dim", markup=False, soft_wrap=not is_live(self._console))
            if options.engine == "auto" and not has_engine():
                print_(
                    f"[yellow]the images that checks name aren't used. {advise_installation()}[/yellow]",
                    soft_wrap=True,
                )
        if copy.dirty and options.committed:
            print_("[yellow]uncommitted changes are not part of HEAD[/yellow]")
        for reason in copy.untried:
            text = f"not tried: {one_line(reason)}"
            print_(text, style="yellow", markup=False, soft_wrap=True)
        for warning in [] if options.committed else warn_of_pitfalls(copy.source):
            print_(warning, style="yellow", markup=False, soft_wrap=True)
        if len(trial.nodes) > 1:
            print_(
                f"[dim]{len(trial.nodes)} nodes share a PostgreSQL database; follow it at any:[/dim]"
            )
            for node in trial.nodes:
                print_(f"[dim]  {node.url}[/dim]")
        else:
            until = "" if self._serve else " while it runs; with --serve, also afterwards"
            print_(f"[dim]follow it at {trial.daemon.url}{until}[/dim]", soft_wrap=True)

    async def _round(self, trial: Trial, display: TrialDisplay) -> None:
        """Show one delivery to its end."""
        console = self._console
        deliveries = await _followed(trial, display)
        if is_live(console):
            await display.print_failures()
        else:
            await display.print_updates()
        results = await display.results(trial.standin.check_runs)
        display.summarize(results, with_pages=self._serve or self._options.watched)
        runs = [each.run for each in results]
        causes = await _print_causes(console, trial, runs)
        await _keep_log(console, trial, runs)
        await self._show_artifacts(trial, runs)
        for delivery in deliveries:
            if delivery.error:
                console.print(f"the delivery: {delivery.error}")
        hints = await advise(results, trial, causes) if results else [await explain_silence(trial)]
        for hint in hints:
            console.print(f"\n{hint}", soft_wrap=True)
        sentence, passed = verdict(results, self._strict)
        console.print(f"\n[{'green' if passed else 'red'}]{sentence}[/]")
        self.status, self._over = 0 if passed else 1, True
        if self._options.watched:
            console.print("[dim]waiting for changes (Ctrl-C ends)[/dim]")

    async def _show_artifacts(self, trial: Trial, runs: Sequence[Run]) -> None:
        """Say which artifacts the checks left, and keep them if they are asked for."""
        store, console = trial.daemon.store, self._console
        for run in runs:
            found = await store.artifacts.of_run(run.id)
            if not found:
                continue
            names = ", ".join(f"{each.path} ({format_size(each.bytes)})" for each in found)
            console.print(f"\nartifacts of {run.check_name}: {names}", markup=False, soft_wrap=True)
            if self._artifacts is None:
                console.print("[dim]--artifacts FOLDER keeps them[/dim]")
                continue
            try:
                for path in await keep_artifacts(store, run, self._artifacts):
                    console.print(f"kept: {path}", markup=False, soft_wrap=True)
            except OSError as error:
                console.print(f"[yellow]they can't be kept: {error.strerror}[/yellow]")


async def watch_changes(folder: Path) -> AsyncGenerator[None]:
    """Generate a None whenever a folder's files may have changed, followed by a moment without changes."""
    watching = awatch(
        folder,
        watch_filter=lambda _, path: ".git" not in Path(path).parts,
        debounce=MAX_DEBOUNCE_MS,
        step=QUIET_MS,
        rust_timeout=FIRST_LOOK_MS,
        yield_on_timeout=True,
    )
    is_first = True
    async with aclosing(watching) as changes:
        async for found in changes:
            # Before the first time, something may have changed that nobody watched yet.
            if found or is_first:
                is_first = False
                yield None


def _describe_event(event: str) -> str:
    # GitHub sends a check_suite for each push. Only authors of hooks need to know that.
    return "as if it were pushed" if event == "check_suite" else f"event {event}"


def verdict(results: Sequence[CheckResult], strict: bool) -> tuple[str, bool]:
    """Return the closing sentence, and whether everything passed."""
    if not results or not all(each.passed for each in results):
        return "not passed", False
    images = {image for each in results for image in each.unused_images}
    counts = {
        "image": len(images),
        "step": sum(each.skipped_steps for each in results),
        "report or artifact": sum(len(each.missing_files) for each in results),
    }
    missing = [_count(number, what) for what, number in counts.items() if number]
    if any(each.has_cut_log for each in results):
        missing.append("the end of a log")
    if missing and strict:
        return f"not passed: without {' and '.join(missing)} (--strict)", False
    return f"passed, without {' and '.join(missing)}" if missing else "passed", True


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what.replace(' or ', 's or ')}s"


async def _print_causes(console: Console, trial: Trial, runs: Sequence[Run]) -> str:
    """Print why checks failed, store it for `bassloop logs --last --failed`, and return it."""
    try:
        failures = await keep_failures(trial.daemon.store, runs)
    except OSError as error:
        _print_lost(console, "the failures", error)
        return ""
    found = []
    for run in runs:
        if run.state in (RunState.SUCCEEDED, RunState.NEUTRAL):
            continue
        failure = failures.get(run.check_name)
        causes, reason = "", plain_lines(run.message or "").rstrip()
        if _UNPULLED.match(reason):
            # The engine's own message was printed with the step.
            reason = _UNPULLED.sub(r"\1", reason)
        elif failure is not None and failure["failures"]:
            causes = render_failure({**failure, "reason": "", "excerpt": None})
            # A hook's message is its trace, which was printed with the step, and its cause is the first line of it.
            reason = "" if _first_line(reason) in " ".join(causes.split()) else reason
            causes = _UNPULLED.sub(r"\1", causes)
        console.print(f"\nwhy {run.check_name} failed:", style="bold", markup=False, soft_wrap=True)
        if _EXIT.match(reason):
            reason = one_line(reason)
        why = as_in_project("\n".join(filter(None, (causes, reason))))
        if why:
            console.print(why, markup=False, soft_wrap=True)
        if place := place_of_missing(trial.copy.source, run.check_name, why):
            console.print(f"    at {place}", markup=False, soft_wrap=True)
        found.append(why)
    return "\n".join(found)


def _first_line(message: str) -> str:
    line = message.partition("\n")[0].removeprefix("error: ")
    return " ".join(line.split())


async def _keep_log(console: Console, trial: Trial, runs: Sequence[Run]) -> None:
    """Store the whole log and print where, because the pages disappear at the end of the trial."""
    try:
        path = await keep_log(trial.daemon.store, runs)
    except OSError as error:
        _print_lost(console, "the whole log", error)
        return
    command = f"{callable_name()} logs --last"
    console.print(f"\n[dim]the whole log: {escape(command)}[/dim], or {path}", soft_wrap=True)


def callable_name() -> str:
    """Return what to type to call this program: its path if the shell wouldn't find it, as after `make demo`."""
    called = sys.argv[0]
    if Path(called).name != PROGRAM or shutil.which(PROGRAM) is not None:
        return PROGRAM
    return shlex.quote(called)


def _print_lost(console: Console, what: str, error: OSError) -> None:
    """Print that something can't be stored for `bassloop logs --last`."""
    text = f"{what} can't be kept in {last_log().parent}: {error.strerror}. Set XDG_STATE_HOME to another folder"
    console.print(f"\n{text}", style="yellow", markup=False, soft_wrap=True)


async def _followed(trial: Trial, display: TrialDisplay) -> list[Delivery]:
    """Show the trial until its deliveries are handled, and return these."""
    deliveries: list[Delivery] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(display.follow)
        for guid in trial.guids:
            if (delivery := await trial.daemon.inbox.finished(guid)) is not None:
                deliveries.append(delivery)
        nursery.cancel_scope.cancel()
    return deliveries
