"""What a check run says, in Markdown. Pure: from a run and its vertexes to text.

Everything that a script, a runner or a log chose is escaped here, at the last moment, for GitHub's
Markdown; lengths are cut by the GitHub room, which knows the limits.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bassloop.checks.caveats import foreseen
from bassloop.github import Action, CheckOutput
from bassloop.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.github import Annotation
    from bassloop.runtimes import Runtime
    from bassloop.store import Run, Vertex

CONCLUSIONS = {
    "succeeded": "success",
    "failed": "failure",
    "cancelled": "cancelled",
    "timed_out": "timed_out",
    "interrupted": "cancelled",
    "action_required": "action_required",
    "neutral": "neutral",
}
"""A run's final state, and the conclusion that its check run gets."""

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&-])")
_SHOWN_VERTEXES = 100
_MESSAGE_BYTES = 20_000
_END_BYTES = 50_000
_END_LINE = 2_000
_MAY_APPROVE = (
    "Whoever can write to the repository can approve this head, to have it run on their own runner."
)

HOOK = "hook:"
"""What the digest of the vertex begins with in which a hook says what it has to say."""

APPROVAL = "Bass Loop approval"
"""The check run that says that a head waits for approval, and who gave it."""

APPROVE = Action("Approve", "Run this head, on your runner too", "approve")
CANCEL = Action("Cancel", "Stop this check", "cancel")
RERUN = Action("Run again", "Run this check once more", "rerun")


def escape(text: str) -> str:
    """Text as it is, in one line of Markdown: no markup, mention, reference or HTML comes alive."""
    flat = " ".join(text.split())
    return _ACTIVE.sub(r"\\\1", flat).replace("@", "@\N{ZERO WIDTH NON-JOINER}")


def code_block(text: str) -> str:
    """Text in a fence that is longer than any run of back-quotes in it."""
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


@dataclass(frozen=True, slots=True)
class Awaited:
    """Whose runners a check waits for.

    Args:
        connect: the command that connects one of the first.
        approvable: whether somebody's approval would add theirs.
    """

    logins: tuple[str, ...]
    connect: str
    approvable: bool = False


def queued(run: Run, url: str, awaited: Awaited) -> CheckOutput:
    """A check that waits for a runner."""
    title, parts = "Waiting for a runner", [f"`{_code(run.cmdline)}` waits for {_any_of(awaited)}."]
    if awaited.logins:
        parts[0] += (
            f" {escape(awaited.logins[0])} connects one with\n\n```sh\n{awaited.connect}\n```"
        )
    if awaited.approvable:
        parts.append(_MAY_APPROVE)
    parts.append(f"[Follow the run, or cancel it]({url})")
    actions = (CANCEL, APPROVE) if awaited.approvable else (CANCEL,)
    return CheckOutput(title, "\n\n".join(parts), actions=actions)


def started(run: Run, url: str, runtime: Runtime) -> CheckOutput:
    """A check that runs, or is about to, on this runtime."""
    where = _on(run, runtime.login, str(runtime.platform))
    follow = f"[Follow the log, live, or cancel it]({url})"
    return noted(
        CheckOutput("Running", f"{where}\n\n{follow}", actions=(CANCEL,)), foreseen(runtime)
    )


def no_runner(run: Run, url: str, awaited: Awaited, waited: float) -> CheckOutput:
    """A check that nobody ran."""
    after = f" for {format_duration(waited)}" if waited else ""
    login = awaited.logins[0]
    parts = [
        f"`{_code(run.cmdline)}` waited for {_any_of(awaited)}{after}, and none was connected. "
        f"{escape(login)} connects one with\n\n```sh\n{awaited.connect}\n```\n\n"
        "and then the check can be run again."
    ]
    if awaited.approvable:
        parts.append(_MAY_APPROVE)
    parts.append(f"[The run]({url})")
    actions = (APPROVE, RERUN) if awaited.approvable else (RERUN,)
    return CheckOutput(f"No runner of {login} is connected", "\n\n".join(parts), actions=actions)


def approval(run: Run, url: str) -> CheckOutput:
    """A head that waits for approval, or was approved."""
    message = escape((run.message or "").strip())
    if run.state == "succeeded":
        return CheckOutput("Approved", f"{message}.\n\n[The approval]({url})")
    return CheckOutput(
        "Waiting for approval",
        f"{message}, so nothing is evaluated or run for this head yet.\n\n{_MAY_APPROVE} Look at what it "
        f"changes first, its hook and its scripts above all.\n\n[Approve it on its page]({url})",
        actions=(APPROVE,),
    )


def ended(
    run: Run,
    vertexes: Sequence[Vertex],
    url: str,
    failing: Vertex | None = None,
    last_lines: Sequence[str] = (),
    annotations: Sequence[Annotation] = (),
) -> CheckOutput:
    """A check that is over: what happened, where the time went, and the end of what failed.

    Args:
        failing: the vertex to blame, or for a check out of time the one that still ran.
        last_lines: the end of its log, without colours.
    """
    took = format_duration((run.ended_at or 0) - run.started_at) if run.started_at else None
    state = run.state.replace("_", " ").capitalize()
    title = f"{state} after {took}" if took else state
    if failing is not None and run.state == "failed":
        title = f"{_short(failing.name)}: {_short(failing.error or 'failed')}"
    elif run.message and run.state != "succeeded":
        title = _short(run.message.strip().splitlines()[0])
    parts = [_where(run)]
    if run.message and run.state != "succeeded":
        parts.append(code_block(_head(run.message)))
    if vertexes:
        parts.append(_table(vertexes, url))
    parts.append(f"[The whole log]({url})")
    return CheckOutput(
        title,
        "\n\n".join(parts),
        _log_end(failing, last_lines, url) if failing is not None else None,
        tuple(annotations),
        () if run.state in ("succeeded", "neutral") else (RERUN,),
    )


def noted(said: CheckOutput, notes: Sequence[str]) -> CheckOutput:
    """A report with what is to be known of the runner (Markdown) at the end of its summary."""
    return replace(said, summary="\n\n".join([said.summary, *(f"> {note}" for note in notes)]))


def _log_end(vertex: Vertex, last_lines: Sequence[str], url: str) -> str | None:
    """The end of a log, with the address of its first line that is shown."""
    shown = end_of(last_lines)
    if not shown:
        return None
    first = max(vertex.lines - len(shown), 0) + 1
    link = f"{url}#v{vertex.row}-L{first}"
    return f"The end of [`{_code(vertex.name)}`]({link}):\n\n" + code_block("\n".join(shown))


def end_of(lines: Sequence[str], size: int = _END_BYTES) -> list[str]:
    """As many of the last lines as fit into a size, in bytes; a very long line is cut at its end.

    GitHub's own limit would take the end of a text, which of a log is what matters.
    """
    kept: list[str] = []
    for line in reversed(lines):
        cut = line if len(line) <= _END_LINE else f"{line[:_END_LINE]}…"
        size -= len(cut.encode(errors="replace")) + 1
        if size < 0:
            break
        kept.append(cut)
    return kept[::-1]


def hook_ended(
    run: Run,
    vertexes: Sequence[Vertex],
    url: str,
    failing: Vertex | None = None,
    last_lines: Sequence[str] = (),
    annotations: Sequence[Annotation] = (),
) -> CheckOutput:
    """A hook's script that could not be evaluated, or that there was none; for the rest see :func:`ended`.

    Args:
        vertexes: those of the thunks that it ran itself.
    """
    message = (run.message or "it gave no reason").strip()
    if run.state == "neutral":
        return CheckOutput("No hook at this commit", f"{code_block(message)}\n\n[The run]({url})")
    if run.state == "succeeded":
        return CheckOutput("Evaluated", f"{escape(message)}\n\n[The run]({url})")
    parts = [
        "The repository's hook did not finish; the checks that it would have started may be missing.",
        code_block(_head(message)),
    ]
    if vertexes:
        parts.append(_table(vertexes, url))
    parts.append(f"[The hook's own log]({url})")
    return CheckOutput(
        _short(message.splitlines()[0]),
        "\n\n".join(parts),
        _log_end(failing, last_lines, url) if failing is not None else None,
        tuple(annotations),
        (RERUN,),
    )


def connect_command(login: str, host: str, port: int) -> str:
    """What a sender types to connect a runner to this loop."""
    where = host if port == 6455 else f"{host}:{port}"
    return shlex.join(["bassloop", "runner", f"{login}@{where}"])


def failing_vertex(vertexes: Sequence[Vertex]) -> Vertex | None:
    """The vertex that broke the run: the first with an error that none of its inputs explains."""
    failed = {vertex.digest: vertex for vertex in vertexes if vertex.error}
    for vertex in failed.values():
        if not any(name in failed for name in vertex.inputs if name != vertex.digest):
            return vertex
    return next(iter(failed.values()), None)


def unfinished_vertex(vertexes: Sequence[Vertex]) -> Vertex | None:
    """The vertex that a run which was stopped was at: the last one that had begun and not ended."""
    for vertex in reversed(vertexes):
        if vertex.started_at is not None and (vertex.completed_at is None or vertex.cancelled):
            return vertex
    return None


def _where(run: Run) -> str:
    if run.runner_login is None:
        return f"`{_code(run.cmdline)}` has run on nobody's runner."
    return _on(run, run.runner_login, run.platform)


def _on(run: Run, login: str, platform: str | None) -> str:
    on = f" (`{_code(platform)}`)" if platform else ""
    whose = "" if run.login == login else f", for **{escape(run.login)}**"
    return f"`{_code(run.cmdline)}` on **{escape(login)}**'s runner{on}{whose}."


def _any_of(awaited: Awaited) -> str:
    who = " or ".join(f"**{escape(login)}**" for login in awaited.logins)
    return f"a runner of {who}" if who else "a runner, of which there is none that may run it"


def _table(vertexes: Sequence[Vertex], url: str) -> str:
    shown = [vertex for vertex in vertexes if not vertex.internal and "[hide]" not in vertex.name]
    left_out = len(shown) - _SHOWN_VERTEXES
    if left_out > 0:
        # What went wrong is shown, wherever it stands.
        chosen = sorted(shown, key=lambda vertex: vertex.error is None)[:_SHOWN_VERTEXES]
        shown = sorted(chosen, key=lambda vertex: vertex.position)
    rows = ["| | step | time |", "| --- | --- | ---: |"]
    for vertex in shown:
        rows.append(
            f"| {_sign(vertex)} | [`{_cell(vertex.name)}`]({url}#v{vertex.row}) | {_time(vertex)} |"
        )
    if left_out > 0:
        rows.append(f"| | [and {left_out} more]({url}) | |")
    return "\n".join(rows)


def _sign(vertex: Vertex) -> str:
    if vertex.error:
        return "❌"
    if vertex.cancelled:
        return "⏹️"
    if vertex.cached:
        return "♻️"
    return "✅" if vertex.completed_at is not None else "…"


def _time(vertex: Vertex) -> str:
    if vertex.cached:
        return "cached"
    if vertex.started_at is None or vertex.completed_at is None:
        return ""
    return format_duration(vertex.completed_at - vertex.started_at)


def _code(text: str) -> str:
    """Text that may stand between back-quotes: those in it become quotes, so that none ends the code."""
    return _short(text, 200).replace("`", "'")


def _head(message: str) -> str:
    """The beginning of a message, so that what follows it in a summary has room."""
    data = message.encode(errors="replace")
    if len(data) <= _MESSAGE_BYTES:
        return data.decode()
    return data[:_MESSAGE_BYTES].decode(errors="ignore") + "\n…"


def _cell(text: str) -> str:
    return _code(text).replace("|", "\\|").replace("]", "\\]").replace("[", "\\[")


def _short(text: str, limit: int = 120) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
