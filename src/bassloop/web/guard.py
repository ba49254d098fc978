"""Who may see what: the one place that decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bassloop.store import Run, Store


async def visible_run(store: Store, run_id: str) -> Run | None:
    """A run, if whoever asks may see it; None as if there were none otherwise.

    There is no sign-in yet, so what belongs to a private repository is seen by nobody.
    """
    if not 1 <= len(run_id) <= 64:
        return None
    run = await store.run(run_id)
    return run if run is not None and run.public else None
