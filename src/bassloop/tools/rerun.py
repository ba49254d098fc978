"""Run the thunk of a loop's run on this machine, or open a shell in place of its failing command."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import trio
from google.protobuf.message import DecodeError

from bassloop.bass.wire.digest import digest_of_encoded
from bassloop.bridge import open_bridge
from bassloop.runner.call_context import CallContext, PrivateSource
from bassloop.runner.driver_choice import open_driver
from bassloop.runner.engine.command import command_line
from bassloop.runner.errors import DriverError, RunnerError
from bassloop.runner.options import RunnerOptions
from bassloop.tools.local.thunk_runner import ProgressPrinter
from bassloop.tools.loop_client import LoopClient, LoopError
from bassloop.wire import bass_pb2
from bassloop.wire.conventions import REPORT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bassloop.runner.engine.execution import Launch
    from bassloop.runner.engine.graph import ThunkGraph
    from bassloop.runner.options import DriverName, NetworkMode
    from bassloop.tools.loop_client import RunAddress
    from bassloop.wire import progrock_pb2

SHELL = ("sh", "-c", "exec bash 2>/dev/null || exec sh")
MAX_THUNK = 64 << 20


class RerunError(Exception):
    """The run can't be repeated here; the message has the reason and the fix."""


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A loop's run, with the thunk that it ran."""

    check: str
    repository: str
    public: bool
    head_sha: str
    thunk: bass_pb2.Thunk


@dataclass(frozen=True, slots=True)
class RerunOptions:
    """The options for running a thunk here.

    Args:
        driver: containers, the host, or `auto` for containers if an engine works.
        unsandboxed: run commands on the host without containment.
        shell: open a shell in place of the command that fails, if one does.
    """

    driver: DriverName = "auto"
    network: NetworkMode = "own"
    unsandboxed: bool = False
    shell: bool = False


async def fetch_run(address: RunAddress, headers: Sequence[tuple[str, str]] = ()) -> RemoteRun:
    """Return a loop's run with its thunk. Raises LoopError, and RerunError for a run without a thunk."""
    loop = LoopClient(address.server, headers)
    run = await loop.get(address.path)
    try:
        digest = run["thunk"]
        if digest is None:
            raise RerunError("this run is of a hook, which no runner runs: `bassloop try` does")
        content = await loop.download(f"/thunks/{digest}/proto", MAX_THUNK)
        if digest_of_encoded(content) != digest:
            raise LoopError(f"{address.server} does not give the thunk {digest} for its name")
        return RemoteRun(
            check=str(run["check"]),
            repository=str(run["repository"]),
            public=bool(run["public"]),
            head_sha=str(run["head_sha"]),
            thunk=bass_pb2.Thunk.FromString(content),
        )
    except (ValueError, KeyError, TypeError, DecodeError) as error:
        raise LoopError(f"{address.page} is not described as a loop does: {error}") from error


async def rerun(run: RemoteRun, options: RerunOptions, say: Callable[[str], None]) -> bool:
    """Run a run's thunk on this machine. Returns whether it succeeded. Raises RerunError.

    Args:
        say: prints one or more lines for people.
    """
    runner = RunnerOptions(
        login="local",
        host="local",
        state_dir=Path(platformdirs.user_cache_dir("bass-loop")) / "rerun",
        driver="host" if options.unsandboxed else options.driver,
        sandbox=False if options.unsandboxed else None,
        network=options.network,
        git_credentials=True,
    )
    source = None if run.public else PrivateSource(f"https://github.com/{run.repository}.git")
    context = CallContext(run.repository.lower(), source=source)
    progress = ProgressPrinter(say)

    async def send(update: progrock_pb2.StatusUpdate) -> None:
        await trio.lowlevel.checkpoint()
        if not any(log.vertex.startswith(REPORT_PREFIX) for log in update.logs):
            progress.update(update)

    try:
        async with open_bridge(), open_driver(runner) as driver:
            if not driver.is_contained and not options.unsandboxed:
                raise RerunError(
                    "there is neither a container engine nor bubblewrap on this machine, so nothing would "
                    "contain the commands: install Podman, or say --unsandboxed if you trust them"
                )

            async def work(graph: ThunkGraph) -> bool:
                if not options.shell:
                    await graph.output(run.thunk)
                    return True
                failing = await graph.find_failing(run.thunk)
                if failing is None:
                    say("it succeeds here, so there is no failing command to stop before")
                    return True
                progress.close()
                say(
                    f"\na shell where this would start; exit to leave it:\n  {command_line(failing)}\n"
                )
                async with graph.before_command(failing, SHELL) as launch:
                    await _use_terminal(launch)
                return False

            async with driver.with_graph(context, send, work) as succeeded:
                return succeeded
    except (DriverError, RunnerError) as error:
        if isinstance(error, RunnerError) or options.shell:
            raise RerunError(str(error)) from error
        return False
    finally:
        progress.close()


async def _use_terminal(launch: Launch) -> None:
    """Run a process that uses this process's terminal to its end."""
    async with trio.open_nursery() as nursery:
        if launch.alongside is not None:
            nursery.start_soon(launch.alongside)
        with _interrupts_left_to_child():
            await trio.run_process(
                list(launch.words),
                stdin=sys.stdin,
                check=False,
                cwd=launch.cwd,
                env=dict(launch.env),
                pass_fds=launch.inherited,
            )
        nursery.cancel_scope.cancel()


@contextmanager
def _interrupts_left_to_child() -> Iterator[None]:
    """Ignore Ctrl-C, which the terminal also sends to the child process."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
