"""The thunks of one call: each runs once, after those it depends on, unless its output is cached.

Host and container execution share this. Their subclasses define what an output depends on besides the thunk's message,
and how to run a command.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import trio

from bassloop.bass import thunk_sha256
from bassloop.concurrency import run_all, shielded
from bassloop.runner.engine import path_rules
from bassloop.runner.engine.command import (
    Command,
    Environment,
    ImageDefaults,
    base_of,
    command_line,
    dependencies_of,
    resolve,
    with_credential,
)
from bassloop.runner.engine.step_progress import Send, StepReporter, step_id
from bassloop.runner.errors import DriverError, NotCached, ServiceFailed
from bassloop.runner.runner_events import RunnerEvent, ThunkEnded, ThunkStarted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.engine.execution import Execution, Launch
    from bassloop.runner.output_cache import CallCache, OutputCache, ThunkOutput
    from bassloop.runner.secrets import GrantedSecrets, Mask
    from bassloop.wire import bass_pb2 as pb

DISCARD_SECONDS = 60.0

MAX_THUNKS = 2_000
"""The most thunks that one call may depend on."""


@dataclass(frozen=True, slots=True)
class CallResources:
    """The resources of one call from the loop.

    Args:
        cache: pins the outputs that the call uses.
        granted: the secrets that the call may use.
        send: sends the call's progress.
        nursery: runs tasks that last as long as the call.
    """

    cache: CallCache
    granted: GrantedSecrets
    send: Send
    nursery: trio.Nursery


@dataclass(eq=False)
class _Node:
    """A thunk of the call, and its output as soon as there is one."""

    over: trio.Event = field(default_factory=trio.Event)
    output: ThunkOutput | None = None
    error: str | None = None


class _Needed(NamedTuple):
    """The thunks that a thunk depends on, with their digests, and the names of its secrets."""

    thunks: tuple[tuple[str, pb.Thunk], ...]
    secrets: frozenset[str]


class ThunkGraph(ABC):
    """The thunks of one call."""

    key_prefix: ClassVar[tuple[str, ...]] = ()
    """The first lines of the text that a cache key is the digest of."""
    image_defaults: ClassVar[ImageDefaults | None] = None
    """What thunks run if they and their images don't set it; None if images are ignored."""

    def __init__(
        self,
        call: CallResources,
        cache: OutputCache,
        environment: Environment,
        on_event: Callable[[RunnerEvent], None],
    ) -> None:
        self.call = call
        self.cache = cache
        self.context = call.granted.context
        self.environment = environment
        self.on_event = on_event
        self._nodes: dict[str, _Node] = {}
        self._keys: dict[str, str] = {}

    # --- what differs between host and containers -----------------------------------------------------

    def check(self, thunk: pb.Thunk) -> None:  # noqa: B027 - there may be nothing to refuse
        """Raise DriverError if a thunk can't run here, or its owner doesn't allow what it needs."""

    async def image_facts(self, thunk: pb.Thunk) -> list[str]:
        """Return what identifies the thunk's image, if its message alone doesn't."""
        return []

    def dependencies(self, command: Command, thunk: pb.Thunk) -> Iterable[pb.Thunk]:
        """Generate the thunks that must run before this one."""
        return dependencies_of(command, thunk)

    def image_steps(self, thunk: pb.Thunk) -> list[str]:
        """Return the step ids of the images that the thunk starts from."""
        return []

    @abstractmethod
    def preparing(
        self, thunk: pb.Thunk, command: Command, output: ThunkOutput, step: StepReporter
    ) -> AbstractAsyncContextManager[Execution]:
        """Yield the execution of a command, with everything it needs in place. Raises DriverError, or OSError."""

    async def after(self, output: ThunkOutput, key: str) -> None:  # noqa: B027
        """Finish an output that was stored. Tasks that wait for the output wait for this, too."""

    # --- thunks --------------------------------------------------------------------------------------

    def resolve(self, thunk: pb.Thunk, image: ImageDefaults | None = None) -> Command:
        """Resolve a thunk to its command. Raises DriverError."""
        command = resolve(thunk, image=image or self.image_defaults, environment=self.environment)
        return with_credential(command, self.call.granted.credential)

    async def key(self, thunk: pb.Thunk) -> str:
        """Return the cache key of a thunk's output. Raises DriverError.

        It's the digest of the thunk's message, the versions of its secrets, the current ids of its images, and
        the keys of all thunks that it depends on.
        """
        wanted = thunk_sha256(thunk)
        todo: list[tuple[str, pb.Thunk, _Needed | None]] = [(wanted, thunk, None)]
        while todo:
            sha, each, needed = todo.pop()
            if sha in self._keys:
                continue
            if needed is None:
                needed = self._needed(each)
                unknown = {name: one for name, one in needed.thunks if name not in self._keys}
                if len(self._keys) + len(todo) + len(unknown) >= MAX_THUNKS:
                    raise DriverError(f"a thunk may need {MAX_THUNKS:,} others at most")
                if unknown:
                    todo.append((sha, each, needed))
                    todo += ((name, one, None) for name, one in unknown.items())
                    continue
            facts = [*self.key_prefix, sha]
            facts += sorted(map(self.call.granted.version, needed.secrets))
            given = self.context.given_to(each)
            facts += (f"artifact {one.name} {one.sha256}" for one in given)
            if base_of(each) is None:
                facts += await self.image_facts(each)
            facts += (self._keys[name] for name, _ in needed.thunks)
            self._keys[sha] = self.context.namespaced("\n".join(facts))
        return self._keys[wanted]

    def _needed(self, thunk: pb.Thunk) -> _Needed:
        command = self.resolve(thunk)
        inner = (*self.dependencies(command, thunk), *command.services)
        return _Needed(tuple((thunk_sha256(one), one) for one in inner), command.secrets)

    async def output(self, thunk: pb.Thunk) -> ThunkOutput:
        """Return the thunk's output; run the thunk if it isn't cached. Raises DriverError."""
        try:
            key = await self.key(thunk)
        except DriverError as error:
            await self.step(thunk_sha256(thunk), command_line(thunk)).complete(str(error))
            raise
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= MAX_THUNKS:
                raise DriverError(f"a thunk may need {MAX_THUNKS:,} others at most")
            node = self._nodes[key] = _Node()
            try:
                node.output = await self._produce(thunk, key)
            except DriverError as error:
                node.error = str(error)
                raise
            finally:
                node.over.set()
        await node.over.wait()
        if node.output is None:
            raise DriverError(node.error or f"cancelled: {command_line(thunk)}")
        return node.output

    async def cached(self, thunk: pb.Thunk) -> ThunkOutput:
        """Return the output of a thunk that ran before. Raises DriverError if it no longer exists."""
        node = self._nodes.get(await self.key(thunk))
        if node is None or node.output is None or not node.output.files.is_dir():
            raise DriverError(f"the output of {command_line(thunk)} is gone; run the check again")
        return node.output

    def forget(self, key: str) -> None:
        """Look up the output of this key again next time."""
        self._nodes.pop(key, None)

    def step(self, key: str, name: str, inputs: Iterable[str] = ()) -> StepReporter:
        """Return a reporter for a step of this call. It masks secrets."""
        return StepReporter(self.call.send, key, name, list(inputs), self.call.granted.mask)

    async def plan(self, thunk: pb.Thunk) -> tuple[Command, list[pb.Thunk], StepReporter]:
        """Return a thunk's command, the thunks that must run before it, and its step. Raises DriverError."""
        key = await self.key(thunk)
        try:
            self.check(thunk)
            command = self.resolve(thunk)
        except DriverError as error:
            await self.step(key, command_line(thunk)).complete(str(error))
            raise
        needed = {await self.key(each): each for each in self.dependencies(command, thunk)}
        inputs = [*map(step_id, needed), *self.image_steps(thunk)]
        return command, list(needed.values()), self.step(key, command_line(thunk), inputs)

    async def find_failing(self, thunk: pb.Thunk) -> pb.Thunk | None:
        """Run a thunk, and return which one failed, of it and those that it depends on; None if none did."""
        todo = [(thunk, False)]
        while todo:
            each, is_next = todo.pop()
            try:
                if is_next:
                    await self.output(each)
                else:
                    _, needed, _ = await self.plan(each)
                    todo.append((each, True))
                    missing = [one for one in needed if not await self._has(one)]
                    todo += ((one, False) for one in reversed(missing))
            except DriverError:
                return each
        return None

    async def _has(self, thunk: pb.Thunk) -> bool:
        """Return whether a thunk's output exists already."""
        node = self._nodes.get(await self.key(thunk))
        return node is not None and node.output is not None

    @asynccontextmanager
    async def before_command(
        self, thunk: pb.Thunk, words: tuple[str, ...]
    ) -> AsyncGenerator[Launch]:
        """Yield the launch of another command in a thunk's place, with its files, variables and services.

        The command uses this process's terminal. Raises DriverError, or OSError.
        """
        command, needed, step = await self.plan(thunk)
        await run_all([partial(self.output, each) for each in needed])
        async with (
            self.cache.new_output() as output,
            self.preparing(thunk, command, output, step) as execution,
        ):
            execution.command = replace(execution.command, words=words, stdin=b"")
            execution.interactive = True
            async with execution.prepared() as launch:
                try:
                    yield launch
                finally:
                    with shielded(DISCARD_SECONDS):
                        await execution.launcher.discard()

    async def _produce(self, thunk: pb.Thunk, key: str) -> ThunkOutput:
        command, needed, step = await self.plan(thunk)
        if (found := self.call.cache.find(key)) is not None:
            await step.cached()
            return found
        if self.context.cached_only:
            raise NotCached(f"the runner no longer has the output of {command_line(thunk)}")
        await run_all([partial(self.output, each) for each in needed])
        if key in self.cache.locks:
            await step.announce()
        async with self.cache.locks.hold(key):
            if (found := self.call.cache.find(key)) is not None:
                await step.cached()
                return found
            return await self._run(thunk, command, key, step)

    async def _run(
        self, thunk: pb.Thunk, command: Command, key: str, step: StepReporter
    ) -> ThunkOutput:
        line, began = command_line(thunk), time.monotonic()
        error: str | None = "cancelled"
        if command.words:
            self.on_event(ThunkStarted(line, self.context.repository))
        waits = bool(command.services)
        await (step.announce() if waits else step.start())
        try:
            async with self.cache.new_output() as output:
                async with self.preparing(thunk, command, output, step) as execution:
                    if waits:  # a command whose services can't start hasn't started either
                        await step.start()
                    runs = execution.command.words
                    await (execution.run() if runs else execution.store_unchanged())
                stored = await self.call.cache.store(output, key)
            await self.after(stored, key)
            error = None
        except ServiceFailed as failure:
            step.add_input(failure.step)
            error = str(failure)
        except DriverError as failure:
            error = f"{failure}: {line}"
        except OSError as failure:
            error = f"{describe_os_error(failure)}: {line}"
        finally:
            if command.words:
                self.on_event(ThunkEnded(line, time.monotonic() - began, error))
        await step.complete(error)
        if error is not None:
            raise DriverError(error)
        return stored


def describe_os_error(error: OSError) -> str:
    """Return an error from the file system as text."""
    text = f"{error.strerror or error} ({error.filename or 'a file of the output'})"
    return path_rules.printable(text)


@contextmanager
def masked_errors(mask: Mask) -> Iterator[None]:
    """Raise errors with secrets masked; raise OSError as DriverError."""
    try:
        yield
    except DriverError as error:
        raise type(error)(mask.hide(str(error))) from None
    except OSError as error:
        raise DriverError(mask.hide(describe_os_error(error))) from None
