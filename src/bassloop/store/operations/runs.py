"""Runs, and the thunks that they run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bassloop.store import runs
from bassloop.store.operations.operations import Operations, bounded

if TYPE_CHECKING:
    from collections.abc import Collection

    from bassloop.lifecycle import RunState
    from bassloop.store.model import Page, Run, ThunkRecord

CHECKS_AMONG = 5_000
"""Runs of a repository among which the newest of each check is looked for."""


class RunOperations(Operations):
    async def put_thunk(self, thunk: ThunkRecord) -> bool:
        """Keep a thunk. The first of a digest stays: False says that a *different* thunk (by
        SHA-256) has this digest already, for a digest is a name and no proof."""
        return await self._writer.write(lambda db: runs.put_thunk(db, thunk))

    async def thunk(self, digest: str) -> ThunkRecord | None:
        return await self._readers.read(lambda db: runs.thunk(db, digest))

    async def thunk_runs(
        self, digest: str, limit: int = 50, *, public_only: bool = True
    ) -> list[Run]:
        """The newest runs of a thunk, newest first."""
        page = await self.runs(limit, public_only=public_only, thunk_digest=digest)
        return list(page.items)

    async def start_run(
        self,
        run_id: str,
        runtime_id: str,
        runner_login: str,
        platform: str,
        at: float,
        runner_kind: str | None = None,
    ) -> bool:
        """The run is `running` on this runtime since `at`. False if it has ended. NotStored if
        unknown."""
        return await self._writer.write(
            lambda db: runs.start_run(
                db, run_id, runtime_id, runner_login, platform, at, runner_kind
            )
        )

    async def end_run(self, run_id: str, state: RunState, message: str | None, at: float) -> bool:
        """The run ended in one of `RUN_FINAL`. False if it had ended before: then it stays
        as it was. NotStored if unknown."""
        return await self._writer.write(lambda db: runs.end_run(db, run_id, state, message, at))

    async def run(self, run_id: str) -> Run | None:
        return await self._readers.read(lambda db: runs.run(db, run_id))

    async def unfinished_runs(self) -> list[Run]:
        """All that are queued or running, oldest first."""
        return await self._readers.read(runs.unfinished_runs)

    async def runs(
        self,
        limit: int = 50,
        before: str | None = None,
        *,
        public_only: bool = True,
        readable: Collection[int] = (),
        repository: str | None = None,
        login: str | None = None,
        head_sha: str | None = None,
        head_branch: str | None = None,
        pull_request: int | None = None,
        check_name: str | None = None,
        delivery: str | None = None,
        state: str | None = None,
        states: Collection[str] | None = None,
        pushed: bool | None = None,
        thunk_digest: str | None = None,
    ) -> Page[Run]:
        """Runs, newest first, narrowed by what is not None; repository and login regardless of
        case. `before` is the `next` of an earlier page. `pushed` says whether they are of a branch
        (True) or of a pull request. Runs of private repositories only of those that are `readable`
        (their ids), or of all if `public_only` is False."""
        given = {
            "repository": repository,
            "login": login,
            "head_sha": head_sha,
            "head_branch": head_branch,
            "pull_request": pull_request,
            "check_name": check_name,
            "delivery": delivery,
            "state": state,
            "states": None if states is None else json.dumps(sorted(states)),
            "pushed": pushed,
            "thunk_digest": thunk_digest,
        }
        narrowed = {name: value for name, value in given.items() if value is not None}
        count = bounded(limit)
        return await self._readers.read(
            lambda db: runs.runs(db, count, before, readable if public_only else None, narrowed)
        )

    async def checks(
        self,
        repository: str,
        *,
        public_only: bool = True,
        readable: Collection[int] = (),
        head_sha: str | None = None,
        head_branch: str | None = None,
        pull_request: int | None = None,
        pushed: bool | None = None,
        check_name: str | None = None,
    ) -> list[Run]:
        """The newest run of each check of a repository, by the checks' names, narrowed as `runs`
        is. Only its newest 5,000 runs are looked at, so that a long history costs no more."""
        given = {
            "repository": repository,
            "head_sha": head_sha,
            "head_branch": head_branch,
            "pull_request": pull_request,
            "pushed": pushed,
            "check_name": check_name,
        }
        narrowed = {name: value for name, value in given.items() if value is not None}
        return await self._readers.read(
            lambda db: runs.checks(db, CHECKS_AMONG, readable if public_only else None, narrowed)
        )
