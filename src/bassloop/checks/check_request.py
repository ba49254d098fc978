"""Requests for checks, and which runs a trusted runner can confirm."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import dropwhile
from typing import TYPE_CHECKING

from bassloop.access.policy import PolicyError
from bassloop.checks import check_output
from bassloop.github import GitHubError
from bassloop.lifecycle import RunState
from bassloop.wire.conventions import USES_LABEL, label_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.checks.loop_state import LoopState
    from bassloop.runtimes import Platform
    from bassloop.store import CheckRun, Run, ThunkRecord
    from bassloop.wire import bass_pb2


class CheckRefused(Exception):
    """A hook asked for a check that can't be started. The message says why."""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A hook's request for a check, before anything is stored.

    Args:
        sha: the commit that the check is for.
        record: the thunk as it's stored.
        platform: what the thunk has to run on; None for any.
        after: names of checks of the same head, started before, that must have succeeded first.
        limit: the time limit in seconds, if it's shorter than the policy's; None for the policy's.
    """

    name: str
    sha: str
    thunk: bass_pb2.Thunk
    record: ThunkRecord
    platform: Platform | None
    after: tuple[str, ...] = ()
    limit: float | None = None

    @property
    def uses(self) -> tuple[str, ...]:
        """The names of checks of the same head whose artifacts the thunk uses."""
        return tuple(dict.fromkeys(label_texts(self.thunk, USES_LABEL)))


MAX_ATTEMPTS = 20
"""How many of the newest runs of a check and head to search for one that a trusted runner can confirm."""


async def verifiable_run(loop: LoopState, run: Run, check_run: CheckRun) -> Run | None:
    """Return the run whose outcome a trusted runner can confirm by running an ended run's thunk, or None.

    It is the run itself or, if no runner came for it, the newest earlier run of the same thunk with an outcome.
    None if the repository's policy can't be read.
    """
    if not run.thunk_digest or check_output.is_verification(run.check_name):
        return None
    if run.state == RunState.ACTION_REQUIRED:
        confirmed = await _earlier_outcome(loop, run)
    else:
        confirmed = run if _has_outcome(run) else None
    if confirmed is None:
        return None
    owner, _, name = check_run.repository.partition("/")
    repo = loop.github.repository(check_run.installation_id, owner, name)
    try:
        policy = await loop.policies.policy_of(check_run.repository_id, check_run.repository, repo)
    except (GitHubError, PolicyError):
        return None
    allowed = bool(policy.trust.runners) and policy.trust.runners_of(run.check_name) == "sender"
    return confirmed if allowed else None


def _has_outcome(run: Run) -> bool:
    return run.state in (RunState.SUCCEEDED, RunState.FAILED) and run.runner_login is not None


async def newest_attempts(loop: LoopState, run: Run) -> Sequence[Run]:
    """Return the newest runs of a run's check and head, newest first."""
    found = await loop.store.runs.newest(
        MAX_ATTEMPTS,
        public_only=False,
        repository=run.repository,
        head_sha=run.head_sha,
        check_name=run.check_name,
    )
    return found.items


async def _earlier_outcome(loop: LoopState, run: Run) -> Run | None:
    """Return the newest run before this one, of the same thunk, that has an outcome."""
    earlier = dropwhile(lambda each: each.id != run.id, await newest_attempts(loop, run))
    same = (each for each in earlier if each.thunk_digest == run.thunk_digest)
    return next((each for each in same if _has_outcome(each)), None)
