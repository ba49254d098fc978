"""The loop's view of runners: who is connected, which one a thunk runs on, and the calls to it.

    runtime = await pool.wait_for(user.id, Platform("linux", "amd64"), timeout=600)
    async with runtime.run(thunk, {"bassloop-run": run.id}) as updates:
        async for update in updates:
            ...
    # RunFailed or RuntimeLost is raised here, when the updates are over

The gateway registers runtimes in the `Pool`; this room knows nothing of SSH but a function that
opens a channel.
"""

from __future__ import annotations

from bassloop.runtimes.caveats import caveat, caveats
from bassloop.runtimes.errors import NoRuntime, RunFailed, RuntimeLost, RuntimesError
from bassloop.runtimes.platform import Platform
from bassloop.runtimes.pool import Pool, RuntimeStatus
from bassloop.runtimes.runtime import Runtime

__all__ = [
    "NoRuntime",
    "Platform",
    "Pool",
    "RunFailed",
    "Runtime",
    "RuntimeLost",
    "RuntimeStatus",
    "RuntimesError",
    "caveat",
    "caveats",
]
