"""A check's life: recorded, shown on GitHub, carried out on somebody's runner, concluded.

The record comes before the first call to GitHub, so that a crash at any instruction leaves something
to continue from: a check that had not started is started by its delivery's next attempt, one that had
is never started anew in silence (:mod:`bassloop.dispatch.recover` concludes it).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.dispatch import report
from bassloop.dispatch.inbox import MAX_POSTPONED
from bassloop.dispatch.patience import advised, pause
from bassloop.dispatch.recorder import MAX_VERTEXES, Recorder, recording
from bassloop.dispatch.work import Started, Work
from bassloop.github import CheckRunDraft, GitHubError
from bassloop.runtimes import NoRuntime, Platform, RunFailed, Runtime, RuntimeLost
from bassloop.terminal import strip

if TYPE_CHECKING:
    from bassloop.dispatch.loop import Loop
    from bassloop.store import CheckRun, Run, ThunkRecord
    from bassloop.wire import bass_pb2

log = structlog.get_logger(__name__)

LAST_LINES = 60
CLEANUP_SECONDS = 15.0
MAX_REFUSED = 8
"""How often GitHub may refuse a check run's end for a reason that does not pass: for ten minutes."""


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

    Idempotent by (head, name, generation): the same check started again, by the same script or after
    a crash, is the same check. Raises CheckRefused for a name or head that GitHub would not take.
    """
    _validate(work, name, sha)
    if (name, sha) in work.started:
        return work.started[name, sha]
    store = work.loop.store
    await store.put_thunk(record)
    check, new = await store.intend_check(
        repository_id=work.repository.id,
        repository=work.repository.full_name,
        installation_id=work.event.installation_id or 0,
        head_sha=sha,
        name=name,
        delivery=work.delivery,
        rerun=work.rerun,
        run=work.new_run(name, sha, record),
    )
    run = await store.run(check.run_id)
    assert run is not None
    started = work.started.setdefault((name, sha), Started(run))
    if run.state != "queued":
        started.end(run)
    else:
        if not new:
            check = await found_again(work, check)
        work.checks.start_soon(_check, work, started, check, thunk, wanted)
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
    if len(work.started) >= work.loop.limits.checks_per_delivery:
        limit = work.loop.limits.checks_per_delivery
        raise CheckRefused(f"check {name}: one event may start {limit} checks, and has")


async def _check(
    work: Work, started: Started, check: CheckRun, thunk: bass_pb2.Thunk, wanted: Platform | None
) -> None:
    """Carry out one check. Whatever goes wrong is the check's end, and nobody else's."""
    loop, run = work.loop, started.run
    with structlog.contextvars.bound_contextvars(run=run.id, check=check.name):
        over = False
        try:
            run = await _carry_out(work, run, check, thunk, wanted)
            over = True
        except GitHubError as error:
            # GitHub has no check run that could tell it: the delivery is tried again, or set aside.
            log.error("check run not created", error=str(error))
            work.trouble = work.trouble or error
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
                with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await _interrupted(loop, run.id)
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
    loop = work.loop
    runtime = _first(work, wanted)
    check = await _show_patiently(work, run, check, waiting=runtime is None)
    if runtime is None:
        try:
            runtime = await work.runtime(wanted)
        except NoRuntime as error:
            connect = loop.connect(work.owner.login)
            message = f"{error}. Connect one with\n\n    {connect}\n\nand run the check again."
            if work.whose.user is None:
                message = f"{work.whose.why}, so no runner may run it."
            run = await end_run(loop, run.id, "action_required", message)
            said = report.no_runner(run, loop.run_url(run.id), connect, loop.limits.runner_wait)
            await conclude(loop, run, said if work.whose.user is not None else None)
            return run
        await _update(
            work, check, status="in_progress", said=report.started(run, loop.run_url(run.id))
        )
    async with recording(loop.store, loop.tail, run.id) as recorder:
        state, ended = await _run(work, run, runtime, recorder, thunk, wanted)
    if recorder.overflowed:
        ended = (
            f"{ended or ''}\n(more than {MAX_VERTEXES:,} vertexes; the rest is not kept)".strip()
        )
    run = await end_run(loop, run.id, state, ended)
    await conclude(loop, run)
    return run


def _first(work: Work, wanted: Platform | None) -> Runtime | None:
    if work.whose.user is None:
        return None
    return next(iter(work.loop.pool.candidates(work.whose.user.id, wanted)), None)


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
    with trio.CancelScope() as asked, trio.move_on_after(loop.limits.check_seconds) as limit:
        loop.running[run.id] = asked
        try:
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
                    if recorder.vertexes() or not left:
                        return "interrupted", f"{error}; run the check again"
                    runtime = left[0]
        finally:
            del loop.running[run.id]
    if limit.cancelled_caught:
        after = report.duration(loop.limits.check_seconds)
        return "timed_out", f"the check was stopped after {after} (setting CHECK_LIMIT)"
    assert asked.cancelled_caught
    return "cancelled", "the check was cancelled"


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
    )
    loop.tail.publish(run.id)
    log.info("run started", runtime=runtime.id, runner=runtime.login)
    async with runtime.run(thunk, work.metadata(run.id)) as updates:
        async for update in updates:
            await recorder.record(update)


async def _show_patiently(work: Work, run: Run, check: CheckRun, *, waiting: bool) -> CheckRun:
    """Make sure that the check is on GitHub, however long GitHub is down or limits us.

    Raises GitHubError for what does not pass.
    """
    for times in range(MAX_POSTPONED):
        try:
            return await _show(work, run, check, waiting=waiting)
        except GitHubError as error:
            seconds = advised(error)
            if seconds is None:
                raise
            seconds = max(seconds, pause(times))
            log.warning("check run not created yet", error=str(error), seconds=round(seconds))
            work.turn.rest()
            await trio.sleep(seconds)
    return await _show(work, run, check, waiting=waiting)


async def _show(work: Work, run: Run, check: CheckRun, *, waiting: bool) -> CheckRun:
    """Make sure that the check is on GitHub, created now or before a crash."""
    loop = work.loop
    url = loop.run_url(run.id)
    if check.github_id is None:
        if waiting:
            said = report.queued(run, url, loop.connect(work.owner.login))
        else:
            said = report.started(run, url)
        created = await work.repo.create_check_run(
            CheckRunDraft(
                name=check.name,
                head_sha=check.head_sha,
                external_id=run.id,
                details_url=url,
                status="queued" if waiting else "in_progress",
                started_at=time.time(),
                title=said.title,
                summary=said.summary,
                text=said.text,
            )
        )
        await loop.store.bind_check_run(check.row, created.id)
        check = replace(check, github_id=created.id)
        log.info("check run created", github_id=created.id)
    return check


async def _update(work: Work, check: CheckRun, *, status: str, said: report.Report) -> None:
    """Tell GitHub how it goes. A check whose progress can't be told is carried out all the same."""
    assert check.github_id is not None
    try:
        await work.repo.update_check_run(
            check.github_id, status=status, title=said.title, summary=said.summary, text=said.text
        )
    except GitHubError as error:
        log.warning("check run not updated", status=status, error=str(error))


async def end_run(loop: Loop, run_id: str, state: str, message: str | None) -> Run:
    """Store a run's end and tell its followers. Returns the run as it is now."""
    await loop.store.end_run(run_id, state, message, time.time())
    loop.tail.publish(run_id)
    run = await loop.store.run(run_id)
    assert run is not None
    log.info("run ended", run=run_id, state=state)
    return run


async def conclude(loop: Loop, run: Run, said: report.Report | None = None) -> None:
    """Conclude an ended run's check run on GitHub, and remember that it is.

    When GitHub does not take it, that is noted in the store with the time of the next try, and
    :func:`bassloop.dispatch.recover.keep_concluding` goes on, also after a restart.
    """
    check = await loop.store.check_run_of(run.id)
    if check is None or check.state == "concluded" or run.id in loop.concluding:
        return
    conclusion = report.CONCLUSIONS[run.state]
    loop.concluding.add(run.id)
    try:
        await _tell_end(loop, run, check, conclusion, said or await describe(loop, run))
    except GitHubError as error:
        given_up = check.tries >= (MAX_POSTPONED if error.passing else MAX_REFUSED)
        if not given_up:
            seconds = max(advised(error) or 0.0, pause(check.tries, longest=3600.0))
            log.warning(
                "check run not concluded yet",
                run=run.id,
                check=check.name,
                error=str(error),
                seconds=round(seconds),
            )
            await loop.store.postpone_conclusion(check.row, time.time() + seconds)
            loop.late.ring()
            return
        log.error("check run never concluded", run=run.id, check=check.name, error=str(error))
    finally:
        loop.concluding.discard(run.id)
    await loop.store.conclude_check_run(check.row, conclusion)


async def _tell_end(
    loop: Loop, run: Run, check: CheckRun, conclusion: str, said: report.Report
) -> None:
    """Complete a check run; one that GitHub has not is made complete. Raises GitHubError."""
    owner, _, name = check.repository.partition("/")
    repo = loop.github.repository(check.installation_id, owner, name)
    github_id = check.github_id
    if github_id is None:
        found = await repo.find_check_run(check.head_sha, check.name, run.id)
        github_id = None if found is None else found.id
    if github_id is None:
        made = await repo.create_check_run(
            CheckRunDraft(
                name=check.name,
                head_sha=check.head_sha,
                external_id=run.id,
                details_url=loop.run_url(run.id),
                status="completed",
                conclusion=conclusion,
                started_at=run.started_at or run.created_at,
                completed_at=run.ended_at,
                title=said.title,
                summary=said.summary,
                text=said.text,
            )
        )
        await loop.store.bind_check_run(check.row, made.id)
        return
    if check.github_id is None:
        await loop.store.bind_check_run(check.row, github_id)
    await repo.update_check_run(
        github_id,
        status="completed",
        conclusion=conclusion,
        completed_at=run.ended_at,
        title=said.title,
        summary=said.summary,
        text=said.text,
    )


async def describe(loop: Loop, run: Run) -> report.Report:
    """What to say of an ended run, from the store."""
    vertexes = await loop.store.vertexes(run.id)
    failing = report.failing_vertex(vertexes) if run.state == "failed" else None
    lines: list[str] = []
    if failing is not None:
        extent = await loop.store.log_extent(run.id, failing.row)
        failing = replace(failing, lines=extent.lines)
        first = max(extent.lines - LAST_LINES, 0)
        last = await loop.store.log_lines(run.id, failing.row, first, extent.lines)
        lines = [strip(line) for line in last]
    return report.ended(run, vertexes, loop.run_url(run.id), failing, lines)
