"""Check runs: what GitHub was told, or is about to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store import runs
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from bassloop.store.model import CheckRun, Run, ThunkRecord


class CheckOperations(Operations):
    async def intend_check(
        self,
        repository_id: int,
        repository: str,
        installation_id: int,
        head_sha: str,
        name: str,
        delivery: str,
        rerun: bool,
        run: Run,
        thunk: ThunkRecord | None = None,
    ) -> tuple[CheckRun, bool]:
        """The check run of this name on this head, and whether it was made now.

        In one transaction: what this delivery has made before is returned again; else the latest
        generation, unless there is none or this is a `rerun`; else the next generation is made,
        `intended`, together with its `run` (which is not stored otherwise). Those that are void do
        not count. The run's `thunk` is kept as by `put_thunk`; without it StoreConflict is raised if it is
        not stored.
        """
        return await self._writer.write(
            lambda db: runs.intend_check(
                db,
                repository_id=repository_id,
                repository=repository,
                installation_id=installation_id,
                head_sha=head_sha,
                name=name,
                delivery=delivery,
                rerun=rerun,
                run=run,
                thunk=thunk,
            )
        )

    async def bind_check_run(self, row: int, github_id: int) -> None:
        """Note GitHub's id of it; it is `open` now. StoreConflict if it is bound to another id."""
        await self._writer.write(lambda db: runs.bind_check_run(db, row, github_id))

    async def conclude_check_run(self, row: int, conclusion: str) -> bool:
        """Note that GitHub was told its conclusion. False if that was so before."""
        return await self._writer.write(lambda db: runs.conclude_check_run(db, row, conclusion))

    async def postpone_conclusion(self, row: int, until: float) -> None:
        """Note that GitHub did not take its conclusion, and when it is told again."""
        await self._writer.write(lambda db: runs.postpone_conclusion(db, row, until))

    async def void_check_run(self, row: int) -> None:
        """It is no answer to the event that asked for it: when that is handled anew, the next
        generation is made."""
        await self._writer.write(lambda db: runs.void_check_run(db, row, runs.VOID))

    async def supersede_check_run(self, row: int) -> None:
        """It was cancelled for a newer head: when another event comes back to its head, the next
        generation is made."""
        await self._writer.write(lambda db: runs.void_check_run(db, row, runs.SUPERSEDED))

    async def unfinished_check_runs(self) -> list[tuple[CheckRun, Run]]:
        """All whose conclusion GitHub was not told, oldest first, each with its run."""
        return await self._readers.read(runs.unfinished_check_runs)

    async def check_run_of(self, run_id: str) -> CheckRun | None:
        return await self._readers.read(lambda db: runs.check_run_of(db, run_id))

    async def check_run_by_github_id(self, github_id: int) -> CheckRun | None:
        return await self._readers.read(lambda db: runs.check_run_by_github_id(db, github_id))
