"""Who may see what: the one place that decides.

There is no sign-in yet, so what belongs to a private repository is seen by nobody: it is not listed,
not counted and not told from what does not exist. Everything that answers a visitor (pages, JSON,
websockets, badges, feeds, search) asks here and never the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bassloop.store import Page, Run, Store, ThunkRecord


async def visible_run(store: Store, run_id: str) -> Run | None:
    """A run, if whoever asks may see it; None as if there were none otherwise."""
    if not 1 <= len(run_id) <= 64:
        return None
    run = await store.run(run_id)
    return run if run is not None and run.public else None


async def visible_runs(
    store: Store, limit: int, before: str | None = None, **narrowed: Any
) -> Page[Run]:
    """The runs that whoever asks may see, narrowed as `Store.runs` is."""
    return await store.runs(limit, before, public_only=True, **narrowed)


async def visible_checks(store: Store, repository: str, **narrowed: Any) -> list[Run]:
    """The newest run of each check of a repository, among those that whoever asks may see."""
    return await store.checks(repository, public_only=True, **narrowed)


async def visible_thunk(
    store: Store, digest: str, limit: int, before: str | None = None
) -> tuple[ThunkRecord, Page[Run]] | None:
    """A thunk with its runs, if whoever asks may see one of them."""
    if not 1 <= len(digest) <= 200:
        return None
    runs = await visible_runs(store, limit, before, thunk_digest=digest)
    if not runs.items and not (await visible_runs(store, 1, thunk_digest=digest)).items:
        return None
    record = await store.thunk(digest)
    return None if record is None else (record, runs)


async def current_run(store: Store, run_id: str) -> Run | None:
    """A run as it is now, on behalf of visitors who each were found to see it by `visible_run`."""
    return await store.run(run_id)
