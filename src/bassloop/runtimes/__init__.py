"""The loop's view of runners: the pool of connected runtimes, and the calls to them.

    runtime = await pool.wait_for(user.id, Platform("linux", "amd64"), timeout=600)
    async with runtime.run(thunk, {"bassloop-run": run.id}) as updates:
        async for update in updates:
            ...
    # RunFailed or RuntimeLost is raised here, when the updates are over

The gateway registers runtimes in the `Pool`. All that this package knows of SSH is a function that opens a channel.
"""

from __future__ import annotations

from bassloop.runtimes.pool import NoRuntime, Pool, RunnerWait, RuntimeStatus
from bassloop.runtimes.runner_call import RunFailed, RuntimeLost, RuntimesError
from bassloop.runtimes.runtime import Platform, Runtime, caveat, caveats

__all__ = [
    "NoRuntime",
    "Platform",
    "Pool",
    "RunFailed",
    "RunnerWait",
    "Runtime",
    "RuntimeLost",
    "RuntimeStatus",
    "RuntimesError",
    "caveat",
    "caveats",
]
