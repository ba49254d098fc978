"""A run's end: in the store, then on GitHub, then in the store that GitHub knows.

GitHub may not take it, for a while or for good. What passes is noted with the time of the next try,
so that :mod:`bassloop.checks.recovery` goes on, also after a restart.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from bassloop.checks import check_output
from bassloop.checks.describe import describe
from bassloop.deliveries.inbox import MAX_POSTPONED
from bassloop.github import CheckOutput, CheckRunDraft, GitHubError, retry_after

if TYPE_CHECKING:
    from bassloop.checks.loop import Loop
    from bassloop.store import CheckRun, Run

log = structlog.get_logger(__name__)

LONGEST_DELAY = 3600.0
MAX_REFUSED = 8
"""How often GitHub may refuse a check run's end for a reason that does not pass: for ten minutes."""


async def end_run(loop: Loop, run_id: str, state: str, message: str | None) -> Run:
    """Store a run's end and tell its followers. Returns the run as it is now."""
    await loop.store.end_run(run_id, state, message, time.time())
    loop.tail.publish(run_id)
    run = await loop.store.run(run_id)
    assert run is not None
    ran = None if run.started_at is None or run.ended_at is None else run.ended_at - run.started_at
    loop.runs.add(run.state, ran)
    log.info("run ended", run=run_id, state=state)
    return run


async def conclude(loop: Loop, run: Run, said: CheckOutput | None = None) -> None:
    """Conclude an ended run's check run on GitHub, and remember that it is.

    When GitHub does not take it, that is noted in the store with the time of the next try, and
    :func:`bassloop.checks.recovery.keep_concluding` goes on, also after a restart.
    """
    check = await loop.store.check_run_of(run.id)
    if check is None or check.state == "concluded" or run.id in loop.concluding:
        return
    conclusion = check_output.CONCLUSIONS[run.state]
    loop.concluding.add(run.id)
    try:
        await _tell_end(loop, run, check, conclusion, said or await describe(loop, run, check))
    except GitHubError as error:
        given_up = check.tries >= (MAX_POSTPONED if error.passing else MAX_REFUSED)
        if not given_up:
            backoff = replace(loop.backoff, longest=LONGEST_DELAY)
            seconds = max(retry_after(error) or 0.0, backoff.delay(check.tries + 1))
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
    loop: Loop, run: Run, check: CheckRun, conclusion: str, said: CheckOutput
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
                output=said,
            )
        )
        await loop.store.bind_check_run(check.row, made.id)
        return
    if check.github_id is None:
        await loop.store.bind_check_run(check.row, github_id)
    await repo.update_check_run(
        github_id,
        said,
        status="completed",
        conclusion=conclusion,
        completed_at=run.ended_at,
    )
