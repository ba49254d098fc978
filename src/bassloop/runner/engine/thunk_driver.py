"""The interface of a driver, which runs thunks on the host or in containers, for the runner's service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from bassloop.concurrency import open_flat_nursery
from bassloop.runner import file_trees
from bassloop.runner.engine import layout
from bassloop.runner.engine.graph import CallResources, ThunkGraph, masked_errors
from bassloop.runner.engine.sent_files import artifact_patterns, send_artifacts, start_of
from bassloop.runner.engine.step_progress import StepReporter
from bassloop.runner.secrets import OwnerSecrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.runner.call_context import CallContext
    from bassloop.runner.engine.step_progress import Send
    from bassloop.runner.output_cache import OutputCache, ThunkOutput
    from bassloop.runner.runner_events import RunnerEvent
    from bassloop.wire import bass_pb2 as pb

Give = Callable[[bytes], Awaitable[None]]
"""Takes a piece of what is exported; returns when there is room for the next one."""

GraphT = TypeVar("GraphT", bound=ThunkGraph)
Result = TypeVar("Result")


@dataclass(eq=False, kw_only=True)
class ThunkDriver(ABC, Generic[GraphT]):
    """Runs thunks. Everything here raises DriverError for what failed, or can't be done.

    Progress is awaited: while the loop takes none, commands wait. Cancelled, commands and all their
    children are gone when a method returns.

    Args:
        slots: bounds how many commands run at the same time.
        secrets: the owner's secrets.
        allow_host_path: let thunks name files of this machine.
    """

    cache: OutputCache
    slots: trio.CapacityLimiter
    on_event: Callable[[RunnerEvent], None]
    secrets: OwnerSecrets = field(default_factory=OwnerSecrets)
    allow_host_path: bool = False

    @property
    @abstractmethod
    def is_contained(self) -> bool:
        """True if commands are kept from this machine's files, network and other processes."""

    @property
    @abstractmethod
    def engine_name(self) -> str:
        """The program that runs commands, in a few words."""

    @property
    @abstractmethod
    def uses_images(self) -> bool:
        """True if commands run in the images that thunks name."""

    @abstractmethod
    def graph(self, call: CallResources) -> GraphT:
        """Return the thunks of a call, none so far."""

    @abstractmethod
    async def resolve(self, ref: pb.ImageRef, context: CallContext) -> pb.Thunk:
        """Return a thunk of the image of this name, with the digest that it has now."""

    @abstractmethod
    async def export(self, thunk: pb.Thunk, context: CallContext, send: Send, give: Give) -> None:
        """Give an OCI archive of the image that a thunk makes. Raises Unsupported without images."""

    @abstractmethod
    async def publish(
        self, ref: pb.ImageRef, thunk: pb.Thunk, context: CallContext, send: Send
    ) -> pb.ImageRef:
        """Push the image that a thunk makes, and return its name with its digest.

        Raises Unsupported without images.
        """

    @asynccontextmanager
    async def running(
        self, thunk: pb.Thunk, context: CallContext, send: Send
    ) -> AsyncGenerator[ThunkOutput]:
        """Run a thunk, after those that it needs, or find its cached output.

        The output isn't removed while the context lasts.
        """
        async with self.calling(context, send, lambda graph: graph.output(thunk)) as output:
            yield output

    async def send_artifacts(
        self, thunk: pb.Thunk, output: ThunkOutput, context: CallContext, send: Send
    ) -> None:
        """Send the artifacts that a thunk names in its output, also if that was cached."""
        patterns = artifact_patterns(thunk)
        if patterns and context.artifact_limits is not None:
            granted = await self.secrets.grant(context)
            step = StepReporter(send, "", "artifacts", [], granted.mask)
            start = start_of(thunk)
            await send_artifacts(step, output.files, start, patterns, context.artifact_limits)

    async def run(self, thunk: pb.Thunk, context: CallContext, send: Send) -> ThunkOutput:
        """Run a thunk; its output may be removed at any time afterwards."""
        async with self.running(thunk, context, send) as output:
            return output

    @asynccontextmanager
    async def calling(
        self,
        context: CallContext,
        send: Send,
        work: Callable[[GraphT], Awaitable[Result]],
    ) -> AsyncGenerator[Result]:
        """Do the work of a call and give its result; what it used stays until the exit.

        What lives as long as the call, such as services, ends before the result is given.
        """
        granted = await self.secrets.grant(context)
        with self.cache.pinning() as cache:
            with masked_errors(granted.mask):
                async with open_flat_nursery() as nursery:
                    result = await work(self.graph(CallResources(cache, granted, send, nursery)))
                    nursery.cancel_scope.cancel()
            yield result


async def tar_of(output: ThunkOutput, path: pb.FilesystemPath) -> AsyncGenerator[bytes]:
    """Generate a tar stream of a path in an output. Raises OSError if it isn't there, or leads out."""
    within = layout.inside(layout.path_text(path), "the path")
    source = await trio.to_thread.run_sync(file_trees.resolved, output.files, within)
    name = layout.as_word(within, directory=False)
    async with aclosing(file_trees.tar(source, name, layout.path_filter(path))) as chunks:
        async for chunk in chunks:
            yield chunk
