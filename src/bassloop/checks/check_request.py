"""A check that is asked for, and whether it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.access.policy import PolicyError
from bassloop.checks import check_output
from bassloop.github import GitHubError
from bassloop.lifecycle import RunState
from bassloop.wire.conventions import USES_LABEL, label_texts

if TYPE_CHECKING:
    from bassloop.checks.loop import Loop
    from bassloop.runtimes import Platform
    from bassloop.store import CheckRun, Run, ThunkRecord
    from bassloop.wire import bass_pb2


class CheckRefused(Exception):
    """A hook asked for a check that can't be; the message says why."""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A check that a hook asks for.

    Args:
        record: the thunk as the store keeps it.
        platform: what the thunk has to run on; None for any.
        after: names of checks of the same head, started before, that must have succeeded first.
        limit: seconds that it may run, if that is less than the policy's; None for the policy's.
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
        """The names of checks of the same head whose artifacts the thunk is given."""
        return tuple(dict.fromkeys(label_texts(self.thunk, USES_LABEL)))


async def is_verifiable(loop: Loop, run: Run, check_run: CheckRun) -> bool:
    """Return whether a trusted runner can run an ended run's thunk to confirm its outcome.

    False if GitHub can't say what the repository's policy is.
    """
    if run.state not in (RunState.SUCCEEDED, RunState.FAILED) or run.runner_login is None:
        return False
    if not run.thunk_digest or check_output.is_verification(run.check_name):
        return False
    owner, _, name = check_run.repository.partition("/")
    repo = loop.github.repository(check_run.installation_id, owner, name)
    try:
        policy = await loop.policies.policy_of(check_run.repository_id, check_run.repository, repo)
    except (GitHubError, PolicyError):
        return False
    return bool(policy.trust.runners) and policy.trust.runners_of(run.check_name) == "sender"
