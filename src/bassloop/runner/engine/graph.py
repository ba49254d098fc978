"""One call's thunks: each made once, after those that it needs, or taken from what is kept.

What every driver shares. A driver says under what a thunk's output is kept, what the thunk needs, and
how its command is run.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.bass import thunk_sha256
from bassloop.runner.context import command_line
from bassloop.runner.engine.progress import Send, StepReporter, step_id
from bassloop.runner.errors import DriverError, NotCached
from bassloop.runner.events import RunnerEvent, ThunkEnded, ThunkStarted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from bassloop.runner.cache.outputs import CallCache, OutputCache, ThunkOutput
    from bassloop.runner.engine.command import Command
    from bassloop.runner.secrets import GrantedSecrets, Mask
    from bassloop.wire import bass_pb2 as pb

MAX_THUNKS = 2_000
"""Thunks that one call may need."""


@dataclass(eq=False)
class _Made:
    """A thunk's output within a call, once it is there."""

    over: trio.Event = field(default_factory=trio.Event)
    output: ThunkOutput | None = None
    error: str | None = None


class Call(ABC):
    """What one call asks for: a thunk, and those that it needs, each once.

    Args:
        hold: keeps what the call uses from being removed.
        granted: the secrets that it may have, and for whom it is.
    """

    def __init__(
        self,
        cache: OutputCache,
        hold: CallCache,
        granted: GrantedSecrets,
        send: Send,
        on_event: Callable[[RunnerEvent], None],
    ) -> None:
        self.cache = cache
        self.hold = hold
        self.granted = granted
        self.scope = granted.scope
        self.send = send
        self.on_event = on_event
        self._made: dict[str, _Made] = {}

    @abstractmethod
    async def key(self, thunk: pb.Thunk) -> str:
        """What the thunk's output is kept under. Raises DriverError."""

    @abstractmethod
    def resolve(self, thunk: pb.Thunk) -> Command:
        """What the thunk means for a process. Raises DriverError."""

    @abstractmethod
    def needs(self, command: Command, thunk: pb.Thunk) -> Iterable[pb.Thunk]:
        """The thunks that have to be made before this one."""

    @abstractmethod
    async def carry_out(
        self, thunk: pb.Thunk, command: Command, output: ThunkOutput, vertex: StepReporter
    ) -> None:
        """Run the command, its output left in `output`. Raises DriverError, or OSError."""

    def inputs(self, thunk: pb.Thunk) -> list[str]:
        """The vertexes that it has for inputs beside those of thunks."""
        return []

    @abstractmethod
    async def after(self, output: ThunkOutput, name: str) -> None:
        """What is done when an output was made and kept; whoever waits for it waits for this too."""

    async def output(self, thunk: pb.Thunk) -> ThunkOutput:
        """The thunk's output, made if it has to be. Raises DriverError."""
        try:
            name = await self.key(thunk)
        except DriverError as error:
            await self.vertex(thunk_sha256(thunk), command_line(thunk)).completed(str(error))
            raise
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

    def vertex(self, key: str, name: str, inputs: Iterable[str] = ()) -> StepReporter:
        """A place in the call's progress, in which no secret is seen."""
        return StepReporter(self.send, key, name, list(inputs), self.granted.mask)

    def forget(self, name: str) -> None:
        """Let what is kept under a key be looked for again."""
        self._made.pop(name, None)

    async def kept(self, thunk: pb.Thunk) -> ThunkOutput:
        """The output of a thunk that was made before. Raises DriverError when it is gone."""
        made = self._made.get(await self.key(thunk))
        if made is None or made.output is None or not made.output.files.is_dir():
            raise DriverError(f"the output of {command_line(thunk)} is gone; run the check again")
        return made.output

    async def _produce(self, thunk: pb.Thunk, name: str) -> ThunkOutput:
        try:
            command = self.resolve(thunk)
        except DriverError as error:
            await self.vertex(name, command_line(thunk)).completed(str(error))
            raise
        needed = {await self.key(each): each for each in self.needs(command, thunk)}
        inputs = [*map(step_id, needed), *self.inputs(thunk)]
        vertex = self.vertex(name, command_line(thunk), inputs)
        if (kept := self.hold.find(name)) is not None:
            await vertex.cached()
            return kept
        if self.scope.cached_only:
            raise NotCached(f"the runner has not kept the output of {command_line(thunk)}")
        await together([partial(self.output, each) for each in needed.values()])
        if self.cache.locks.is_taken(name):
            await vertex.announced()
        async with self.cache.locks.holding(name):
            if (kept := self.hold.find(name)) is not None:
                await vertex.cached()
                return kept
            return await self._make(thunk, command, name, vertex)

    async def _make(
        self, thunk: pb.Thunk, command: Command, name: str, vertex: StepReporter
    ) -> ThunkOutput:
        line, began = command_line(thunk), time.monotonic()
        error: str | None = "cancelled"
        if command.words:
            self.on_event(ThunkStarted(line, self.scope.repository))
        await vertex.started()
        try:
            async with self.cache.making() as output:
                await self.carry_out(thunk, command, output, vertex)
                kept = await self.hold.keep(output, name)
            await self.after(kept, name)
            error = None
        except DriverError as failure:
            error = f"{failure}: {line}"
        except OSError as failure:
            error = f"{failure.strerror or failure} ({failure.filename}): {line}"
        finally:
            if command.words:
                took = time.monotonic() - began
                self.on_event(ThunkEnded(line, took, error))
        await vertex.completed(error)
        if error is not None:
            raise DriverError(error)
        return kept


@contextmanager
def hiding(mask: Mask) -> Iterator[None]:
    """Whatever goes wrong in here says nothing of a secret: DriverError for all errors of files."""
    try:
        yield
    except DriverError as error:
        raise type(error)(mask.hide(str(error))) from None
    except OSError as error:
        text = f"{error.strerror or error} ({error.filename or 'a file of the output'})"
        raise DriverError(mask.hide(text)) from None


async def together(calls: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Do all at the same time; the first that fails cancels the others, and its error is raised."""
    failures: list[DriverError | OSError] = []

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except (
            DriverError,
            OSError,
        ) as error:  # raised outside of the nursery, which would wrap it
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(one, call)
    if failures:
        raise failures[0]
