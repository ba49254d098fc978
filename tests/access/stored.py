"""Records for the store of this room's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bassloop.store import RepositoryRecord
from tests.records import make_run

if TYPE_CHECKING:
    from tests.small_loop import SmallLoop

OURS = RepositoryRecord(201, "octocat/hello", 1, public=False)


async def store_run(loop: SmallLoop, **changes: Any) -> None:
    """Store a run of the repository."""
    run = replace(make_run(id="r", repository_id=201, thunk_digest=""), **changes)
    await loop.store.checks.get_or_create(
        201, run.repository, 1, run.head_sha, "it", "g", False, run
    )
