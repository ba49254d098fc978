"""What people ask for by a button on a check, or on its page: cancel, approve, run again.

Who may is asked of GitHub each time: whoever can write to the repository, and for a run of one's own
also whose it is. What is asked twice is done once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from bassloop import store
from bassloop.access.permissions import WRITE, at_least
from bassloop.checks.conclude import conclude, end_run
from bassloop.github import GitHubError, User

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.access.permissions import Person
    from bassloop.checks.loop import Loop
    from bassloop.deliveries.inbox import Inbox
    from bassloop.store import CheckRun, Delivery, Run

log = structlog.get_logger(__name__)


class NotAllowed(Exception):
    """Somebody asked for what they may not do; the message says who may."""


class CantSay(Exception):
    """GitHub can't say at this moment whether somebody may do what they asked for."""


@dataclass(frozen=True, eq=False)
class Control:
    """The same for people on pages, where what follows is begun at once."""

    loop: Loop
    inbox: Inbox

    async def cancel(self, run_id: str, by: Person) -> bool:
        """Cancel a run; whether there was something to cancel. Raises NotAllowed and CantSay."""
        try:
            return await request_cancel(self.loop, run_id, by)
        except GitHubError as error:
            raise CantSay(str(error)) from error

    async def approve(self, run_id: str, by: Person) -> None:
        """Approve a run's head. Raises NotAllowed and CantSay."""
        try:
            self.inbox.resume(await approve(self.loop, run_id, by))
        except GitHubError as error:
            raise CantSay(str(error)) from error


async def may_write(loop: Loop, check: CheckRun, by: Person) -> bool:
    """Whether a user can write to a check's repository, as GitHub says now. Raises GitHubError."""
    return at_least(WRITE, await loop.permissions.fetch_level(by, check.repository_id))


async def allow(
    loop: Loop, check: CheckRun, by: Person, what: str, *, own: Run | None = None
) -> None:
    """Return if a user may do something to a check's run. Raises NotAllowed and GitHubError.

    Args:
        own: the run, where whose it is may do it too.
    """
    if own is not None and own.user_id == by.id:
        return
    if not await may_write(loop, check, by):
        also = f", and {own.login}" if own is not None else ""
        raise NotAllowed(
            f"{by.login} may not {what}: those who can write to {check.repository}{also} may"
        )


async def request_cancel(loop: Loop, run_id: str, by: Person) -> bool:
    """Cancel a run for somebody; whether there was something to cancel.

    The run's own user may, and who can write to the repository. Its check says by whom. Raises
    NotAllowed, and GitHubError when GitHub can't say whether they may.
    """
    run, check = await loop.store.run(run_id), await loop.store.check_run_of(run_id)
    if run is None or check is None or run.ended:
        return False
    await allow(loop, check, by, "cancel this check", own=run)
    why = f"cancelled by {by.login}"
    log.info("run cancelled", run=run_id, by=by.login)
    if not loop.cancel(run_id, why):
        # Nobody is at it: its delivery waits for another attempt, which will find the run over.
        await conclude(loop, await end_run(loop, run_id, "cancelled", why))
    return True


async def approve(loop: Loop, run_id: str, by: Person) -> Sequence[Delivery]:
    """Let a run's head, a fork's, run on the approver's runners too. Returns the deliveries that are to
    be handled now, for :meth:`Inbox.resume`.

    Who can write to the repository may. What waits for a runner may use the approver's at once; what
    was held, or found no runner, is handled anew. Raises NotAllowed and GitHubError.
    """
    run, check = await loop.store.run(run_id), await loop.store.check_run_of(run_id)
    if run is None or check is None:
        return ()
    await allow(loop, check, by, "approve this head")
    user = store.User(by.id, "", by.login)
    released = await loop.store.approve(check.repository_id, run.head_sha, user)
    log.info("head approved", head=run.head_sha, by=by.login, released=len(released))
    for work in loop.at_work:
        if (work.repository.id, work.head.sha) == (check.repository_id, run.head_sha):
            work.choice = work.choice.approved(User(by.id, "", by.login))
    loop.pool.notify()
    return released
