"""The output of check runs on GitHub, rendered from a run and its steps as Markdown. No I/O.

Text from hooks, runners and logs is escaped here for GitHub's Markdown. :mod:`bassloop.github` truncates it to
GitHub's limits.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from bassloop.access.policy import fold_name
from bassloop.failures import Rank
from bassloop.github import Action, CheckOutput
from bassloop.lifecycle import RunState
from bassloop.runtimes import caveat
from bassloop.terminal import plain
from bassloop.units import format_duration, format_size
from bassloop.wire import bass_pb2
from bassloop.wire.conventions import ARTIFACTS_LABEL, label_texts, unused_images
from bassloop.wire.nesting import flatten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

    from bassloop.checks.run_failure import RunFailure
    from bassloop.failures import Failure, Location
    from bassloop.github import Annotation
    from bassloop.runtimes import Runtime
    from bassloop.store import Artifact, Run, Step, ThunkRecord

CONCLUSIONS = {
    RunState.SUCCEEDED: "success",
    RunState.FAILED: "failure",
    RunState.CANCELLED: "cancelled",
    RunState.TIMED_OUT: "timed_out",
    RunState.INTERRUPTED: "cancelled",
    RunState.ACTION_REQUIRED: "action_required",
    RunState.NEUTRAL: "neutral",
}
"""The conclusion of a check run for each final state of its run."""

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&-])")
MAX_FAILURES = 10
_MAX_STEPS = 100
_MAX_ARTIFACTS = 20
_MESSAGE_BYTES = 20_000
_END_BYTES = 50_000
_END_LINE = 2_000
_HOW_TO_APPROVE = "Anyone who can write to the repository can approve this head, to have it run on their own runner."
_RUNNER_KINDS = {"go": "Go `bass --runner`"}

HOOK = "hook:"
"""The prefix of the digest of the step for a hook's own log."""

APPROVAL = "Bass Loop approval"
SUPERSEDED = "Bass Loop superseded"
"""The check run that says that a head waits for approval, or who approved it."""

VERIFICATION = " (trusted)"
"""The suffix for names of checks that verify another check on a trusted runner."""

APPROVE = Action("Approve", "Run this head, on your runner too", "approve")
CANCEL = Action("Cancel", "Stop this check", "cancel")
RERUN = Action("Run again", "Run this check once more", "rerun")
VERIFY = Action("Trusted runner", "Have a trusted runner run this, too", "verify")


def escape(text: str) -> str:
    """Return text as one line of Markdown without any markup, mention, reference or HTML."""
    flat = " ".join(text.split())
    return _ACTIVE.sub(r"\\\1", flat).replace("@", "@\N{ZERO WIDTH NON-JOINER}")


def _with_links(text: str, url: str) -> str:
    """Return text as Markdown with links to other runs' pages; `url` is one run's page."""
    base = re.escape(url.rpartition("/")[0])
    parts = re.split(rf"({base}/[A-Za-z0-9_-]+)", _head(text))
    return "".join(f"[the run]({part})" if n % 2 else escape(part) for n, part in enumerate(parts))


def _message_parts(message: str, url: str, *, is_code: bool) -> list[str]:
    """Return a run's message as Markdown. Lines with other runs' addresses become text, so that these are links."""
    base = f"{url.rpartition('/')[0]}/"
    lines = message.strip().splitlines()
    linked = [line for line in lines if base in line]
    rest = "\n".join(line for line in lines if base not in line)
    parts = [_with_links(line, url) for line in linked]
    if rest:
        parts.append(code_block(_head(rest)) if is_code else _with_links(rest, url))
    return parts


def verification_name(name: str) -> str:
    """Return the name of the check that verifies the check with this name."""
    return f"{name}{VERIFICATION}"


def is_verification(name: str) -> bool:
    """Return whether a check with this name verifies another one."""
    return fold_name(name).endswith(VERIFICATION)


def code_block(text: str) -> str:
    """Return text as a code block, with a fence that is longer than any sequence of backquotes in it."""
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings in the logs of a run that failed.

    Args:
        links: addresses of source lines on GitHub.
        annotations: GitHub's, on the commit's files.
    """

    failure: RunFailure | None = None
    links: Mapping[Location, str] = field(default_factory=dict)
    annotations: Sequence[Annotation] = ()

    @property
    def telling(self) -> Sequence[Failure]:
        """The failures with more information than that something failed."""
        failures = self.failure.failures if self.failure is not None else ()
        return [failure for failure in failures if failure.rank > Rank.CONSEQUENCE]


@dataclass(frozen=True, slots=True)
class AwaitedRunner:
    """The runners that a check waits for.

    Args:
        logins: the users who may provide one.
        connect: the command that connects a runner of the first of them.
        approvable: whether an approval would add the approver's runners.
    """

    logins: tuple[str, ...]
    connect: str
    approvable: bool = False


def queued(run: Run, url: str, awaited: AwaitedRunner, lost: str | None = None) -> CheckOutput:
    """Return the output of a check that waits for a runner; `lost` says why the last one was lost, if any was."""
    parts = [f"`{_code(run.cmdline)}` is waiting for {_any_of(awaited)}."]
    if lost:
        parts[0] = f"{escape(lost)}. It had not begun, and waits again.\n\n{parts[0]}"
    if awaited.logins:
        parts[0] += (
            f" {escape(awaited.logins[0])} can connect one with\n\n```sh\n{awaited.connect}\n```"
        )
    if awaited.approvable:
        parts.append(_HOW_TO_APPROVE)
    parts.append(f"[Follow the run, or cancel it]({url})")
    actions = (CANCEL, APPROVE) if awaited.approvable else (CANCEL,)
    title = "Waiting for a runner again" if lost else "Waiting for a runner"
    return CheckOutput(title, "\n\n".join(parts), actions=actions)


def waiting_for_checks(run: Run, url: str, names: Sequence[str]) -> CheckOutput:
    """Return the output of a check that waits for others to succeed."""
    needs = ", ".join(escape(name) for name in names)
    text = f"`{_code(run.cmdline)}` runs when {needs} succeeded.\n\n[Follow the run, or cancel it]({url})"
    return CheckOutput("Waiting for other checks", text, actions=(CANCEL,))


def started(run: Run, url: str, runtime: Runtime) -> CheckOutput:
    """Return the output of a check that runs on this runtime, or is about to."""
    where = _on(run, runtime.login, str(runtime.platform))
    follow = f"[Follow the log, live, or cancel it]({url})"
    output = CheckOutput("Running", f"{where}\n\n{follow}", actions=(CANCEL,))
    return with_notes(output, caveats_ahead(runtime))


def no_runner(
    run: Run, url: str, awaited: AwaitedRunner, waited: float, lost: str | None = None
) -> CheckOutput:
    """Return the output of a check that found no runner; `lost` says why the last one didn't answer, if any."""
    after = f" for {format_duration(waited)}" if waited else ""
    login = awaited.logins[0]
    why = f"none has answered: {escape(lost)}" if lost else "none was connected"
    parts = [
        f"`{_code(run.cmdline)}` waited for {_any_of(awaited)}{after}, and {why}. "
        f"{escape(login)} can connect one with\n\n```sh\n{awaited.connect}\n```\n\n"
        "and then run the check again."
    ]
    if awaited.approvable:
        parts.append(_HOW_TO_APPROVE)
    actions = (APPROVE, RERUN) if awaited.approvable else (RERUN,)
    title = f"No runner of {login} {'has answered' if lost else 'is connected'}"
    return CheckOutput(title, "\n\n".join([*parts, f"[The run]({url})"]), actions=actions)


def approval(run: Run, url: str) -> CheckOutput:
    """Return the output for a head that waits for approval, or was approved."""
    message = escape((run.message or "").strip())
    if run.state == RunState.SUCCEEDED:
        return CheckOutput("Approved", f"{message}.\n\n[The approval]({url})")
    return CheckOutput(
        "Waiting for approval",
        f"{message}, so nothing runs for this head yet.\n\n{_HOW_TO_APPROVE} Look at what it changes first, above "
        f"all at its hook and its scripts.\n\n[Approve it on its page]({url})",
        actions=(APPROVE,),
    )


def superseded(run: Run, url: str) -> CheckOutput:
    """Return the output for a head that was superseded before its turn."""
    message = escape((run.message or "").strip())
    return CheckOutput(
        "Superseded before its turn came",
        f"Nothing was run for this commit: {message}. To run its checks anyway, run this check "
        f"again.\n\n[Details]({url})",
    )


def ended(
    run: Run,
    steps: Sequence[Step],
    url: str,
    failing: Step | None = None,
    last_lines: Sequence[str] = (),
    findings: Findings | None = None,
) -> CheckOutput:
    """Return the output of an ended check: why it failed, where the time went, the end of the failing log.

    Args:
        failing: the step that failed, or that was stopped.
        last_lines: the end of that step's log, without colours.
    """
    findings = findings or Findings()
    # A runner's own steps must not hide what a trusted runner has found.
    names_others = f"{url.rpartition('/')[0]}/" in (run.message or "")
    took = format_duration((run.ended_at or 0) - run.started_at) if run.started_at else None
    state = run.state.replace("_", " ").capitalize()
    title = f"{state} after {took}" if took else state
    unused = unused_images(step.name for step in steps)
    if unused and run.state == RunState.SUCCEEDED:
        title += f", without {'its image' if len(unused) == 1 else f'{len(unused)} images'}"
    if failing is not None and run.state == RunState.FAILED and not names_others:
        title = f"{_short(failing.name)}: {_short(failing.error or 'failed')}"
    elif run.message and run.state != RunState.SUCCEEDED:
        title = _short((run.message.strip().splitlines() or [title])[0])
    parts = [_where(run)]
    if unused:
        names = ", ".join(f"`{_code(name)}`" for name in unused)
        parts.append(f"It ran with the runner's own programs, not in {names}.")
    if telling := findings.telling:
        title = title if names_others else _short(plain(telling[0].title))
        parts.append(_failures(findings, url))
    if findings.failure is not None and findings.failure.note:
        parts.append(findings.failure.note)
    if run.message:
        parts += _message_parts(run.message, url, is_code=run.state != RunState.SUCCEEDED)
    if steps:
        parts.append(_table(steps, url))
    parts.append(f"[The whole log]({url})")
    return CheckOutput(
        title,
        "\n\n".join(parts),
        _log_end(failing, last_lines, url) if failing is not None else None,
        tuple(findings.annotations),
        () if run.state in (RunState.SUCCEEDED, RunState.NEUTRAL) else (RERUN,),
    )


def _failures(findings: Findings, url: str) -> str:
    """Return the failures found in a log, each with its lines in the log and in the source."""
    assert findings.failure is not None
    step, lines = findings.failure.step, []
    for failure in findings.telling[:MAX_FAILURES]:
        message = failure.headline
        what = f"**{escape(failure.test)}**" if failure.test else ""
        if message:
            what += f"{': ' if what else ''}`{_code(plain(message)) or ' '}`"
        if step is not None and failure.in_log:
            what += f" ([log]({url}#v{step.row}-L{failure.first + 1}))"
        linked = [each for each in failure.locations if each in findings.links]
        if linked:
            what += f" at [`{_code(str(linked[0]))}`]({findings.links[linked[0]]})"
        elif failure.locations:
            what += f" at `{_code(str(failure.locations[0]))}`"
        lines.append(f"- {what}")
    if (more := len(findings.telling) - MAX_FAILURES) > 0:
        lines.append(f"- [{more} more]({url})")
    return "\n".join(lines)


def with_notes(output: CheckOutput, notes: Sequence[str]) -> CheckOutput:
    """Return the output with notes, in Markdown, appended to its summary."""
    quoted = [f"> {note}" for note in notes]
    return replace(output, summary="\n\n".join([output.summary, *quoted]))


def with_artifacts(output: CheckOutput, artifacts: Sequence[Artifact], url: str) -> CheckOutput:
    """Return the output with links to a run's artifacts.

    Args:
        url: the run's page.
    """
    kept = [each for each in artifacts if each.kept]
    if not kept:
        return output
    rows = ["| artifact | size | SHA-256 |", "| --- | ---: | --- |"]
    for each in kept[:_MAX_ARTIFACTS]:
        link = f"{url}/artifacts/{quote(each.path)}"
        rows.append(
            f"| [`{_cell(each.path)}`]({link}) | {format_size(each.bytes)} | `{each.sha256[:16]}…` |"
        )
    if (more := len(kept) - _MAX_ARTIFACTS) > 0:
        rows.append(f"| [and {more} more]({url}#artifacts) | | |")
    return replace(output, summary="\n\n".join([output.summary, "\n".join(rows)]))


def caveats_ahead(runtime: Runtime) -> list[str]:
    """Return a sentence about the limitations of a runtime, for people who wait for its run, or none."""
    if not runtime.caveats:
        return []
    return [f"This runner is a {_RUNNER_KINDS[runtime.kind]}: {'; '.join(runtime.caveats)}."]


def caveats_met(run: Run, thunk: ThunkRecord | None) -> list[str]:
    """Return sentences about what may surprise people about this run."""
    found = []
    if thunk is not None and _has_secret(thunk.proto):
        found.append(caveat(run.runner_kind, "secrets"))
    if run.state in (RunState.CANCELLED, RunState.TIMED_OUT):
        found.append(caveat(run.runner_kind, "cancelling"))
    kind = _RUNNER_KINDS.get(str(run.runner_kind))
    notes = [f"This runner is a {kind}: {each}." for each in found if each]
    if thunk is not None and run.runner_kind not in (None, "bassloop") and _names_artifacts(thunk):
        notes.append(
            "No artifacts are kept of this run: only `bassloop runner` sends them, and this is another kind."
        )
    return notes


def _names_artifacts(thunk: ThunkRecord) -> bool:
    return bool(label_texts(bass_pb2.Thunk.FromString(thunk.proto), ARTIFACTS_LABEL))


def _has_secret(thunk: bytes) -> bool:
    """Return whether a thunk, or one that it depends on, asks for a secret."""
    flat = flatten(thunk, most=len(thunk))
    pending: list[Message] = [bass_pb2.Thunk.FromString(each.encoded) for each in flat]
    while pending:
        each = pending.pop()
        if isinstance(each, bass_pb2.Secret):
            return True
        for kind, value in each.ListFields():
            if kind.type == kind.TYPE_MESSAGE:
                pending.extend(value if kind.is_repeated else [value])
    return False


def _log_end(step: Step, last_lines: Sequence[str], url: str) -> str | None:
    """Return the end of a log, with a link to its first line."""
    shown = end_of(last_lines)
    if not shown:
        return None
    first = max(step.lines - len(shown), 0) + 1
    link = f"{url}#v{step.row}-L{first}"
    return f"The end of [`{_code(step.name)}`]({link}):\n\n" + code_block("\n".join(shown))


def end_of(lines: Sequence[str], size: int = _END_BYTES) -> list[str]:
    """Return as many of the last lines as fit into so many bytes. A very long line is truncated.

    GitHub's limit truncates texts at the end, which is what matters in a log.
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
    steps: Sequence[Step],
    url: str,
    failing: Step | None = None,
    last_lines: Sequence[str] = (),
    annotations: Sequence[Annotation] = (),
) -> CheckOutput:
    """Return the output for a hook that failed, is missing, or works again. For checks, see :func:`ended`.

    Args:
        steps: the steps of thunks that the hook ran itself.
    """
    message = (run.message or "").strip() or "it gave no reason"
    if run.state == RunState.NEUTRAL:
        return CheckOutput("No hook at this commit", f"{code_block(message)}\n\n[The run]({url})")
    if run.state == RunState.SUCCEEDED:
        return CheckOutput("Evaluated", f"{escape(message)}\n\n[The run]({url})")
    parts = [
        "The hook did not finish, so checks that it would have started may be missing.",
        code_block(_head(message)),
    ]
    if steps:
        parts.append(_table(steps, url))
    parts.append(f"[The hook's own log]({url})")
    return CheckOutput(
        _short(message.splitlines()[0]),
        "\n\n".join(parts),
        _log_end(failing, last_lines, url) if failing is not None else None,
        tuple(annotations),
        (RERUN,),
    )


def connect_command(login: str, host: str, port: int) -> str:
    """Return the command that connects a runner to this loop."""
    where = host if port == 6455 else f"{host}:{port}"
    return shlex.join(["bassloop", "runner", f"{login}@{where}"])


def _where(run: Run) -> str:
    if run.runner_login is None:
        return f"`{_code(run.cmdline)}` did not run on any runner."
    return _on(run, run.runner_login, run.platform)


def _on(run: Run, login: str, platform: str | None) -> str:
    on = f" (`{_code(platform)}`)" if platform else ""
    whose = "" if run.login == login else f", for **{escape(run.login)}**"
    return f"`{_code(run.cmdline)}` on **{escape(login)}**'s runner{on}{whose}."


def _any_of(awaited: AwaitedRunner) -> str:
    who = " or ".join(f"**{escape(login)}**" for login in awaited.logins)
    return f"a runner of {who}" if who else "a runner, and there is none that may run it"


def _table(steps: Sequence[Step], url: str) -> str:
    shown = [step for step in steps if not step.internal and "[hide]" not in step.name]
    left_out = len(shown) - _MAX_STEPS
    if left_out > 0:
        # Failed steps are always shown.
        chosen = sorted(shown, key=lambda step: step.error is None)[:_MAX_STEPS]
        shown = sorted(chosen, key=lambda step: step.position)
    rows = ["| | step | time |", "| --- | --- | ---: |"]
    for step in shown:
        rows.append(
            f"| {_sign(step)} | [`{_cell(step.name)}`]({url}#v{step.row}) | {_time(step)} |"
        )
    if left_out > 0:
        rows.append(f"| | [and {left_out} more]({url}) | |")
    return "\n".join(rows)


def _sign(step: Step) -> str:
    if step.error:
        return "❌"
    if step.cancelled:
        return "⏹️"
    if step.cached:
        return "♻️"
    return "✅" if step.completed_at is not None else "…"


def _time(step: Step) -> str:
    if step.cached:
        return "cached"
    if step.started_at is None or step.completed_at is None:
        return ""
    return format_duration(step.completed_at - step.started_at)


def _code(text: str) -> str:
    """Return text to put between backquotes. Its own become quotes, so that none ends the code."""
    return _short(text, 200).replace("`", "'")


def _head(message: str) -> str:
    """Return the beginning of a message, to leave room for the rest of a summary."""
    data = message.encode(errors="replace")
    if len(data) <= _MESSAGE_BYTES:
        return data.decode()
    return data[:_MESSAGE_BYTES].decode(errors="ignore") + "\n…"


def _cell(text: str) -> str:
    return _code(text).replace("|", "\\|").replace("]", "\\]").replace("[", "\\[")


def _short(text: str, limit: int = 120) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
