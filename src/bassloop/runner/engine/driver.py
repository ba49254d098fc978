"""What a runner asks of any driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.cache.outputs import ThunkOutput
    from bassloop.runner.context import CallContext
    from bassloop.runner.engine.progress import Send
    from bassloop.runner.secrets import OwnerSecrets
    from bassloop.wire import bass_pb2 as pb

Give = Callable[[bytes], Awaitable[None]]
"""Takes a piece of what is exported; returns when there is room for the next."""


class Driver(Protocol):
    """Carries thunks out. All of it raises DriverError for what failed, or can't be.

    `send` is awaited with progress; while it waits, so does the work. Cancelled, commands and all their
    children are gone when a method returns.
    """

    async def resolve(self, ref: pb.ImageRef, scope: CallContext) -> pb.Thunk:
        """A thunk of the image of this name, with the digest that it has now."""

    @property
    def secrets(self) -> OwnerSecrets:
        """What thunks may have of the owner's secrets."""

    def running(
        self, thunk: pb.Thunk, scope: CallContext, send: Send
    ) -> AbstractAsyncContextManager[ThunkOutput]:
        """Carry a thunk out, and what it needs before it; an output that is kept is used again.

        While the context lasts, the output is not removed.
        """

    async def export(self, thunk: pb.Thunk, scope: CallContext, send: Send, give: Give) -> None:
        """Give an OCI archive of the image that a thunk makes. Raises Unsupported without images."""

    async def publish(
        self, ref: pb.ImageRef, thunk: pb.Thunk, scope: CallContext, send: Send
    ) -> pb.ImageRef:
        """Push the image that a thunk makes; the name with its digest is returned.

        Raises Unsupported without images.
        """
