"""The display of `bassloop try`: the checks and their steps while they run, and a summary at the end.

On a terminal, the display is redrawn in place. Elsewhere each event is printed as a line when it happens, which suits
CI logs and pipes.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from bassloop.cli.log_display import PrintedLog
from bassloop.cli.progress import is_live
from bassloop.concurrency import shielded
from bassloop.lifecycle import RunState
from bassloop.runner.runner_events import PullEnded, PullStarted
from bassloop.terminal import one_line, strip
from bassloop.units import format_duration
from bassloop.wire.conventions import CHECKOUT_IMAGE, is_unused_image, unused_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.daemon.serve import Daemon
    from bassloop.runner import RunnerEvent
    from bassloop.store import Run, Step

TAIL_LINES = 6
FAILED_LINES = 40
"""How many lines of a failed step's log are repeated at the end."""

PAGE = 1000
REDRAW_SECONDS = 0.08
TICK_SECONDS = 0.5
"""Seconds between redraws while nothing happens, so that durations keep counting."""

LAST_SECONDS = 2.0
REORDERING = dict.fromkeys(
    (*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}"
)
"""Characters that change the direction of the text after them."""

_LINKS_FOLDER = re.compile(
    r"\bpip3? install\b[^;&|]* (?:-e|--editable)\b|\bsetup\.py develop\b|\bnpm link\b"
)

SIGNS = {
    RunState.QUEUED: ("○", "dim"),
    RunState.RUNNING: ("●", "yellow"),
    RunState.SUCCEEDED: ("✓", "green"),
    RunState.FAILED: ("✗", "red"),
    RunState.CANCELLED: ("■", "yellow"),
    RunState.TIMED_OUT: ("✗", "red"),
    RunState.INTERRUPTED: ("■", "yellow"),
    RunState.ACTION_REQUIRED: ("!", "magenta"),
    RunState.NEUTRAL: ("–", "dim"),
}


@dataclass
class _Seen:
    """The part of a run that has been printed, if the output isn't a live terminal.

    Args:
        step: the row of the step whose lines were printed last.
    """

    state: str = ""
    logs: dict[int, PrintedLog] = field(default_factory=dict)
    step: int | None = None


_REST_NOT_KEPT = "is not kept)"
"""The end of the notes in a run's message about logs or steps that have reached a limit."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Args:
        conclusion: the one reported to GitHub, or None.
        unused_images: images that it names, but that its runner didn't use.
        skipped_steps: how many steps didn't run to their end though it succeeded.
        missing_files: for each report and artifact that it names and that isn't kept, why.
        has_cut_log: the end of a log, or the rest of the logs or steps, isn't kept.
        lacks_image: it failed because an image can't be pulled.
        links_folder: a command installed the folder that it ran in by its path.
    """

    run: Run
    conclusion: str | None
    unused_images: tuple[str, ...] = ()
    skipped_steps: int = 0
    missing_files: tuple[str, ...] = ()
    has_cut_log: bool = False
    lacks_image: bool = False
    links_folder: bool = False

    @property
    def passed(self) -> bool:
        """Whether success was reported to GitHub."""
        return self.conclusion == "success"


class Pulls:
    """The images that a runner is pulling. Call it with each of the runner's events."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}

    def __call__(self, event: RunnerEvent) -> None:
        """Record an event, and print it unless a live display shows it."""
        match event:
            case PullStarted(image):
                self._began[image] = time.monotonic()
            case PullEnded(image):
                self._began.pop(image, None)
            case _:
                return
        if not is_live(self._console):
            text = strip(str(event).encode())
            if not (isinstance(event, PullEnded) and event.error is None):
                text += _explain_image(event.image)
            self._console.print(Text(text, "dim"), soft_wrap=True)

    def lines(self) -> list[Text]:
        """Return a line for each image that is being pulled."""
        now = time.monotonic()
        return [
            Text(f"  pulling {image}{_explain_image(image)}  {format_duration(now - began)}", "dim")
            for image, began in self._began.items()
        ]


class TrialDisplay:
    """Follows every run of a daemon until cancelled."""

    def __init__(self, console: Console, daemon: Daemon, pulls: Pulls) -> None:
        self._console = console
        self._daemon = daemon
        self._pulls = pulls
        self._seen: dict[str, _Seen] = {}
        self._forgotten: set[str] = set()
        self._began = time.monotonic()

    async def forget(self) -> None:
        """Stop showing the runs so far."""
        self._began = time.monotonic()
        self._forgotten |= {run.id for run in await self._runs()}

    async def results(self, check_runs: Sequence[Mapping[str, Any]]) -> list[CheckResult]:
        """Return how the checks ended.

        Args:
            check_runs: what was reported to GitHub.
        """
        conclusions = {check["external_id"]: check["conclusion"] for check in check_runs}
        found = []
        for run in await self._runs():
            steps = await self._daemon.store.steps.of_run(run.id)
            succeeded = run.state == RunState.SUCCEEDED
            found.append(
                CheckResult(
                    run,
                    conclusions.get(run.id),
                    tuple(unused_images(step.name for step in steps)),
                    sum(step.completed_at is None for step in steps) if succeeded else 0,
                    tuple(
                        one_line(step.name).removeprefix("[loop] ")
                        for step in steps
                        if step.digest.startswith(("loop:report:", "loop:artifact:"))
                    ),
                    any(self._daemon.store.logs.is_cut(step) for step in steps)
                    or _REST_NOT_KEPT in (run.message or ""),
                    any(step.error and step.name.startswith("image ") for step in steps)
                    or "can't be pulled" in (run.message or ""),
                    any(_LINKS_FOLDER.search(step.name) for step in steps),
                )
            )
        return found

    def summarize(self, results: Sequence[CheckResult], *, with_pages: bool) -> None:
        """Print a table of the checks as GitHub would show them.

        Args:
            with_pages: with the addresses of the pages, which are served for a while.
        """
        headings = ["", "check", "conclusion", "time"]
        without = any(each.unused_images for each in results)
        headings += ["without its image"] if without else []
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for heading in headings:
            table.add_column(heading, overflow="fold")
        pages = [f"{self._daemon.url}/runs/{each.run.id}" for each in results]
        if with_pages:
            # Whole, so that it can be clicked and copied; the other columns give way.
            longest = max(map(len, pages), default=0)
            table.add_column("where its log is", overflow="fold", min_width=longest)
        for each, page in zip(results, pages, strict=True):
            run = each.run
            sign, style = SIGNS[run.state]
            if run.state == RunState.SUCCEEDED and each.unused_images:
                sign, style = "!", "yellow"  # not what its declaration asks for
            began = run.started_at or run.created_at
            cells = [
                Text(sign, style),
                Text(run.check_name, "bold"),
                Text(each.conclusion or "not reported", style),
                Text(format_duration((run.ended_at or began) - began)),
            ]
            if without:
                cells.append(Text(", ".join(each.unused_images), "yellow"))
            if with_pages:
                cells.append(Text(page, f"link {page}"))
            table.add_row(*cells)
        self._console.print()
        self._console.print(table)
        for each in results:
            for missing in each.missing_files:
                text = Text(f"{each.run.check_name}: {missing}", "yellow")
                self._console.print(text, soft_wrap=True)

    async def follow(self) -> None:
        """Show what happens until cancelled. The final state is shown even then."""
        async with self._daemon.live_runs.follow(None) as following:
            if is_live(self._console):
                with Live(console=self._console, auto_refresh=False) as live:
                    try:
                        while True:
                            with trio.move_on_after(TICK_SECONDS):
                                await following.changed()
                            live.update(await self._picture(), refresh=True)
                            await trio.sleep(REDRAW_SECONDS)
                    finally:
                        with shielded(LAST_SECONDS):
                            live.update(await self._picture(), refresh=True)
            while True:
                await following.changed()
                await self.print_updates()

    async def print_updates(self) -> None:
        """Print what wasn't printed yet, one line each."""
        for run in await self._runs():
            seen = self._seen.setdefault(run.id, _Seen())
            for step in await self._daemon.store.steps.of_run(run.id):
                await self._print_step(run, step, seen)
            if seen.state != run.state:
                seen.state = run.state
                self._console.print(self._headline(run), soft_wrap=True)

    async def _runs(self) -> list[Run]:
        page = await self._daemon.store.runs.newest(limit=100, public_only=False)
        runs = (run for run in page.items if run.id not in self._forgotten)
        return sorted(runs, key=lambda run: run.created_at)

    async def _print_step(self, run: Run, step: Step, seen: _Seen) -> None:
        printed = seen.logs.get(step.row)
        if printed is None:
            if not (step.started_at or step.completed_at):
                return
            printed = seen.logs[step.row] = PrintedLog()
            self._print_heading(run, step, seen)
        ended = step.completed_at is not None
        # Read before the settled lines, so that none is between the two.
        first, whole = self._daemon.live_runs.whole_lines(step.row, ended=ended)
        logs = self._daemon.store.logs
        while True:
            start = printed.settled
            lines = await logs.lines(run.id, step.row, start, start + PAGE)
            self._print_lines(run, step, seen, printed.settle(lines))
            if len(lines) < PAGE:
                break
        self._print_lines(run, step, seen, printed.preview(first, whole, ended=ended))

    def _print_heading(self, run: Run, step: Step, seen: _Seen) -> None:
        sign = "$ " if _is_command(step) else ""
        if sign and step.started_at is None:
            sign = "not run: "
        name = f"{run.check_name} │ {sign}{one_line(step.name)}"
        self._console.print(Text(name, "dim"), soft_wrap=True)
        seen.step = step.row

    def _print_lines(self, run: Run, step: Step, seen: _Seen, lines: Sequence[bytes]) -> None:
        if lines and seen.step != step.row:
            self._print_heading(run, step, seen)
        for line in lines:
            text = Text(f"{run.check_name} │ ", style="dim") + _line(line)
            self._console.print(text, soft_wrap=True)

    async def _picture(self) -> RenderableType:
        trees = []
        for run in await self._runs():
            tree = Tree(self._headline(run))
            for step in await self._daemon.store.steps.of_run(run.id):
                if step.internal:
                    continue
                branch = tree.add(_step_line(step))
                if step.completed_at is None or step.error:
                    for line in await self._last_lines(run, step):
                        branch.add(line)
            trees.append(tree)
        if trees:
            return Group(*trees)
        took = format_duration(time.monotonic() - self._began)
        return Group(Text(f"… evaluating the checks  {took}", "dim"), *self._pulls.lines())

    async def print_failures(self) -> None:
        """Print the last lines of the failed steps' logs that the tree above has cut short."""
        for run in await self._runs():
            for step in await self._daemon.store.steps.of_run(run.id):
                if not step.error or step.internal or run.state == RunState.NEUTRAL:
                    continue
                lines = await self._last_lines(run, step, FAILED_LINES)
                if len(lines) <= TAIL_LINES:
                    continue  # the tree has all of them
                name = one_line(step.name)
                self._console.print()
                self._console.print(Text(f"{run.check_name} │ $ {name}", "bold"), soft_wrap=True)
                for line in lines:
                    self._console.print(line, soft_wrap=True)

    async def _last_lines(self, run: Run, step: Step, count: int = TAIL_LINES) -> list[Text]:
        extent = await self._daemon.store.logs.extent(run.id, step.row)
        first = max(0, extent.lines - count)
        lines = await self._daemon.store.logs.lines(run.id, step.row, first, extent.lines)
        return [_line(line) for line in (*lines, *self._daemon.live_runs.screen(step.row))][-count:]

    def _headline(self, run: Run) -> Text:
        sign, style = SIGNS[run.state]
        began = run.started_at or run.created_at
        took = format_duration((run.ended_at or time.time()) - began)
        state = run.state.replace("_", " ")
        return Text.assemble(
            (f"{sign} ", style), (run.check_name, "bold"), f" {state} ", (f"{took}", "dim")
        )


def _explain_image(image: str) -> str:
    """Return why an image is used that no check names."""
    parts = image.partition("@")[0].split("/")
    name = "/".join(parts[-2:]).partition(":")[0]
    return ", in which the loop fetches your code" if name == CHECKOUT_IMAGE else ""


def _is_command(step: Step) -> bool:
    """Return False for a step that only says something."""
    return not step.name.startswith(("[hook]", "[loop]", "image ")) and not is_unused_image(
        step.name
    )


def _step_line(step: Step) -> Text:
    if step.error:
        sign, style = "✗", "red"
    elif step.cached:
        sign, style = "≡", "dim"
    elif is_unused_image(step.name):
        sign, style = "!", "yellow"
    elif step.completed_at is not None:
        sign, style = "✓", "green"
    else:
        sign, style = "●", "yellow"
    name = one_line(step.name)
    took = ""
    if step.started_at is not None:
        took = format_duration((step.completed_at or time.time()) - step.started_at)
    return Text.assemble((f"{sign} ", style), name, (f"  {took}", "dim"))


def _line(line: bytes) -> Text:
    """A settled line with its colours; it has no other escapes by then."""
    return Text.from_ansi(line.decode(errors="replace").translate(REORDERING))
