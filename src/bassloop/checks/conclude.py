"""End a run: in the store, then on GitHub, then noted in the store as concluded.

GitHub may refuse a conclusion, for a while or permanently. A temporary failure is stored with the time of the next
attempt, which :mod:`bassloop.checks.recovery` makes, even after a restart. The check run's output is rendered from
the store, so it is the same each time, and annotations that GitHub accepted only in part are continued where they
stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks import check_output
from bassloop.checks.check_output import Findings
from bassloop.checks.check_request import verifiable_run
from bassloop.checks.run_comparison import normalize_line
from bassloop.checks.run_failure import failing_step, find_run_failure, unfinished_step
from bassloop.checks.source_links import RepositoryPaths, annotate, files_url, source_urls
from bassloop.deliveries.scheduling import MAX_POSTPONED
from bassloop.failures import find_annotations
from bassloop.github import CheckOutput, CheckRunDraft, GitHubError, Purpose, retry_after, spending
from bassloop.lifecycle import CheckState, RunState
from bassloop.repository_files import CONFIG_FILE
from bassloop.store import RequestKind, StoreError
from bassloop.terminal import strip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.checks.loop_state import LoopState
    from bassloop.failures import LogAnnotation
    from bassloop.runtimes import NoRuntime
    from bassloop.store import CheckRun, Run, Step, Store


log = structlog.get_logger(__name__)

MAX_DELAY = 3600.0
MAX_REFUSED = 8
"""How many permanent refusals of a conclusion it takes to give up: ten minutes' worth."""

LAST_LINES = 60
LOST_LOGS_NAMED = 5
LOST_LOG_NAME = 100
"""How many logs a sentence about lost ones names, and how many characters of a step's name."""
ANNOTATED_LINES = 4_000
ANNOTATED_STEPS = 5
LINES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Ending:
    """A run's final state, the reason, and its check run's output if that isn't the usual one."""

    state: RunState
    message: str | None
    output: CheckOutput | None = None


async def end_run(loop: LoopState, run_id: str, state: RunState, message: str | None) -> Run:
    """Store a run's end, wake its followers, and return the stored run."""
    await loop.store.runs.end(run_id, state, message, time.time())
    loop.live_runs.publish(run_id)
    run = await loop.store.runs.get(run_id)
    assert run is not None
    took = None if run.started_at is None or run.ended_at is None else run.ended_at - run.started_at
    loop.run_tally.add(run.state, took)
    log.info("run ended", run=run_id, state=state)
    if run.state in (RunState.FAILED, RunState.TIMED_OUT):
        await index_errors(loop.store, run)
    return run


async def index_errors(store: Store, run: Run) -> None:
    """Store a run's failures, for searches across runs; nothing if its logs can't be read now."""
    try:
        found = await find_run_failure(store, run, await store.steps.of_run(run.id))
    except OSError as error:
        log.warning("failures not found", run=run.id, error=str(error))
        return
    if found is not None:
        titles = [failure.title for failure in found.failures] or [found.title]
        await store.error_lines.put(run.id, [normalize_line(title) for title in titles])


async def conclude(loop: LoopState, run: Run, output: CheckOutput | None = None) -> None:
    """Conclude an ended run's check run on GitHub, once.

    If GitHub fails, or logs can't be read now, the time of the next attempt is stored, and nothing is raised. Raises
    StoreError.

    Args:
        output: the check run's output, if it isn't the usual one.
    """
    check_run = await loop.store.checks.of_run(run.id)
    if check_run is None or check_run.state == CheckState.CONCLUDED or run.id in loop.concluding:
        return
    conclusion = check_output.CONCLUSIONS[run.state]
    loop.concluding.add(run.id)
    try:
        with spending(Purpose.CONCLUDE, repository=run.repository):
            output = output or await _described(loop, run, check_run)
            output = await _with_verify_button(loop, run, check_run, output)
            await _complete(loop, run, check_run, conclusion, output)
    except (GitHubError, OSError) as error:
        if not await _postpone(loop, run, check_run, error):
            log.error(
                "check run never concluded", run=run.id, check=check_run.name, error=str(error)
            )
            await loop.store.checks.conclude(check_run.row, conclusion)
    else:
        await loop.store.checks.conclude(check_run.row, conclusion)
    finally:
        loop.concluding.discard(run.id)


async def _described(loop: LoopState, run: Run, check_run: CheckRun) -> CheckOutput:
    """Return the output as `describe` does, or a plain one if a bug of the loop prevents that."""
    try:
        return await describe(loop, run, check_run)
    except (GitHubError, OSError, StoreError):
        raise
    except Exception:  # it must not keep the check open
        log.exception("check run not described", run=run.id, check=check_run.name)
        page = f"[the run's page]({loop.run_url(run.id)})"
        summary = f"The loop failed to describe this run, and its own log says why. See {page}."
        return CheckOutput(run.state.replace("_", " ").capitalize(), summary)


async def report_lost_logs(loop: LoopState, run: Run) -> None:
    """Update a concluded check run if the end of one of its run's logs is lost.

    That may become known only later: a node that was lost, or ended while the bucket couldn't be reached, hadn't stored
    all of it. If GitHub fails, only the run's page says it.
    """
    check_run, steps = await loop.store.checks.of_run(run.id), await loop.store.steps.of_run(run.id)
    if not any(step.log_cut for step in steps):
        return
    if check_run is None or check_run.state != CheckState.CONCLUDED or check_run.github_id is None:
        return
    log.warning("log lost", run=run.id, check=run.check_name)
    try:
        with spending(Purpose.CONCLUDE, repository=run.repository):
            output = await describe(loop, run, check_run)
            output = await _with_verify_button(loop, run, check_run, output)
            await _complete(loop, run, check_run, check_output.CONCLUSIONS[run.state], output)
    except (GitHubError, OSError) as error:
        log.error("lost log not reported", run=run.id, check=run.check_name, error=str(error))


async def _with_verify_button(
    loop: LoopState, run: Run, check_run: CheckRun, output: CheckOutput
) -> CheckOutput:
    """Add the button that has a trusted runner verify a run, if one can."""
    if await verifiable_run(loop, run, check_run) is None:
        return output
    return replace(output, actions=(*output.actions, check_output.VERIFY))


async def _postpone(
    loop: LoopState, run: Run, check_run: CheckRun, error: GitHubError | OSError
) -> bool:
    """Store when to try again to conclude a check run. Return False if it was tried often enough."""
    delay = retry_after(error) if isinstance(error, GitHubError) else 0.0
    if check_run.tries >= (MAX_REFUSED if delay is None else MAX_POSTPONED):
        return False
    backoff = replace(loop.backoff, longest=MAX_DELAY)
    seconds = max(delay or 0.0, backoff.delay(check_run.tries + 1))
    log.warning(
        "check run not concluded yet",
        run=run.id,
        check=check_run.name,
        error=str(error),
        seconds=round(seconds),
    )
    await loop.store.checks.postpone(check_run.row, time.time() + seconds)
    loop.conclusion_postponed.set()
    return True


async def _complete(
    loop: LoopState, run: Run, check_run: CheckRun, conclusion: str, output: CheckOutput
) -> None:
    """Complete a check run; create it complete if GitHub doesn't have it. Raises GitHubError."""
    owner, _, name = check_run.repository.partition("/")
    repo = loop.github.repository(check_run.installation_id, owner, name)
    github_id = check_run.github_id
    if github_id is None:
        found = await repo.find_check_run(check_run.head_sha, check_run.name, run.id)
        if found is None:
            created = await repo.create_check_run(
                CheckRunDraft(
                    name=check_run.name,
                    head_sha=check_run.head_sha,
                    external_id=run.id,
                    details_url=loop.run_url(run.id),
                    status="completed",
                    output=output,
                    conclusion=conclusion,
                    started_at=run.started_at or run.created_at,
                    completed_at=run.ended_at,
                )
            )
            await loop.store.checks.bind(check_run.row, created.id)
            return
        github_id = found.id
        await loop.store.checks.bind(check_run.row, github_id)
    await repo.update_check_run(
        github_id, output, status="completed", conclusion=conclusion, completed_at=run.ended_at
    )


async def describe(loop: LoopState, run: Run, check_run: CheckRun) -> CheckOutput:
    """Return the output for an ended run's check run.

    Raises GitHubError if GitHub doesn't answer when asked for the repository's files.
    """
    url = loop.run_url(run.id)
    if run.check_name == check_output.APPROVAL:
        return check_output.approval(run, url)
    if run.check_name == check_output.SUPERSEDED:
        return check_output.superseded(run, url)
    steps = await loop.store.steps.of_run(run.id)
    lost = lost_logs([step for step in steps if loop.store.logs.is_cut(step)])
    findings = Findings()
    if run.state == RunState.FAILED:
        findings = await _find(loop, run, check_run, steps)
    is_hook = not run.thunk_digest
    if is_hook:  # the hook's own message is that of the run
        steps = [step for step in steps if not step.digest.startswith(check_output.HOOK)]
    shown = None
    if run.state == RunState.FAILED:
        shown = failing_step(steps)
    elif run.state == RunState.TIMED_OUT:
        shown = unfinished_step(steps)
    last_lines: list[str] = []
    if shown is not None:
        extent = await loop.store.logs.extent(run.id, shown.row)
        shown = replace(shown, lines=extent.lines)
        last_lines = await _lines(loop, run, shown, extent.lines - LAST_LINES, extent.lines)
    if is_hook:
        output = check_output.hook_ended(run, steps, url, shown, last_lines, findings.annotations)
        return check_output.with_notes(output, lost)
    output = check_output.ended(run, steps, url, shown, last_lines, findings)
    output = check_output.with_artifacts(output, await loop.store.artifacts.of_run(run.id), url)
    thunk = await loop.store.thunks.get(run.thunk_digest)
    return check_output.with_notes(output, [*lost, *check_output.caveats_met(run, thunk)])


def lost_logs(steps: Sequence[Step]) -> list[str]:
    """Return a sentence, in Markdown, about steps whose logs end early, or none if there are no such steps."""
    if not steps:
        return []
    names = [f"“{check_output.escape(step.name[:LOST_LOG_NAME])}”" for step in steps]
    shown = ", ".join(names[:LOST_LOGS_NAMED])
    more = f" and {len(names) - LOST_LOGS_NAMED} more" if len(names) > LOST_LOGS_NAMED else ""
    what = "log of" if len(names) == 1 else "logs of"
    why = "the loop stopped before it was stored, or had no room for it"
    return [f"⚠️ The end of the {what} {shown}{more} is lost: {why}."]


async def _find(loop: LoopState, run: Run, check_run: CheckRun, steps: Sequence[Step]) -> Findings:
    """Return the failures in the logs of failed steps, and the source lines that they name."""
    failure = await find_run_failure(loop.store, run, steps)
    named = failure.failures[: check_output.MAX_FAILURES] if failure is not None else ()
    remarks: list[LogAnnotation] = []
    for step in [step for step in steps if step.error][:ANNOTATED_STEPS]:
        extent = await loop.store.logs.extent(run.id, step.row)
        lines: list[str] = []
        for first in range(max(extent.lines - ANNOTATED_LINES, 0), extent.lines, LINES_AT_ONCE):
            last = min(first + LINES_AT_ONCE, extent.lines)
            lines += await _lines(loop, run, step, first, last)
        of_step = failure is not None and failure.step is not None and failure.step.row == step.row
        failures = failure.failures if failure is not None and of_step else ()
        remarks += await trio.to_thread.run_sync(find_annotations, lines, failures)
    locations = [each for failure in named for each in failure.locations]
    if not remarks and not locations:
        return Findings(failure)
    owner, _, name = check_run.repository.partition("/")
    repo = loop.github.repository(check_run.installation_id, owner, name)
    try:
        known = await repo.paths(check_run.head_sha)
    except GitHubError as error:
        if retry_after(error) is not None:
            raise
        log.warning("repository's files not known", run=run.id, error=str(error))
        known = None
    paths = await trio.to_thread.run_sync(RepositoryPaths, known)
    links = {}
    if known is not None:
        base = files_url(loop.github_url, check_run.repository, check_run.head_sha)
        links = source_urls(paths, base, locations)
    return Findings(failure, links, await trio.to_thread.run_sync(annotate, remarks, paths))


async def _lines(loop: LoopState, run: Run, step: Step, first: int, last: int) -> list[str]:
    lines = await loop.store.logs.lines(run.id, step.row, max(first, 0), last)
    return [strip(line) for line in lines]


async def cancel_anywhere(loop: LoopState, run: Run, why: str, *, end: bool) -> bool:
    """Cancel a run that hasn't ended, or ask the node that has it to do so. May raise StoreError.

    Return whether a task has the run, which then ends as cancelled. A node that is asked is assumed to do that.

    Args:
        end: whether to end a run that no task has. Its delivery waits for another attempt, which will find it
        ended.
    """
    if run.node != loop.store.nodes.own_id:
        body = {"run": run.id, "why": why, "end": "yes" if end else ""}
        await loop.store.requests.send(run.node, RequestKind.CANCEL, body)
        return True
    is_cancelled = loop.cancel(run.id, why)
    if end and not is_cancelled:
        await conclude(loop, await end_run(loop, run.id, RunState.CANCELLED, why))
    return is_cancelled


def awaited_runner(context: DeliveryContext, *, trusted: bool) -> check_output.AwaitedRunner:
    """Return the runners that a check waits for."""
    choice = context.choice
    users = context.trusted if trusted else choice.users
    logins = tuple(user.login for user in users)
    connect = context.loop.connect(logins[0]) if logins else ""
    return check_output.AwaitedRunner(logins, connect, choice.fork and choice.approver is None)


def ending_without_runner(
    context: DeliveryContext, run: Run, error: NoRuntime, lost: str | None, *, trusted: bool
) -> Ending:
    """Return the ending of a check that found no runner.

    Args:
        lost: why the last runner that was tried was lost.
    """
    awaited = awaited_runner(context, trusted=trusted)
    if trusted:
        message = f"no trusted runner has run this: {error}"
        if awaited.approvable:
            message += (
                f". It is a fork's head, which a trusted runner runs once somebody who can write to "
                f"{context.repository.full_name} has approved it"
            )
    elif awaited.logins:
        message = f"{error}. Connect one with\n\n    {awaited.connect}\n\nand run the check again."
    else:
        message = (
            f"{error}. Whoever can write to {context.repository.full_name} can lend a runner: name "
            f"them in {CONFIG_FILE} on {context.repository.default_branch},\n\n"
            '    fallback = ["LOGIN"]\n\nand run the check again.'
        )
    if not awaited.logins:
        return Ending(RunState.ACTION_REQUIRED, message)
    url, waited = context.loop.run_url(run.id), context.policy.runner_wait
    output = check_output.no_runner(run, url, awaited, waited, lost)
    return Ending(RunState.ACTION_REQUIRED, message, output)
