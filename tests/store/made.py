"""Things to store."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from bassloop.lifecycle import RunState
from bassloop.store import Run, StepUpdate, ThunkRecord, new_run_id

if TYPE_CHECKING:
    from bassloop.store import Store

THUNK = ThunkRecord("DIGEST", "ab" * 32, "{}", b"proto", ".go test", 1.0)


def run(**changes: Any) -> Run:
    made = Run(
        id=new_run_id(),
        thunk_digest="",
        user_id=7,
        login="ada",
        repository_id=1,
        repository="ada/engine",
        public=True,
        event="push",
        delivery="d1",
        head_sha="c0ffee",
        head_branch="main",
        pull_request=None,
        check_name="test",
        state=RunState.QUEUED,
        created_at=10.0,
        started_at=None,
        ended_at=None,
        message=None,
        runtime_id=None,
        runner_login=None,
        platform=None,
        cmdline="go test",
    )
    return dataclasses.replace(made, **changes)


async def intend(store: Store, made: Run, *, rerun: bool = False, installation: int = 5) -> bool:
    _, created = await store.checks.get_or_create(
        made.repository_id,
        made.repository,
        installation,
        made.head_sha,
        made.check_name,
        made.delivery,
        rerun,
        made,
    )
    return created


async def step(store: Store, digest: str = "v") -> tuple[str, int]:
    """The id of a new run, and the row of a step of it."""
    made = run(head_sha=new_run_id())
    await intend(store, made)
    found = await store.steps.put(made.id, [StepUpdate(digest, digest)])
    return made.id, found[digest].row
