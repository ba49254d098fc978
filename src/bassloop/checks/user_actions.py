"""The actions behind the buttons on a check run and on its page: cancel, approve, run again.

GitHub is asked for permission each time: people who can write to the repository may use them, and everybody may use
them for a run of their own. All actions are idempotent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import structlog
import trio

from bassloop import store
from bassloop.access.permissions import WRITE, at_least
from bassloop.checks.check_output import VERIFY, is_verification
from bassloop.checks.check_request import newest_attempts, verifiable_run
from bassloop.checks.conclude import cancel_anywhere
from bassloop.concurrency import shielded
from bassloop.github import GitHubError, User
from bassloop.lifecycle import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.access.permissions import Person
    from bassloop.checks.loop_state import LoopState
    from bassloop.deliveries.inbox import Inbox
    from bassloop.store import CheckRun, Delivery, Run

log = structlog.get_logger(__name__)

RERUNS = UUID("5f1c8b0e-6f0e-5c0a-9d57-0d2a4a3c9b11")
"""The namespace for ids of deliveries that the loop creates to run a check again."""
VERIFICATIONS = UUID("c1f2b7a0-52a3-5b0d-8f0e-7c1d3a9e4b62")
"""The namespace for ids of deliveries that have a trusted runner confirm a run."""


POLICY_SECONDS = 2.0
"""How long a page waits for a repository's policy, in seconds."""


class NotAllowed(Exception):
    """The user may not do this. The message says who may."""


class PermissionUnknown(Exception):
    """GitHub gives no answer at the moment about the user's permission."""


APPROVE_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Control:
    """The actions on pages. Deliveries that an approval lets continue are handled at once."""

    loop: LoopState
    inbox: Inbox

    async def cancel(self, run_id: str, by: Person) -> bool:
        """Cancel a run; return False if it has ended. Raises NotAllowed and PermissionUnknown."""
        try:
            return await cancel_run(self.loop, run_id, by)
        except GitHubError as error:
            raise PermissionUnknown(str(error)) from error

    async def approve(self, run_id: str, by: Person) -> None:
        """Approve a run's head. Raises NotAllowed and PermissionUnknown."""
        try:
            # The person may leave the page, but the deliveries must be queued.
            with shielded(APPROVE_SECONDS):
                self.inbox.queue_approved(await approve_head(self.loop, run_id, by))
                return
        except GitHubError as error:
            raise PermissionUnknown(str(error)) from error
        raise PermissionUnknown(f"GitHub and the database took over {APPROVE_SECONDS:.0f} s")

    async def rerun(self, run_id: str, by: Person) -> bool:
        """Run an ended run's check again, like GitHub's button; return False if somebody has done so before.

        Raises NotAllowed and PermissionUnknown.
        """
        found = await self._ended(run_id)
        if found is None:
            return False
        run, check_run = found
        payload = await self._payload(run, check_run, by, "run this check again", own=run)
        log.info("run again", run=run_id, by=by.login)
        # A run can be repeated once, however often somebody asks.
        return await self._add(uuid5(RERUNS, run_id), payload)

    async def is_any_verifiable(self, *run_ids: str) -> bool:
        """Return whether a trusted runner can confirm one of these runs. False if GitHub doesn't answer in time."""
        with trio.move_on_after(POLICY_SECONDS):
            for run_id in run_ids:
                found = await self._ended(run_id)
                if found is not None and await verifiable_run(self.loop, *found) is not None:
                    return True
        return False

    async def verify(self, run_id: str, by: Person) -> bool:
        """Have a trusted runner confirm a run, like GitHub's button; return False if that isn't possible.

        Raises NotAllowed and PermissionUnknown.
        """
        found = await self._ended(run_id)
        if found is None:
            return False
        run, check_run = found
        payload = await self._payload(run, check_run, by, "have this check verified")
        confirmed = await verifiable_run(self.loop, run, check_run)
        if confirmed is None:
            return False
        pressed = {
            "action": "requested_action",
            "requested_action": {"identifier": VERIFY.identifier},
        }
        log.info("run on a trusted runner", run=run_id, by=by.login)
        # Once, however often somebody asks, and again if no trusted runner came.
        attempts = await newest_attempts(self.loop, run)
        newer = list(takewhile(lambda each: each.id != confirmed.id, attempts))
        if any(each.state != RunState.ACTION_REQUIRED for each in newer):
            return False
        return await self._add(
            uuid5(VERIFICATIONS, f"{confirmed.id} {len(newer)}"), payload | pressed
        )

    async def _ended(self, run_id: str) -> tuple[Run, CheckRun] | None:
        """Return an ended run with its check run on GitHub, or None."""
        store = self.loop.store
        run, check_run = await store.runs.get(run_id), await store.checks.of_run(run_id)
        if run is None or check_run is None or check_run.github_id is None or not run.ended:
            return None
        return run, check_run

    async def _payload(
        self, run: Run, check_run: CheckRun, by: Person, what: str, *, own: Run | None = None
    ) -> dict[str, Any]:
        """Return the payload of GitHub's button to run a check again, pressed by somebody who may do that.

        Raises NotAllowed and PermissionUnknown. The arguments are those of `require_writer`.
        """
        owner, _, name = check_run.repository.partition("/")
        repo = self.loop.github.repository(check_run.installation_id, owner, name)
        assert check_run.github_id is not None
        sender = User(by.id, "", by.login)
        try:
            await require_writer(self.loop, check_run, by, what, own=own)
            return await repo.rerequest_payload(check_run.github_id, run.head_branch, sender)
        except GitHubError as error:
            raise PermissionUnknown(str(error)) from error

    async def _add(self, guid: UUID, payload: dict[str, Any]) -> bool:
        """Have a delivery handled as if GitHub had sent it; return False if it exists already."""
        return await self.inbox.add_fetched(str(guid), "check_run", json.dumps(payload).encode())


async def require_writer(
    loop: LoopState, check_run: CheckRun, by: Person, what: str, *, own: Run | None = None
) -> None:
    """Raise NotAllowed unless a user can write to a check run's repository. Raises GitHubError.

    Args:
        what: the action, for the message.
        own: the run, if its own user may do this as well.
    """
    if own is not None and own.user_id == by.id:
        return
    level = await loop.permissions.fetch_level(by, check_run.repository_id)
    if not at_least(WRITE, level):
        also = f", and {own.login}" if own is not None else ""
        raise NotAllowed(
            f"{by.login} may not {what}: those who can write to {check_run.repository}{also} may"
        )


async def cancel_run(loop: LoopState, run_id: str, by: Person) -> bool:
    """Cancel a run for somebody; return False if it has ended. Its check run says who cancelled it.

    Raises NotAllowed, and GitHubError if GitHub can't say whether they may.
    """
    run, check_run = await loop.store.runs.get(run_id), await loop.store.checks.of_run(run_id)
    if run is None or check_run is None or run.ended:
        return False
    # Nobody may cancel the verification of their own run.
    own = None if is_verification(run.check_name) else run
    await require_writer(loop, check_run, by, "cancel this check", own=own)
    why = f"cancelled by {by.login}"
    log.info("run cancelled", run=run_id, by=by.login)
    await loop.store.journals.append(run, by.login, "cancelled", run.check_name)
    await cancel_anywhere(loop, run, why, end=True)
    return True


async def approve_head(loop: LoopState, run_id: str, by: Person) -> Sequence[Delivery]:
    """Approve a run's head, which is a fork's, and let it run on the approver's runners as well.

    Runs that wait for a runner may use the approver's at once. Deliveries that were held, or found no runner,
    have to be handled again; they are returned for :meth:`Inbox.queue_approved`. Raises NotAllowed and GitHubError.
    """
    run, check_run = await loop.store.runs.get(run_id), await loop.store.checks.of_run(run_id)
    if run is None or check_run is None:
        return ()
    await require_writer(loop, check_run, by, "approve this head")
    user = store.User(by.id, "", by.login)
    deliveries = await loop.store.heads.approve(check_run.repository_id, run.head_sha, user)
    await loop.store.journals.append(run, by.login, "approved", run.head_sha)
    log.info("head approved", head=run.head_sha, by=by.login, released=len(deliveries))
    loop.approve_active(check_run.repository_id, run.head_sha, User(by.id, "", by.login))
    return deliveries
