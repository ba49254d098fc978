"""Confirm a run at somebody's request: its thunk runs once more, on a trusted runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.checks.check import start_verification
from bassloop.checks.check_request import CheckRequest
from bassloop.checks.hook_host import read_thunk
from bassloop.checks.notices import post_notice
from bassloop.evaluator.errors import HostRefusal

if TYPE_CHECKING:
    from bassloop.checks.context import DeliveryContext
    from bassloop.store import Run


async def verify_run(context: DeliveryContext, earlier: Run) -> None:
    """Start the check of an earlier run again, with the very thunk that it had, and wait for its end."""
    record = await context.loop.store.thunks.get(earlier.thunk_digest)
    assert record is not None, "a foreign key ties a run to its thunk"
    try:
        requested = await read_thunk(context, record.proto)
    except HostRefusal as error:
        await post_notice(context, earlier.check_name, str(error))
        return
    request = CheckRequest(
        name=earlier.check_name,
        sha=earlier.head_sha,
        thunk=requested.message,
        record=record,
        platform=requested.platform,
    )
    handle = await start_verification(context, request, earlier)
    context.slot.release()
    await handle.finished.wait()
    context.note_retryable(handle.retryable_error)
