"""The host driver: a thunk's command as an ordinary process group in a private folder.

ImageStore are ignored; a chain of thunks works on one folder after the other. A thunk's output is what its
command left in its work directory. Where there is bubblewrap, commands are wrapped in it.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.bass import thunk_sha256
from bassloop.runner.cache.outputs import OutputCache, ThunkOutput
from bassloop.runner.engine import command as commands
from bassloop.runner.engine.graph import Call, hiding
from bassloop.runner.errors import DriverError, Unsupported
from bassloop.runner.host.work import Place, Work
from bassloop.runner.secrets import GrantedSecrets, OwnerSecrets, SecretFiles
from bassloop.runner.secrets.git_credentials import with_credential
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from pathlib import Path

    from bassloop.runner.cache.outputs import CallCache
    from bassloop.runner.context import CallContext
    from bassloop.runner.engine.driver import Give
    from bassloop.runner.engine.progress import Send, StepReporter
    from bassloop.runner.events import RunnerEvent
    from bassloop.runner.host.sandbox import Sandbox


@dataclass(eq=False)
class HostDriver:
    """Carries thunks out on this machine, as this user. Made with :meth:`open`.

    async with HostDriver.open(folder) as driver:
        output = await driver.run(thunk, LOCAL, show)
    """

    cache: OutputCache
    slots: trio.CapacityLimiter
    on_event: Callable[[RunnerEvent], None]
    secrets: OwnerSecrets = field(default_factory=OwnerSecrets)
    allow_host_path: bool = False
    sandbox: Sandbox | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        state_dir: Path,
        *,
        on_event: Callable[[RunnerEvent], None] = lambda event: None,
        secrets: OwnerSecrets | None = None,
        allow_host_path: bool = False,
        sandbox: Sandbox | None = None,
        jobs: int | None = None,
    ) -> AsyncGenerator[HostDriver]:
        """A driver that keeps outputs in `state_dir`. Raises DriverError when it can't.

        Args:
            secrets: what thunks may have, and of which repository.
            sandbox: what commands are wrapped in; nothing when it is None.
            jobs: how many commands run at the same time; as many as are asked for when it is None.
        """
        opened = OutputCache.open(state_dir)
        try:
            cache = await opened.__aenter__()
        except OSError as error:
            raise DriverError(f"outputs can't be kept in {state_dir}: {error.strerror}") from error
        try:
            slots = trio.CapacityLimiter(math.inf if jobs is None else jobs)
            yield cls(cache, slots, on_event, secrets or OwnerSecrets(), allow_host_path, sandbox)
        finally:
            await opened.__aexit__(None, None, None)

    @asynccontextmanager
    async def running(
        self, thunk: pb.Thunk, scope: CallContext, send: Send
    ) -> AsyncGenerator[ThunkOutput]:
        """Carry a thunk out, and what it needs before it; an output that is kept is used again.

        `send` is awaited with progress; while it waits, so do the commands. Cancelled, the commands
        and all their children are gone when this returns. Raises DriverError when a thunk fails. The
        output is not removed while the context lasts.
        """
        granted = await self.secrets.grant(scope)
        with self.cache.holding() as hold:
            with hiding(granted.mask):
                output = await _Call(self, hold, granted, send).output(thunk)
            yield output

    async def run(self, thunk: pb.Thunk, scope: CallContext, send: Send) -> ThunkOutput:
        """The same, for who has no use for the output or knows that it stays."""
        async with self.running(thunk, scope, send) as output:
            return output

    async def resolve(self, ref: pb.ImageRef, scope: CallContext) -> pb.Thunk:
        """Every image's name will do: there are no images here, and they are ignored."""
        return pb.Thunk(image=pb.ThunkImage(ref=ref))

    async def export(self, thunk: pb.Thunk, scope: CallContext, send: Send, give: Give) -> None:
        """Refused: this driver makes no images."""
        raise Unsupported("this runner has no images to export: it uses the host driver")

    async def publish(
        self, ref: pb.ImageRef, thunk: pb.Thunk, scope: CallContext, send: Send
    ) -> pb.ImageRef:
        """Refused: this driver makes no images."""
        raise Unsupported("this runner has no images to publish: it uses the host driver")


class _Call(Call):
    """What one call asks of this driver."""

    def __init__(
        self, driver: HostDriver, hold: CallCache, granted: GrantedSecrets, send: Send
    ) -> None:
        super().__init__(driver.cache, hold, granted, send, driver.on_event)
        self._driver = driver
        self._keys: dict[str, str] = {}

    async def key(self, thunk: pb.Thunk) -> str:
        """Its message, the versions of the secrets that it names, and the keys of what it needs."""
        sha = thunk_sha256(thunk)
        if sha not in self._keys:
            command = self.resolve(thunk)
            versions = sorted(map(self.granted.version, command.secrets))
            needed = [await self.key(each) for each in self.needs(command, thunk)]
            self._keys[sha] = self.scope.own("\n".join([sha, *versions, *needed]))
        return self._keys[sha]

    def resolve(self, thunk: pb.Thunk) -> commands.Command:
        command = commands.resolve(thunk, environment=_Surroundings(self.granted))
        return with_credential(command, self.granted.credential)

    def needs(self, command: commands.Command, thunk: pb.Thunk) -> Iterable[pb.Thunk]:
        return commands.needs(command, thunk)

    async def after(self, output: ThunkOutput, name: str) -> None:
        """Nothing is left but the output."""

    async def carry_out(
        self, thunk: pb.Thunk, command: commands.Command, output: ThunkOutput, vertex: StepReporter
    ) -> None:
        _refuse_what_needs_a_container(thunk)
        base = commands.base_of(thunk)
        kept_base = None if base is None else await self.kept(base)
        driver = self._driver
        place = Place(
            cache=driver.cache,
            scope=self.scope,
            kept=self.kept,
            slots=driver.slots,
            sandbox=driver.sandbox,
            allow_host_path=driver.allow_host_path,
        )
        with self._revealed(command) as revealed:
            await Work(place, command, output, vertex, kept_base, revealed).carry_out()

    def _revealed(self, command: commands.Command) -> AbstractContextManager[SecretFiles | None]:
        """A place for files with secrets, if there are to be any."""
        kinds = {mount.source.WhichOneof("source") for mount in command.mounts}
        if "secret" not in kinds:
            return nullcontext()
        return SecretFiles.open(self.granted, self.cache.memory)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What this driver has beside files: secrets, and no services."""

    granted: GrantedSecrets
    root: str | None = None

    def address(self, addr: pb.ThunkAddr) -> str:
        raise DriverError("this thunk needs a service, which the host driver can't start")

    def secret(self, name: str) -> str:
        return self.granted.value(name)


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
