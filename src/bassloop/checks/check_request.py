"""A check that is asked for, and whether it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.access.policy import PolicyError
from bassloop.checks import check_output
from bassloop.github import GitHubError
from bassloop.lifecycle import RunState

if TYPE_CHECKING:
    from bassloop.checks.context import DeliveryContext
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


def validate_request(context: DeliveryContext, request: CheckRequest) -> None:
    """Raise CheckRefused for a name or a head that GitHub would not accept, or that is not the hook's to use."""
    name, sha = request.name, request.sha
    if not name.strip() or len(name) > 255 or not name.isprintable():
        raise CheckRefused(f"a check's name is 1 to 255 printable characters, not {name[:40]!r}")
    if len(sha) != 40 or not all(char in "0123456789abcdef" for char in sha):
        raise CheckRefused(
            f"check {name}: a head is a commit's 40 hexadecimal digits, not {sha[:60]!r}"
        )
    if name in (check_output.APPROVAL, check_output.SUPERSEDED):
        raise CheckRefused(f"a check can't be named {name}: that name is the loop's own")
    if check_output.is_verification(name):
        raise CheckRefused(
            f"a check's name can't end in {check_output.VERIFICATION}: such names are the loop's own"
        )
    if context.choice.fork and sha != context.head.sha:
        raise CheckRefused(
            f"check {name}: a fork's event can start checks of its own head only, "
            f"{context.head.sha[:12]}, not of {sha[:12]}"
        )
    limit = context.loop.checks_per_delivery
    if len(context.started) >= limit:
        raise CheckRefused(f"check {name}: one event can start {limit} checks, and has done so")


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
