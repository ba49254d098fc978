"""The host driver: a thunk's command as an ordinary process group in a private folder.

Images are ignored; a chain of thunks works on one folder after the other. A thunk's output is what its
command left in its work directory. Where there is bubblewrap, commands are wrapped in it.
"""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.runner.cache import Cache, Output
from bassloop.runner.drivers import command as commands
from bassloop.runner.drivers.errors import DriverError
from bassloop.runner.drivers.progress import Send, Vertex, vertex_id
from bassloop.runner.drivers.work import Place, Work
from bassloop.runner.events import RunnerEvent, ThunkEnded, ThunkStarted
from bassloop.runner.identity import Scope, command_line, key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from pathlib import Path

    from bassloop.runner.drivers.sandbox import Sandbox
    from bassloop.wire import bass_pb2 as pb

MAX_THUNKS = 2_000
"""Thunks that one call may need."""


@dataclass(eq=False)
class HostDriver:
    """Carries thunks out on this machine, as this user. Made with :meth:`open`.

    async with HostDriver.open(folder) as driver:
        output = await driver.run(thunk, LOCAL, show)
    """

    cache: Cache
    slots: trio.CapacityLimiter
    on_event: Callable[[RunnerEvent], None]
    allow_host_path: bool = False
    sandbox: Sandbox | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        state_dir: Path,
        *,
        on_event: Callable[[RunnerEvent], None] = lambda event: None,
        allow_host_path: bool = False,
        sandbox: Sandbox | None = None,
        jobs: int | None = None,
    ) -> AsyncGenerator[HostDriver]:
        """A driver that keeps outputs in `state_dir`. Raises DriverError when it can't.

        Args:
            sandbox: what commands are wrapped in; nothing when it is None.
            jobs: how many commands run at the same time; as many as are asked for when it is None.
        """
        opened = Cache.open(state_dir)
        try:
            cache = await opened.__aenter__()
        except OSError as error:
            raise DriverError(f"outputs can't be kept in {state_dir}: {error.strerror}") from error
        try:
            slots = trio.CapacityLimiter(math.inf if jobs is None else jobs)
            yield cls(cache, slots, on_event, allow_host_path, sandbox)
        finally:
            await opened.__aexit__(None, None, None)

    async def run(self, thunk: pb.Thunk, scope: Scope, send: Send) -> Output:
        """Carry a thunk out, and what it needs before it; an output that is kept is used again.

        `send` is awaited with progress; while it waits, so do the commands. Cancelled, the commands
        and all their children are gone when this returns. Raises DriverError when a thunk fails.
        """
        return await _Call(self, scope, send).output(thunk)


@dataclass(eq=False)
class _Made:
    """A thunk's output within a call, once it is there."""

    over: trio.Event = field(default_factory=trio.Event)
    output: Output | None = None
    error: str | None = None


@dataclass(eq=False)
class _Call:
    """What one call asks for: a thunk, and those that it needs, each once."""

    driver: HostDriver
    scope: Scope
    send: Send
    _made: dict[str, _Made] = field(default_factory=dict)

    async def output(self, thunk: pb.Thunk) -> Output:
        name = key(self.scope, thunk)
        made = self._made.get(name)
        if made is None:
            if len(self._made) >= MAX_THUNKS:
                raise DriverError(f"a thunk may need {MAX_THUNKS:,} others at most")
            made = self._made[name] = _Made()
            try:
                made.output = await self._produce(thunk, name)
            except DriverError as error:
                made.error = str(error)
                raise
            finally:
                made.over.set()
        await made.over.wait()
        if made.output is None:
            raise DriverError(made.error or f"cancelled: {command_line(thunk)}")
        return made.output

    async def _produce(self, thunk: pb.Thunk, name: str) -> Output:
        try:
            command = commands.resolve(thunk)
        except DriverError as error:
            await Vertex(self.send, name, command_line(thunk), ()).completed(str(error))
            raise
        needed = {key(self.scope, each): each for each in commands.needs(command, thunk)}
        inputs = [vertex_id(each) for each in needed]
        vertex = Vertex(self.send, name, command_line(thunk), inputs)
        if (kept := self.driver.cache.find(name)) is not None:
            await vertex.cached()
            return kept
        await _together([partial(self.output, each) for each in needed.values()])
        if self.driver.cache.locks.is_taken(name):
            await vertex.announced()
        async with self.driver.cache.locks.holding(name):
            if (kept := self.driver.cache.find(name)) is not None:
                await vertex.cached()
                return kept
            return await self._make(thunk, command, name, vertex)

    async def _make(
        self, thunk: pb.Thunk, command: commands.Command, name: str, vertex: Vertex
    ) -> Output:
        line, began = command_line(thunk), time.monotonic()
        error: str | None = "cancelled"
        if command.words:
            self.driver.on_event(ThunkStarted(line, self.scope.repository))
        await vertex.started()
        try:
            _refuse_what_needs_a_container(thunk)
            async with self.driver.cache.making() as output:
                base = commands.base_of(thunk)
                kept_base = None if base is None else self._kept(base)
                await Work(self._place(), command, output, vertex, kept_base).carry_out()
                kept = await self.driver.cache.keep(output, name)
            error = None
        except DriverError as failure:
            error = f"{failure}: {line}"
        except OSError as failure:
            error = f"{failure.strerror or failure} ({failure.filename}): {line}"
        finally:
            if command.words:
                took = time.monotonic() - began
                self.driver.on_event(ThunkEnded(line, took, error))
        await vertex.completed(error)
        if error is not None:
            raise DriverError(error)
        return kept

    def _place(self) -> Place:
        driver = self.driver
        return Place(
            cache=driver.cache,
            scope=self.scope,
            kept=self._kept,
            slots=driver.slots,
            sandbox=driver.sandbox,
            allow_host_path=driver.allow_host_path,
        )

    def _kept(self, thunk: pb.Thunk) -> Output:
        made = self._made.get(key(self.scope, thunk))
        if made is None or made.output is None or not made.output.files.is_dir():
            raise DriverError(f"the output of {command_line(thunk)} is gone; run the check again")
        return made.output


async def _together(calls: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Do all at the same time; the first that fails cancels the others, and its error is raised."""
    failures: list[DriverError] = []

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except DriverError as error:
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(one, call)
    if failures:
        raise failures[0]


def _refuse_what_needs_a_container(thunk: pb.Thunk) -> None:
    image = commands.image_of(thunk).WhichOneof("image")
    wanted = {
        "rights beyond a container's (insecure)": thunk.insecure,
        "TLS certificates": thunk.HasField("tls"),
        "an image from an archive": image == "archive",
        "an image from a Dockerfile": image == "docker_build",
    }
    for what, asked in wanted.items():
        if asked:
            raise DriverError(f"this thunk needs {what}, which the host driver has not")
