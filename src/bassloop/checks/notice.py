"""What the loop itself has to say of a head, on a check run of its own: a hook that failed, a head that
waits for approval, a file of policies that can't be read."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bassloop.checks.check_output import HOOK
from bassloop.checks.conclude import conclude, end_run
from bassloop.checks.recorder import recording
from bassloop.store import StoreConflict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bassloop.checks.context import Work
    from bassloop.wire import progrock_pb2


async def tell(
    work: Work,
    name: str,
    message: str,
    output: str = "",
    *,
    state: str = "failed",
    progress: Iterable[progrock_pb2.StatusUpdate] = (),
) -> None:
    """Show a run of nothing, with a message and what was logged, and its check run. It is told once,
    however often an event is handled. Raises StoreError.

    Args:
        state: how it ended, one of the store's states.
        progress: what runners said of what was run for it.
    """
    loop = work.loop
    check, created = await loop.store.intend_check(
        repository_id=work.repository.id,
        repository=work.repository.full_name,
        installation_id=work.event.installation_id or 0,
        head_sha=work.head.sha,
        name=name,
        delivery=work.delivery,
        rerun=work.rerun,
        run=work.new_run(name, work.head.sha, None),
    )
    if not created and (check.delivery != work.delivery or check.state == "concluded"):
        return
    run = await loop.store.run(check.run_id)
    assert run is not None
    if not run.ended:
        async with recording(loop.store, loop.tail, run.id) as recorder:
            with suppress(StoreConflict):  # what was written before a crash stays
                for update in progress:
                    await recorder.record(update)
                error = None if state == "succeeded" else message
                said = f"{output}{message}\n"
                await recorder.say(f"{HOOK}{name}", f"[hook] {name}", said, error=error)
        run = await end_run(loop, run.id, state, message)
    await conclude(loop, run)
