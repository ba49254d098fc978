"""The runner: connects to a loop over SSH, and runs the thunks that the loop sends.

runner      the whole runner, and how it stays registered
service     the gRPC service that the loop calls
engine/     runs the thunks of a call, on the host or in containers
host/       commands as processes of this machine, in a sandbox
container/  commands in containers of Podman or Docker
secrets/    the owner's secrets, and masking them
"""

from __future__ import annotations

from bassloop.runner.errors import RunnerError
from bassloop.runner.options import RunnerOptions, parse_destination
from bassloop.runner.preflight import PreflightResult, check_runner
from bassloop.runner.runner import run_runner, serve_runner
from bassloop.runner.runner_events import DriverChosen, EngineTried, RunnerEvent
from bassloop.runner.ssh_client import HostKey

__all__ = [
    "DriverChosen",
    "EngineTried",
    "HostKey",
    "PreflightResult",
    "RunnerError",
    "RunnerEvent",
    "RunnerOptions",
    "check_runner",
    "parse_destination",
    "run_runner",
    "serve_runner",
]
