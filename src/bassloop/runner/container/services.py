"""The services of one call: started when a thunk needs them, stopped when the call ends.

They share one network with the thunks that use them. They use no addresses of this machine, and other calls can't
reach them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import trustme

from bassloop.concurrency import open_flat_nursery, shielded
from bassloop.runner.container.container_engine import ContainerEngine, EngineError
from bassloop.runner.container.launcher import LABEL
from bassloop.runner.engine.command import command_line, parse_thunk
from bassloop.runner.engine.execution import describe_exit
from bassloop.runner.engine.graph import describe_os_error
from bassloop.runner.engine.layout import normalized
from bassloop.runner.engine.mounts import BindMount, MountSupport
from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.container.launcher import ContainerLauncher
    from bassloop.runner.engine.execution import Execution, Launch
    from bassloop.wire import bass_pb2 as pb


HOST = "localhost"
"""The host name of services, since they share a network with their users."""
ADDRESSES = (HOST, "127.0.0.1", "::1")
LIFE = timedelta(days=7)
CLOCK_SKEW = timedelta(minutes=10)

BUNDLE = "/bass/certs/bundle.pem"
AUTHORITY = "/bass/certs/ca.pem"
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""The usual paths of the certificates that a system trusts."""
MAX_BUNDLE = 4 << 20
"""The size limit in bytes for an image's bundle. Larger files are ignored."""
TRUST_VARIABLES = {
    "SSL_CERT_FILE": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "NODE_EXTRA_CA_CERTS": AUTHORITY,
}
"""Variables for programs that don't read the system's bundle."""

LISTEN_SECONDS = 300.0
POLL_SECONDS = 0.05
_PROC = Path("/proc")
_LISTENING = "0A"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(.?))", re.DOTALL)

Prepare = Callable[["pb.Thunk"], "AbstractAsyncContextManager[tuple[Execution, ContainerLauncher]]"]
"""Prepares a service's execution."""


class CertificateAuthority:
    """Signs the certificates of one call's services."""

    @cached_property
    def _ca(self) -> trustme.CA:
        return trustme.CA(organization_name="bassloop runner, one call")

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate, in PEM."""
        return self._ca.cert_pem.bytes()

    def mounts_for(self, thunk: pb.Thunk, folder: Path, support: MountSupport) -> list[BindMount]:
        """Return mounts of a service's certificate and key at the paths that it sets. Raises DriverError.

        Args:
            folder: a private folder for the files.
        """
        now = datetime.now(UTC)
        issued = self._ca.issue_cert(*ADDRESSES, not_before=now - CLOCK_SKEW, not_after=now + LIFE)
        certificate = b"".join(each.bytes() for each in issued.cert_chain_pems)
        mounts = []
        for name, path, content in (
            ("cert", thunk.tls.cert.path, certificate),
            ("key", thunk.tls.key.path, issued.private_key_pem.bytes()),
        ):
            what = f"the TLS {name}"
            target = support.target(normalized(path, what), what)
            source = folder / f"tls-{name}"
            source.touch(mode=0o600)
            source.write_bytes(content)
            mounts.append(BindMount(source, target))
        return mounts


async def trust_mounts(
    engine: ContainerEngine, image: str, prefix: str, owner: str, authority: bytes, folder: Path
) -> list[BindMount]:
    """Return mounts of an image's certificate bundles, with one more authority added to each.

    Raises EngineError, OSError.

    Args:
        prefix: the beginning of the names of this runner's containers.
        owner: the value of their label.
    """
    found = await _bundles(engine, image, prefix, owner, folder)
    first = next(iter(found.values()), b"")
    mounts = [
        _mount(folder / "ca.pem", authority, AUTHORITY),
        _mount(folder / "bundle.pem", _with(first, authority), BUNDLE),
    ]
    for number, (path, content) in enumerate(found.items()):
        mounts.append(_mount(folder / f"bundle-{number}.pem", _with(content, authority), path))
    return mounts


def _with(bundle: bytes, authority: bytes) -> bytes:
    return bundle.rstrip(b"\n") + b"\n" + authority if bundle else authority


def _mount(source: Path, content: bytes, target: str) -> BindMount:
    source.write_bytes(content)
    return BindMount(source, target, read_only=True)


async def _bundles(
    engine: ContainerEngine, image: str, prefix: str, owner: str, folder: Path
) -> dict[str, bytes]:
    """Return the certificate bundles in an image, by path."""
    name = f"{prefix}-look-{secrets.token_hex(8)}"
    words = ["create", "--name", name, "--label", f"{LABEL}={owner}", "--pull=never"]
    found = {}
    try:
        await engine.ask(*words, "--entrypoint", "true", image)
        for path in BUNDLES:
            target = folder / f"found-{secrets.token_hex(4)}"
            try:
                await engine.ask("cp", f"{name}:{path}", str(target))
            except EngineError:
                continue
            is_file = target.is_file() and not target.is_symlink()
            if is_file and target.stat().st_size <= MAX_BUNDLE:
                found[path] = target.read_bytes()
    finally:
        await engine.remove_container(name)
    return found


@dataclass(eq=False)
class _Service:
    """A service that a thunk uses.

    Args:
        ready: set when it listens, or has failed.
        ended: whether it ended by itself after it was ready.
    """

    ready: trio.Event = field(default_factory=trio.Event)
    error: str | None = None
    ended: bool = False


@dataclass(eq=False)
class Services:
    """The services of one call, by cache key."""

    engine: ContainerEngine
    prepare: Prepare
    nursery: trio.Nursery
    _services: dict[str, _Service] = field(default_factory=dict)
    _ports: dict[int, str] = field(default_factory=dict)
    _first: str | None = None
    _starting: trio.Lock = field(default_factory=trio.Lock)

    @property
    def network(self) -> str | None:
        """The network that they share; None for the engine's."""
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
        """Run a service until the call ends. Errors are recorded in `service`."""
        error: str | None = None
        try:
            async with self.prepare(thunk) as (execution, launcher):
                await execution.step.start()
                try:
                    error = await self._run(thunk, execution, launcher, service)
                except DriverError as failure:
                    error = str(failure)
                    raise
                finally:
                    if not service.ended:
                        with shielded(1):
                            await execution.step.complete(error)  # without one if it was stopped
        except DriverError as failure:
            error = str(failure)
        except OSError as failure:
            error = f"can't start: {describe_os_error(failure)}"
        if not service.ready.is_set():
            service.error = error
            service.ready.set()

    async def _run(
        self,
        thunk: pb.Thunk,
        execution: Execution,
        launcher: ContainerLauncher,
        service: _Service,
    ) -> str | None:
        """Run the container until the call ends, or return why it couldn't be started.

        If it ends earlier, that is reported, and the container remains, because others may use its network.
        """
        outcome: list[str] = []
        listening, over = trio.CancelScope(), trio.Event()

        async def run(launch: Launch) -> None:
            try:
                status = await execution.watch(replace(launch, grace=0))
                outcome.append(f"ended: {describe_exit(status, contained=True)}")
            except DriverError as error:
                outcome.append(str(error))
            listening.cancel()
            over.set()

        async with AsyncExitStack() as stack:
            async with self._starting:  # the next service joins this one's network
                launcher.network = self.network
                launch = await stack.enter_async_context(execution.prepared())
                self._claim_ports(thunk)
                stack.push_async_callback(launcher.discard)
                nursery = await stack.enter_async_context(open_flat_nursery())
                nursery.start_soon(run, launch)
                with listening:
                    if await self._wait_for_ports(thunk, launcher.name):
                        self._first = self._first or launcher.name
                        service.ready.set()
                    else:
                        wanted = ", ".join(str(port.port) for port in thunk.ports)
                        outcome.append(f"does not listen on {wanted} after {LISTEN_SECONDS:.0f} s")
                        nursery.cancel_scope.cancel()
                        over.set()
            await over.wait()
            if service.ready.is_set():
                service.ended = True
                await execution.step.complete(outcome[0])
                await trio.sleep_forever()
        return outcome[0] if outcome else None

    def _claim_ports(self, thunk: pb.Thunk) -> None:
        """Reserve the service's ports in the shared network. Raises DriverError if another service has one."""
        for port in thunk.ports:
            number = port_of(thunk, port.name)
            if number in self._ports:
                raise DriverError(
                    f"needs the port {number}, which {self._ports[number]} uses: the services of a check "
                    "share one network on this runner"
                )
            self._ports[number] = command_line(thunk)

    async def _wait_for_ports(self, thunk: pb.Thunk, container: str) -> bool:
        """Wait until all of a service's ports have a listener. Return False if that takes too long.

        The kernel has no event for that, so its tables are polled.
        """
        wanted = {port_of(thunk, port.name) for port in thunk.ports}
        pid = 0
        with trio.move_on_after(LISTEN_SECONDS):
            while True:
                try:
                    if not pid:
                        pid = await self._pid(container)
                    if pid and wanted <= await self._listening(pid):
                        return True
                except EngineError:
                    pid = 0  # the container hasn't started yet
                await trio.sleep(POLL_SECONDS)
        return False

    async def _pid(self, container: str) -> int:
        answer = await self.engine.ask("inspect", "--format", "{{.State.Pid}}", container)
        return int(answer.strip() or 0)

    async def _listening(self, pid: int) -> set[int]:
        """Return the ports that have a listener in the network of a process. Raises EngineError if it has ended."""

        def read() -> set[int]:
            tables = [_PROC / str(pid) / "net" / each for each in ("tcp", "tcp6")]
            return listening_ports("".join(each.read_text() for each in tables if each.exists()))

        try:
            return await trio.to_thread.run_sync(read)
        except OSError as error:
            raise EngineError("it has ended") from error


def listening_ports(tables: str) -> set[int]:
    """Return the TCP ports with a listener, according to the text of ``/proc/net/tcp`` and ``tcp6``."""
    found = set()
    for line in tables.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTENING:
            found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def port_of(thunk: pb.Thunk, name: str) -> int:
    """Return the number of a thunk's named port. Raises DriverError."""
    for port in thunk.ports:
        if port.name == name:
            if not 0 < port.port < 1 << 16:
                raise DriverError(f"{port.port} can't be a port number")
            return port.port
    raise DriverError(f"{command_line(thunk)} has no port {name!r}")


def address_text(addr: pb.ThunkAddr) -> str:
    """Return an address in its format, with ``$host`` and ``$port`` filled in. Raises DriverError."""
    known = {"host": HOST, "port": str(port_of(parse_thunk(addr.thunk), addr.port))}

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in known:
            raise DriverError(f"the address {addr.format!r} may contain only $host and $port")
        return known[name]

    return _VARIABLE.sub(value, addr.format)
