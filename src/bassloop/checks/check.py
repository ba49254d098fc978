"""A check's life: recorded, shown on GitHub, carried out on somebody's runner, concluded.

The record comes before the first call to GitHub, so that a crash at any instruction leaves something
to continue from: a check that had not started is started by its delivery's next attempt, one that had
is never started anew in silence (:mod:`bassloop.checks.recovery` concludes it).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.access.policy import OWNERS_FILE
from bassloop.checks import check_output
from bassloop.checks.conclude import conclude, end_run
from bassloop.checks.context import Started, Work
from bassloop.checks.recorder import MAX_VERTEXES, Recorder, recording
from bassloop.checks.supersede import superseded
from bassloop.concurrency import retry, shielded
from bassloop.deliveries.inbox import MAX_POSTPONED
from bassloop.github import CheckOutput, CheckRunDraft, GitHubError, retry_after
from bassloop.runtimes import NoRuntime, Platform, RunFailed, Runtime, RuntimeLost
from bassloop.telemetry.spans import span
from bassloop.units import format_duration

if TYPE_CHECKING:
    from bassloop.checks.loop import Loop
    from bassloop.store import CheckRun, Run, ThunkRecord
    from bassloop.wire import bass_pb2

log = structlog.get_logger(__name__)

CLEANUP_SECONDS = 15.0
MOST_TRIED = 3
"""How many runtimes a check is handed to, at most: a machine that is too busy to answer for one of its
runtimes is not helped by being asked through each of the others."""


class CheckRefused(Exception):
    """A script started a check that can't be: the message says why."""


async def start_check(
    work: Work,
    thunk: bass_pb2.Thunk,
    record: ThunkRecord,
    name: str,
    sha: str,
    wanted: Platform | None,
) -> Started:
    """Record a check and start carrying it out in the delivery's nursery.

    Idempotent by (head, name, generation): the same check started again, by the same script, for
    another event of the head, or after a crash, is the same check, and is carried out by whoever
    started it first. Raises CheckRefused for a name or head that GitHub would not take.
    """
    _validate(work, name, sha)
    if (name, sha) in work.started:
        return work.started[name, sha]
    store = work.loop.store
    check, new = await store.intend_check(
        repository_id=work.repository.id,
        repository=work.repository.full_name,
        installation_id=work.event.installation_id or 0,
        head_sha=sha,
        name=name,
        delivery=work.delivery,
        rerun=work.rerun,
        run=work.new_run(name, sha, record),
        thunk=record,
    )
    run = await store.run(check.run_id)
    assert run is not None
    if (under_way := work.loop.under_way.get(run.id)) is not None:
        return work.started.setdefault((name, sha), under_way)
    started = work.started.setdefault((name, sha), Started(run))
    if run.state != "queued":
        started.end(run)
    else:
        work.loop.under_way[run.id] = started
        work.checks.start_soon(_check, work, started, check, new, thunk, wanted)
    return started


async def found_again(work: Work, check: CheckRun) -> CheckRun:
    """A check that was intended before: GitHub may have made it, and a crash come before we knew."""
    if check.github_id is None:
        made = await work.repo.find_check_run(check.head_sha, check.name, check.run_id)
        if made is not None:
            await work.loop.store.bind_check_run(check.row, made.id)
            check = replace(check, github_id=made.id)
    return check


def _validate(work: Work, name: str, sha: str) -> None:
    if not name.strip() or len(name) > 255 or not name.isprintable():
        raise CheckRefused(f"a check's name is 1 to 255 printable characters, not {name[:40]!r}")
    if len(sha) != 40 or not all(char in "0123456789abcdef" for char in sha):
        raise CheckRefused(
            f"check {name}: a head is a commit's 40 hexadecimal digits, not {sha[:60]!r}"
        )
    if name == check_output.APPROVAL:
        raise CheckRefused(f"a check can't be named {name}: that is the loop's own")
    if work.choice.fork and sha != work.head.sha:
        raise CheckRefused(
            f"check {name}: a fork's event starts checks of its own head, {work.head.sha[:12]}, and "
            f"not of {sha[:12]}"
        )
    if len(work.started) >= work.loop.limits.checks_per_delivery:
        limit = work.loop.limits.checks_per_delivery
        raise CheckRefused(f"check {name}: one event may start {limit} checks, and has")


async def _check(
    work: Work,
    started: Started,
    check: CheckRun,
    new: bool,
    thunk: bass_pb2.Thunk,
    wanted: Platform | None,
) -> None:
    """Carry out one check. Whatever goes wrong is the check's end, and nobody else's."""
    loop, run = work.loop, started.run
    with (
        structlog.contextvars.bound_contextvars(run=run.id, check=check.name),
        span("check", check=check.name, run=run.id) as its,
    ):
        over = False
        try:
            if not new:
                check = await found_again(work, check)
            run = await _carry_out(work, run, check, thunk, wanted)
            over = True
        except GitHubError as error:
            # GitHub has no check run that could tell it: the delivery is tried again, or set aside.
            log.error("check run not created", error=str(error))
            work.trouble = work.trouble or error
            started.trouble = error
            over = True
        except Exception as error:
            log.exception("check crashed")
            run = await end_run(
                loop, run.id, "failed", f"the loop could not run this check: {error}"
            )
            await conclude(loop, run)
            over = True
        finally:
            if not over:  # cancelled: the daemon is going down
                with shielded(CLEANUP_SECONDS):
                    await _interrupted(loop, run.id)
            its.set_attribute("outcome", run.state)
            del loop.under_way[run.id]
            started.end(run)


async def _interrupted(loop: Loop, run_id: str) -> None:
    """The daemon is going down under a check: say so if it had started; else its delivery resumes it."""
    run = await loop.store.run(run_id)
    if run is not None and run.state == "running":
        message = "the loop was shut down while this check ran; run it again"
        await conclude(loop, await end_run(loop, run_id, "interrupted", message))


async def _carry_out(
    work: Work, run: Run, check: CheckRun, thunk: bass_pb2.Thunk, wanted: Platform | None
) -> Run:
    """Show the check, find it a runtime, run it, end it. Returns the run as it ended."""
    loop = work.loop
    end = _End("cancelled", "")
    with loop.cancellable(run.id) as asked:
        if (why := await superseded(work)) is not None:
            loop.cancel(run.id, why)
        end = await _until_over(work, run, check, thunk, wanted)
    if asked.cancelled:
        end = _End("cancelled", asked.why)
    run = await end_run(loop, run.id, end.state, end.message)
    await conclude(loop, run, end.said)
    return run


@dataclass(frozen=True, slots=True)
class _End:
    """A run's final state and why, and what its check says where that is not what always is said."""

    state: str
    message: str | None
    said: CheckOutput | None = None


async def _until_over(
    work: Work, run: Run, check: CheckRun, thunk: bass_pb2.Thunk, wanted: Platform | None
) -> _End:
    loop = work.loop
    runtime = work.runtime_now(wanted)
    check = await _show_patiently(work, run, check, runtime)
    if runtime is None:
        try:
            runtime = await work.runtime(wanted)
        except NoRuntime as error:
            return _nobody(work, run, error)
        said = check_output.started(run, loop.run_url(run.id), runtime)
        await _update(work, check, status="in_progress", said=said)
    async with recording(loop.store, loop.tail, run.id) as recorder:
        state, message = await _run(work, run, runtime, recorder, thunk, wanted)
    if recorder.overflowed:
        message = (
            f"{message or ''}\n(more than {MAX_VERTEXES:,} vertexes; the rest is not kept)".strip()
        )
    return _End(state, message)


def _nobody(work: Work, run: Run, error: NoRuntime) -> _End:
    """How a check ends that nobody's runner may run, or did."""
    loop = work.loop
    if not work.choice.users:
        message = (
            f"{error}. Who can write to {work.repository.full_name} can lend a runner: name them in "
            f"{OWNERS_FILE} on {work.repository.default_branch},\n\n"
            '    fallback = ["LOGIN"]\n\nand run the check again.'
        )
        return _End("action_required", message)
    connect = loop.connect(work.choice.users[0].login)
    message = f"{error}. Connect one with\n\n    {connect}\n\nand run the check again."
    said = check_output.no_runner(
        run, loop.run_url(run.id), _awaited(work), work.policy.runner_wait
    )
    return _End("action_required", message, said)


def _awaited(work: Work) -> check_output.Awaited:
    """Whose runners a check waits for."""
    logins = tuple(user.login for user in work.choice.users)
    connect = work.loop.connect(logins[0]) if logins else ""
    return check_output.Awaited(logins, connect, work.choice.fork and work.choice.approver is None)


async def _run(
    work: Work,
    run: Run,
    runtime: Runtime,
    recorder: Recorder,
    thunk: bass_pb2.Thunk,
    wanted: Platform | None,
) -> tuple[str, str | None]:
    """Run the thunk on a runtime, on another of the same user's if it is lost before it began.

    Returns the run's final state and what to say of it.
    """
    loop = work.loop
    tried: set[str] = set()
    limit = work.policy.limit(run.check_name)
    with trio.move_on_after(limit):
        while True:
            tried.add(runtime.id)
            try:
                await _on(work, run, runtime, recorder, thunk)
                return "succeeded", None
            except RunFailed as error:
                return "failed", str(error)
            except RuntimeLost as error:
                others = loop.pool.candidates(runtime.user_id, wanted)
                left = [other for other in others if other.id not in tried]
                if recorder.vertexes() or not left or len(tried) >= MOST_TRIED:
                    return "interrupted", f"{error}; run the check again"
                runtime = left[0]
    after = format_duration(limit)
    return "timed_out", f"the check was stopped after {after}, its limit (check_limit, CHECK_LIMIT)"


async def _on(
    work: Work, run: Run, runtime: Runtime, recorder: Recorder, thunk: bass_pb2.Thunk
) -> None:
    loop = work.loop
    await loop.store.start_run(
        run.id,
        runtime_id=runtime.id,
        runner_login=runtime.login,
        platform=str(runtime.platform),
        at=time.time(),
        runner_kind=runtime.kind,
    )
    loop.tail.publish(run.id)
    with structlog.contextvars.bound_contextvars(runtime=runtime.id, runner=runtime.login):
        log.info("run started")
        async with work.calling(runtime, run.id) as told, runtime.run(thunk, told) as updates:
            async for update in updates:
                await recorder.record(update)


async def _show_patiently(
    work: Work, run: Run, check: CheckRun, runtime: Runtime | None
) -> CheckRun:
    """Make sure that the check is on GitHub, however long GitHub is down or limits us.

    Raises GitHubError for what does not pass.
    """

    def wait(error: Exception, seconds: float) -> None:
        log.warning("check run not created yet", error=str(error), seconds=round(seconds))
        work.slot.release_capacity()

    return await retry(
        partial(_show, work, run, check, runtime),
        work.loop.backoff,
        retry_after=retry_after,
        attempts=MAX_POSTPONED + 1,
        on_retry=wait,
    )


async def _show(work: Work, run: Run, check: CheckRun, runtime: Runtime | None) -> CheckRun:
    """Make sure that the check is on GitHub, created now or before a crash.

    Args:
        runtime: the one that it runs on; None while it waits for one.
    """
    loop = work.loop
    url = loop.run_url(run.id)
    if check.github_id is None:
        if runtime is None:
            said = check_output.queued(run, url, _awaited(work))
        else:
            said = check_output.started(run, url, runtime)
        created = await work.repo.create_check_run(
            CheckRunDraft(
                name=check.name,
                head_sha=check.head_sha,
                external_id=run.id,
                details_url=url,
                status="queued" if runtime is None else "in_progress",
                started_at=time.time(),
                output=said,
            )
        )
        await loop.store.bind_check_run(check.row, created.id)
        check = replace(check, github_id=created.id)
        log.info("check run created", github_id=created.id)
    return check


async def _update(work: Work, check: CheckRun, *, status: str, said: CheckOutput) -> None:
    """Tell GitHub how it goes. A check whose progress can't be told is carried out all the same."""
    assert check.github_id is not None
    try:
        await work.repo.update_check_run(check.github_id, said, status=status)
    except GitHubError as error:
        log.warning("check run not updated", status=status, error=str(error))
