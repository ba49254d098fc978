"""The runner: it dials in to a loop over SSH, and carries out the thunks that the loop sends.

client     dials in, registers, reconnects
service    the gRPC service behind the forward
drivers/   the ways to carry a thunk out
cache      outputs, kept under the thunk and for whom it ran
"""

from __future__ import annotations

from bassloop.runner.check import Finding, check_runner
from bassloop.runner.events import RunnerEvent
from bassloop.runner.known_hosts import HostKey
from bassloop.runner.main import run_runner, serve_runner
from bassloop.runner.options import RunnerError, RunnerOptions, parse_destination

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
