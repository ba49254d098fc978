"""The runner's drivers in this process: the same service that a loop calls over SSH, without the SSH."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import trio

from bassloop.bass.errors import BassError
from bassloop.bridge.grpc import open_grpc_server
from bassloop.bridge.memory_channel import memory_opener
from bassloop.runner.driver_choice import find_sandbox
from bassloop.runner.errors import DriverError, RunnerError
from bassloop.runner.host.host_driver import HostDriver
from bassloop.runner.options import RunnerOptions
from bassloop.runner.service import RuntimeService
from bassloop.runtimes import Platform, Runtime

if TYPE_CHECKING:
    from bassloop.tools.local.runtime_options import RuntimeOptions


async def serve_runtime(
    options: RuntimeOptions, *, task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED
) -> None:
    """Offer a runtime in this process until cancelled. Needs an open bridge. Raises BassError.

    Paths of this machine are allowed: the script got them from whoever called it.
    """
    state = options.state_dir or Path(platformdirs.user_cache_dir("bass-loop")) / "local"
    runner = RunnerOptions(
        login="local", host="local", allow_host_path=True, state_dir=state, sandbox=options.sandbox
    )
    try:
        box = await find_sandbox(runner)
        async with (
            HostDriver.open(runner.state, allow_host_path=True, sandbox=box) as driver,
            RuntimeService.open(driver) as service,
            open_grpc_server([service]) as new_session,
        ):
            task_status.started(
                Runtime(
                    id="local",
                    user_id=0,
                    login="you",
                    platform=Platform.here(),
                    priority=0,
                    connected_at=time.time(),
                    open_channel=memory_opener(new_session),
                    kind="bassloop",
                )
            )
            await trio.sleep_forever()
    except (DriverError, RunnerError) as error:
        raise BassError(str(error)) from error
