"""The runner: it dials in to a loop over SSH, and runs the thunks that the loop sends.

client      dials in, registers, reconnects
service     the gRPC service that the loop calls
engine/     runs a call's thunks, on the host or in containers
host/       commands as processes of this machine, in a sandbox
container/  commands in containers of Podman or Docker
cache/      outputs, stored by thunk and by whom they are for
secrets/    the owner's secrets, and hiding them
"""

from __future__ import annotations

from bassloop.runner.events import RunnerEvent
from bassloop.runner.known_hosts import HostKey
from bassloop.runner.options import RunnerError, RunnerOptions, parse_destination
from bassloop.runner.preflight import Finding, check_runner
from bassloop.runner.serve import run_runner, serve_runner

__all__ = [
    "Finding",
    "HostKey",
    "RunnerError",
    "RunnerEvent",
    "RunnerOptions",
    "check_runner",
    "parse_destination",
    "run_runner",
    "serve_runner",
]
