"""The services of one call: started when somebody needs them, stopped when the call is over.

They share one network, and so does whoever uses them: no address of this machine is taken, and no other
call reaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.runner.container.addresses import HOST, listening, port_of
from bassloop.runner.container.certificates import CertificateAuthority
from bassloop.runner.container.engine import ContainerEngine, EngineError
from bassloop.runner.container.mounts import check_place
from bassloop.runner.container.spec import WORK, BindMount, check_target
from bassloop.runner.context import command_line
from bassloop.runner.engine import layout
from bassloop.runner.engine.watch import ended
from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.container.spec import ContainerSpec
    from bassloop.runner.container.work import Work
    from bassloop.runner.engine.progress import StepReporter
    from bassloop.wire import bass_pb2 as pb

LISTEN_SECONDS = 300.0
LOOK_SECONDS = 0.05
_PROC = Path("/proc")

Prepare = Callable[["pb.Thunk"], "AbstractAsyncContextManager[tuple[Work, StepReporter]]"]
"""Makes what a service's thunk needs, and the work of running it."""


@dataclass(eq=False)
class _Service:
    """A service that was asked for."""

    ready: trio.Event = field(default_factory=trio.Event)
    error: str | None = None
    ended: bool = False
    """Whether it ended by itself, after it was ready."""


@dataclass(eq=False)
class Services:
    """The services of one call, by key."""

    engine: ContainerEngine
    prepare: Prepare
    nursery: trio.Nursery
    _services: dict[str, _Service] = field(default_factory=dict)
    _ports: dict[int, str] = field(default_factory=dict)
    _first: str | None = None
    _one: trio.Lock = field(default_factory=trio.Lock)
    _authority: CertificateAuthority | None = None

    @property
    def authority(self) -> CertificateAuthority:
        """Who signs their certificates; made when it is needed."""
        if self._authority is None:
            self._authority = CertificateAuthority()
        return self._authority

    @property
    def network(self) -> str | None:
        """The network in which they are; None when there are none."""
        if self._first is None or self.engine.network == "host":
            return None
        return f"container:{self._first}"

    async def start(self, thunk: pb.Thunk, key: str) -> None:
        """Start a service, and wait until it listens on all of its ports. Raises DriverError."""
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = _Service()
            self.nursery.start_soon(self._serve, thunk, service)
        await service.ready.wait()
        if service.error is not None:
            raise DriverError(f"the service {command_line(thunk)} {service.error}")

    async def _serve(self, thunk: pb.Thunk, service: _Service) -> None:
        """Run a service until the call is over, or it ends by itself."""
        error: str | None = None
        try:
            async with self.prepare(thunk) as (work, vertex):
                await vertex.started()
                try:
                    error = await self._run(thunk, work, vertex, service)
                except DriverError as failure:
                    error = str(failure)
                    raise
                finally:
                    if not service.ended:
                        with trio.move_on_after(1, shield=True):
                            await vertex.completed(error)  # without one when it was stopped
        except DriverError as failure:
            error = str(failure)
        except OSError as failure:
            error = f"can't be laid out: {failure.strerror or failure} ({failure.filename})"
        if not service.ready.is_set():
            service.error = error
            service.ready.set()

    async def _run(
        self, thunk: pb.Thunk, work: Work, vertex: StepReporter, service: _Service
    ) -> str | None:
        """Run the container until the call is over. Returns why it could not be started.

        When it ends before, that is told, and it stays: others may be in its network.
        """
        how: list[str] = []
        looking, over = trio.CancelScope(), trio.Event()

        async def run(container: ContainerSpec) -> None:
            try:
                status = await work.run(container, grace=0)
                how.append(f"ended: {ended(status, contained=True)}")
            except DriverError as error:
                how.append(str(error))
            looking.cancel()
            over.set()

        async with AsyncExitStack() as stack:
            async with self._one:  # the next one will be in the network of this one
                work.network = self.network
                container = await stack.enter_async_context(work.laid_out())
                self._claim(thunk)
                stack.push_async_callback(self.engine.try_remove, container.name)
                nursery = await stack.enter_async_context(trio.open_nursery())
                nursery.start_soon(run, container)
                with looking:
                    if await self._listens(thunk, container):
                        self._first = self._first or container.name
                        service.ready.set()
                    else:
                        wanted = ", ".join(str(port.port) for port in thunk.ports)
                        how.append(f"does not listen on {wanted} after {LISTEN_SECONDS:.0f} s")
                        nursery.cancel_scope.cancel()
                        over.set()
            await over.wait()
            if service.ready.is_set():
                service.ended = True
                await vertex.completed(how[0])
                await trio.Event().wait()
        return how[0] if how else None

    def _claim(self, thunk: pb.Thunk) -> None:
        """Take the service's ports in the network that all share. Raises DriverError."""
        for port in thunk.ports:
            number = port_of(thunk, port.name)
            if number in self._ports:
                raise DriverError(
                    f"needs the port {number}, which {self._ports[number]} has: the services of a check "
                    "share one network on this runner"
                )
            self._ports[number] = command_line(thunk)

    async def _listens(self, thunk: pb.Thunk, container: ContainerSpec) -> bool:
        """Wait until something listens on each of a service's ports. Returns whether it does.

        Nobody tells when that is so: it is looked at again and again.
        """
        wanted = {port_of(thunk, port.name) for port in thunk.ports}
        pid = 0
        with trio.move_on_after(LISTEN_SECONDS):
            while True:
                try:
                    if not pid:
                        pid = await self._pid(container.name)
                    if pid and wanted <= await self._listening(pid):
                        return True
                except EngineError:
                    pid = 0  # it is not there yet
                await trio.sleep(LOOK_SECONDS)
        return False

    async def _pid(self, name: str) -> int:
        said = await self.engine.ask("inspect", "--format", "{{.State.Pid}}", name)
        return int(said.strip() or 0)

    async def _listening(self, pid: int) -> set[int]:
        """The ports on which something listens in the network of a process."""

        def read() -> set[int]:
            tables = [_PROC / str(pid) / "net" / each for each in ("tcp", "tcp6")]
            return listening("".join(each.read_text() for each in tables if each.exists()))

        try:
            return await trio.to_thread.run_sync(read)
        except OSError as error:
            raise EngineError("it has ended") from error


def certificates(thunk: pb.Thunk, authority: CertificateAuthority, folder: Path) -> list[BindMount]:
    """The certificate and key that a service asks for, where it wants them. Raises DriverError."""
    issued = authority.issue(HOST, "127.0.0.1", "::1")
    binds = []
    for name, path, content in (
        ("cert", thunk.tls.cert.path, issued.certificate),
        ("key", thunk.tls.key.path, issued.key),
    ):
        clean = layout.clean(path, f"the TLS {name}")
        target = (
            check_target(clean)
            if clean.startswith("/")
            else check_place(f"{WORK}/{layout.inside(clean, 'the TLS file')}")
        )
        source = folder / f"tls-{name}"
        source.touch(mode=0o600)
        source.write_bytes(content)
        binds.append(BindMount(source, target))
    return binds
