"""Confirm a run at somebody's request: its thunk runs once more, on a trusted runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.checks.check_request import CheckRefused
from bassloop.checks.notices import post_notice
from bassloop.checks.requested_thunk import request_again
from bassloop.checks.starting import start_verification
from bassloop.evaluator.errors import HostRefusal

if TYPE_CHECKING:
    from bassloop.checks.context import DeliveryContext
    from bassloop.store import Run


async def verify_run(context: DeliveryContext, earlier: Run) -> None:
    """Start the check of an earlier run again, with the very thunk that it had, and wait for its end."""
    try:
        request = await request_again(context, earlier)
        handle = await start_verification(context, request, earlier)
    except (CheckRefused, HostRefusal) as error:
        await post_notice(context, earlier.check_name, str(error))
        return
    context.slot.release()
    await handle.finished.wait()
    context.note_retryable(handle.retryable_error)
