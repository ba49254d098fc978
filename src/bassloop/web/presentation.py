"""How runs and steps appear on pages and in JSON. Templates escape the texts."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote

from jinja2 import Environment, PackageLoader
from quart import Response, abort, request

from bassloop.lifecycle import RunState
from bassloop.terminal import one_line, plain
from bassloop.units import format_duration
from bassloop.wire.conventions import is_unused_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run, Step


SHORT_SHA = 7
LOG_CUT = "the end of its log is lost"
MAX_NOTE = 300
PAGE_SIZE = 50
"""The number of runs or deliveries on one page of a list."""

STEP_PAGE_LINES = 1000
"""The number of log lines on a step's page."""


_RUN_ADDRESS = re.compile(r"https?://[^\s()]{1,300}(/runs/[A-Za-z0-9_-]{10,40})(?![A-Za-z0-9_/-])")

IMMUTABLE = "public, max-age=31536000, immutable"
"""Cache-Control for URLs that change with their content."""

DOWNLOAD_SECONDS = 3600.0
"""How long a visitor may take to download a file."""

_documents = Environment(
    loader=PackageLoader("bassloop.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


class StateLabel(NamedTuple):
    """The label of a state: a sign, the name of a colour, and a word."""

    sign: str
    colour: str
    word: str


RUN_LABELS: dict[str, StateLabel] = {
    RunState.QUEUED: StateLabel("○", "waits", "waiting for a runner"),
    RunState.RUNNING: StateLabel("●", "runs", "running"),
    RunState.SUCCEEDED: StateLabel("✓", "ok", "succeeded"),
    RunState.FAILED: StateLabel("✕", "bad", "failed"),
    RunState.CANCELLED: StateLabel("■", "warn", "cancelled"),
    RunState.TIMED_OUT: StateLabel("✕", "bad", "timed out"),
    RunState.INTERRUPTED: StateLabel("■", "warn", "interrupted"),
    RunState.ACTION_REQUIRED: StateLabel("!", "warn", "needs a runner"),
    RunState.NEUTRAL: StateLabel("–", "waits", "nothing to do"),
}

STEP_LABELS = {
    "ok": StateLabel("✓", "ok", "succeeded"),
    "bad": StateLabel("✕", "bad", "failed"),
    "warn": StateLabel("■", "warn", "stopped"),
    "runs": StateLabel("●", "runs", "running"),
    "cached": StateLabel("≡", "cached", "from cache"),
    "unused": StateLabel("!", "unused", "not used"),
    "waits": StateLabel("○", "waits", "not started"),
}


class EventWords(NamedTuple):
    """An event in words, and the preposition between them and the name of a branch."""

    word: str
    preposition: str


EVENT_WORDS = {
    "push": EventWords("push", "to"),
    "check_suite": EventWords("push", "to"),
    "check_run": EventWords("run again", "on"),
    "merge_group": EventWords("merge queue", "of"),
    "pull_request": EventWords("pull request", "from"),
}

_QUOTE = "'\"'\"'"
"""A single quote in a word that `shlex.quote` has quoted."""

_SHELL_COMMAND = re.compile(rf"sh -e?c (?:'(?P<quoted>(?:[^']|{_QUOTE})*+)'\Z)?+")
"""A shell that runs a line. `quoted` is the line if `shlex.quote` has quoted it."""

MAX_SPLIT = 300
"""The maximum length of a name whose line is quoted in another way, for it to be shown without ``sh -c``."""

WORST_FIRST = (
    RunState.FAILED,
    RunState.TIMED_OUT,
    RunState.INTERRUPTED,
    RunState.CANCELLED,
    RunState.ACTION_REQUIRED,
    RunState.RUNNING,
    RunState.QUEUED,
    RunState.SUCCEEDED,
    RunState.NEUTRAL,
)


def instant(at: float | None) -> str:
    """Format a time for HTML and JSON (RFC 3339, UTC); empty for None."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class RunView:
    """A run in a list, or at the top of its page."""

    run: Run
    label: StateLabel
    started_at: float
    duration: str
    live: bool

    @property
    def sha(self) -> str:
        """The head commit, abbreviated."""
        return self.run.head_sha[:SHORT_SHA]

    @property
    def created(self) -> str:
        """When it was created, formatted."""
        return instant(self.run.created_at)

    @property
    def event(self) -> EventWords:
        """The webhook event that caused it, in words."""
        return EVENT_WORDS.get(self.run.event) or EventWords(self.run.event.replace("_", " "), "on")


def view_run(run: Run, now: float) -> RunView:
    """Return the view of a run at a given time."""
    started_at = run.started_at or run.created_at
    took = format_duration((run.ended_at or now) - started_at)
    return RunView(run, RUN_LABELS[run.state], started_at, took, not run.ended)


def view_runs(runs: Sequence[Run]) -> list[RunView]:
    """Return the current views of runs."""
    now = time.time()
    return [view_run(run, now) for run in runs]


def worst_first(runs: Sequence[Run]) -> list[Run]:
    """Return runs sorted by state, those that need attention first, otherwise in the given order."""
    rank = {state: number for number, state in enumerate(WORST_FIRST)}
    return sorted(runs, key=lambda run: rank[run.state])


def overall_state(runs: Sequence[Run]) -> str:
    """Return the worst state of several checks; ``none`` without checks."""
    states = {run.state for run in runs}
    return next((state for state in WORST_FIRST if state in states), "none")


@dataclass(frozen=True, slots=True)
class StepView:
    """A step on its run's page.

    Args:
        state: a key of `STEP_LABELS`.
        note: the error, or the state in words.
        hidden: whether it is shown only on request, because it is internal or marked ``[hide]``.
        open: whether its log is initially open.
    """

    record: Step
    name: str
    state: str
    note: str
    duration: str
    hidden: bool
    open: bool

    @property
    def label(self) -> StateLabel:
        """The label of its state."""
        return STEP_LABELS[self.state]


def step_state(step: Step) -> str:
    """Return a step's state, a key of `STEP_LABELS`."""
    if step.error:
        return "bad"
    if step.cancelled:
        return "warn"
    if step.cached:
        return "cached"
    if is_unused_image(step.name):
        return "unused"
    if step.completed_at is not None:
        return "ok"
    return "runs" if step.started_at is not None else "waits"


def view_step(step: Step, now: float) -> StepView:
    """Return the view of a step at a given time."""
    state = step_state(step)
    note = ""
    if state == "bad":
        note = without_command(one_line(step.error or ""), one_line(step.name))[:MAX_NOTE]
    elif state in ("cached", "warn", "waits"):
        note = STEP_LABELS[state].word
    if step.log_cut:
        note = f"{note}; {LOG_CUT}" if note else LOG_CUT
    took = ""
    if step.started_at is not None and state != "cached":
        took = format_duration((step.completed_at or now) - step.started_at)
    hidden = step.internal or "[hide]" in step.name
    return StepView(step, step_title(step), state, note, took, hidden, state in ("bad", "runs"))


def step_title(step: Step) -> str:
    """Return a step's name as a person would write it: a shell command without ``sh -c``."""
    name = one_line(step.name).replace("[hide] ", "")
    # A run may have millions of characters of names, and `shlex.split` takes almost a microsecond for each.
    shell = _SHELL_COMMAND.match(name)
    if shell is None:
        return name
    if shell["quoted"] is not None:
        return shell["quoted"].replace(_QUOTE, "'")
    if len(name) > MAX_SPLIT:
        return name
    try:
        words = shlex.split(name)
    except ValueError:
        return name
    return words[2] if len(words) == 3 else name


def without_command(reason: str, name: str) -> str:
    """Return the reason why a step failed without the step's name, which is shown next to it."""
    return reason.removesuffix(f": {name}")


def visible_inputs(steps: Sequence[StepView]) -> dict[int, list[StepView]]:
    """Return the visible steps that each step depends on, by the step's row."""
    by_digest = {step.record.digest: step for step in steps}
    return {
        step.record.row: [
            by_digest[digest]
            for digest in step.record.inputs
            if digest in by_digest and digest != step.record.digest and not by_digest[digest].hidden
        ]
        for step in steps
    }


@dataclass(frozen=True, slots=True)
class RunAction:
    """A button on a run's or a commit's page.

    Args:
        primary: whether it is highlighted.
        when: ``live`` if it is removed when the run ends, ``ended`` if it appears only then.
    """

    url: str
    label: str
    primary: bool = False
    when: str | None = None


def verdict(run: Run) -> list[tuple[str, str | None]]:
    """Return the lines of an ended run's message that refer to other runs, as pairs of text and URL (or None).

    The loop reports a trusted runner's result in such lines. A message from a runner could imitate them, if the run
    failed, but only link to other runs of this loop.
    """
    lines = (run.message or "").splitlines() if run.ended else []
    pieces: list[tuple[str, str | None]] = []
    for line in lines:
        if len(split := _RUN_ADDRESS.split(plain(line))) > 1:
            if pieces:
                pieces.append(("\n", None))
            for number, piece in enumerate(split):
                pieces.append(("the run", piece) if number % 2 else (piece, None))
    return pieces


def run_json(run: Run) -> dict[str, Any]:
    """Return a run as JSON."""
    return {
        "id": run.id,
        "state": run.state,
        "check": run.check_name,
        "repository": run.repository,
        "public": run.public,
        "head_sha": run.head_sha,
        "head_branch": run.head_branch,
        "pull_request": run.pull_request,
        "event": run.event,
        "login": run.login,
        "thunk": run.thunk_digest or None,
        "command": run.cmdline,
        "runner": run.runner_login,
        "platform": run.platform,
        "message": run.message,
        "created_at": instant(run.created_at) or None,
        "started_at": instant(run.started_at) or None,
        "ended_at": instant(run.ended_at) or None,
    }


def step_json(step: Step) -> dict[str, Any]:
    """Return a step as JSON."""
    return {
        "row": step.row,
        "digest": step.digest,
        "name": one_line(step.name),
        "state": step_state(step),
        "error": one_line(step.error) if step.error else None,
        "inputs": list(step.inputs),
        "internal": step.internal,
        "lines": step.lines,
        "bytes": step.raw_bytes,
        "log_cut": step.log_cut,
        "started_at": instant(step.started_at) or None,
        "completed_at": instant(step.completed_at) or None,
    }


def render_document(template: str, **variables: Any) -> str:
    """Render a picture or a feed, from a template that doesn't depend on the visitor."""
    return _documents.get_template(template).render(variables) + "\n"


def wants_json() -> bool:
    """Return whether the client prefers JSON to HTML."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def abort_not_found(what: str) -> NoReturn:
    """Abort with 404, with the same text whether it doesn't exist or the visitor may not see it."""
    abort(404, f"there is no such {what}, or you don't have access to it")


def download_headers(name: str) -> dict[str, str]:
    """Return headers that make a browser save an untrusted file under a name, and never show it."""
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name[-200:])}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }


async def revalidated(response: Response) -> Response:
    """Return the response with an ETag, or 304 if the client has it already."""
    await response.add_etag()
    await response.make_conditional(request)
    return response
