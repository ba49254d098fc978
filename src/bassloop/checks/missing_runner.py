"""What a check says that waits for a runner, and how it ends if none comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.access.policy import OWNERS_FILE
from bassloop.checks import check_output
from bassloop.checks.conclude import Ending
from bassloop.lifecycle import RunState

if TYPE_CHECKING:
    from bassloop.checks.context import DeliveryContext
    from bassloop.runtimes import NoRuntime
    from bassloop.store import Run


def awaited_runner(context: DeliveryContext, *, trusted: bool) -> check_output.AwaitedRunner:
    """Return whose runner a check waits for."""
    choice = context.choice
    users = context.trusted if trusted else choice.users
    logins = tuple(user.login for user in users)
    connect = context.loop.connect(logins[0]) if logins else ""
    return check_output.AwaitedRunner(logins, connect, choice.fork and choice.approver is None)


def ending_without_runner(
    context: DeliveryContext, run: Run, error: NoRuntime, lost: str | None, *, trusted: bool
) -> Ending:
    """Return the ending of a check that no runner may run, or did.

    Args:
        lost: why the last runner that was asked was lost.
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
            f"them in {OWNERS_FILE} on {context.repository.default_branch},\n\n"
            '    fallback = ["LOGIN"]\n\nand run the check again.'
        )
    if not awaited.logins:
        return Ending(RunState.ACTION_REQUIRED, message)
    url, waited = context.loop.run_url(run.id), context.policy.runner_wait
    output = check_output.no_runner(run, url, awaited, waited, lost)
    return Ending(RunState.ACTION_REQUIRED, message, output)
