"""The interface of a driver, which runs thunks on the host or in containers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from bassloop.concurrency import open_flat_nursery
from bassloop.runner import file_trees
from bassloop.runner.engine import path_rules
from bassloop.runner.engine.graph import CallResources, ThunkGraph, masked_errors
from bassloop.runner.engine.sent_files import send_artifacts, start_of
from bassloop.runner.engine.step_progress import StepReporter
from bassloop.runner.secrets import OwnerSecrets
from bassloop.wire.conventions import ARTIFACTS_LABEL, label_texts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.runner.call_context import CallContext
    from bassloop.runner.engine.step_progress import Send
    from bassloop.runner.output_cache import OutputCache, ThunkOutput
    from bassloop.runner.runner_events import RunnerEvent
    from bassloop.wire import bass_pb2 as pb

SendBytes = Callable[[bytes], Awaitable[None]]
"""Sends a piece of an archive; returns when there is room for another one."""

GraphT = TypeVar("GraphT", bound=ThunkGraph)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """The options of every driver.

    Args:
        on_event: called with what the owner should know.
        secrets: the owner's secrets.
        allow_host_path: let thunks use files of this machine.
        jobs: how many commands run at the same time; None for no limit.
    """

    on_event: Callable[[RunnerEvent], None] = lambda event: None
    secrets: OwnerSecrets = field(default_factory=OwnerSecrets)
    allow_host_path: bool = False
    jobs: int | None = None


@dataclass(eq=False, kw_only=True)
class ThunkDriver(ABC, Generic[GraphT]):
    """Runs thunks. Each method raises DriverError if something fails or isn't supported.

    Progress is sent with backpressure: while the loop doesn't receive it, commands wait. If a method is cancelled, its
    commands and all their child processes have ended when it returns.

    Args:
        slots: limits how many commands run at the same time.
    """

    cache: OutputCache
    options: DriverOptions
    slots: trio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.slots = trio.CapacityLimiter(self.options.jobs or math.inf)

    @property
    @abstractmethod
    def is_contained(self) -> bool:
        """Whether commands have no access to this machine's files, network and other processes."""

    @property
    @abstractmethod
    def engine_name(self) -> str:
        """The program that runs commands, for people."""

    @property
    @abstractmethod
    def uses_images(self) -> bool:
        """Whether commands run in the images that their thunks name."""

    @abstractmethod
    def graph(self, call: CallResources) -> GraphT:
        """Return a new graph for a call."""

    @abstractmethod
    async def resolve(self, ref: pb.ImageRef, context: CallContext) -> pb.Thunk:
        """Return a thunk of the named image, with its current digest."""

    @abstractmethod
    async def export(
        self, thunk: pb.Thunk, context: CallContext, send: Send, send_bytes: SendBytes
    ) -> None:
        """Send an OCI archive of the image that a thunk makes. Raises Unsupported without images."""

    @abstractmethod
    async def publish(
        self, ref: pb.ImageRef, thunk: pb.Thunk, context: CallContext, send: Send
    ) -> pb.ImageRef:
        """Push the image that a thunk makes, and return its name and digest.

        Raises Unsupported without images.
        """

    @asynccontextmanager
    async def running(
        self, thunk: pb.Thunk, context: CallContext, send: Send
    ) -> AsyncGenerator[ThunkOutput]:
        """Run a thunk, after those that it depends on, or find its cached output.

        The output isn't removed before the context ends.
        """
        async with self.with_graph(context, send, lambda graph: graph.output(thunk)) as output:
            yield output

    async def send_artifacts(
        self, thunk: pb.Thunk, output: ThunkOutput, context: CallContext, send: Send
    ) -> None:
        """Send the artifacts that a thunk declares from its output, even if that was cached."""
        patterns = label_texts(thunk, ARTIFACTS_LABEL)
        if patterns and context.artifact_limits is not None:
            granted = await self.options.secrets.grant(context)
            step = StepReporter(send, "", "artifacts", [], granted.mask)
            start = start_of(thunk)
            await send_artifacts(step, output.files, start, patterns, context.artifact_limits)

    async def run(self, thunk: pb.Thunk, context: CallContext, send: Send) -> ThunkOutput:
        """Run a thunk. Its output may be removed at any time afterwards."""
        async with self.running(thunk, context, send) as output:
            return output

    @asynccontextmanager
    async def with_graph(
        self,
        context: CallContext,
        send: Send,
        work: Callable[[GraphT], Awaitable[Result]],
    ) -> AsyncGenerator[Result]:
        """Call `work` with a new graph and yield its result; what it used isn't removed before the exit.

        Tasks that belong to the call, such as services, end before the result is yielded.
        """
        granted = await self.options.secrets.grant(context)
        with self.cache.pinning() as cache:
            with masked_errors(granted.mask):
                async with open_flat_nursery() as nursery:
                    result = await work(self.graph(CallResources(cache, granted, send, nursery)))
                    nursery.cancel_scope.cancel()
            yield result


async def tar_of(output: ThunkOutput, path: pb.FilesystemPath) -> AsyncGenerator[bytes]:
    """Generate a tar stream of a path in an output. Raises OSError if it doesn't exist or leads outside."""
    within = path_rules.inside(path_rules.path_text(path), "the path")
    source = await trio.to_thread.run_sync(file_trees.resolved, output.files, within)
    name = path_rules.as_word(within, directory=False)
    async with aclosing(file_trees.tar(source, name, path_rules.path_filter(path))) as chunks:
        async for chunk in chunks:
            yield chunk
