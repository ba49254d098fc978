"""The services of one call: started when a thunk needs them, stopped when the call ends.

They share one network with the thunks that use them. They use no addresses of this machine, and other calls can't
reach them.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Collection, Sequence
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
from bassloop.runner.engine.command import command_line, image_of, parse_thunk
from bassloop.runner.engine.execution import describe_exit
from bassloop.runner.engine.graph import describe_os_error
from bassloop.runner.engine.mounts import BindMount, MountSupport
from bassloop.runner.engine.path_rules import normalized, printable
from bassloop.runner.engine.step_progress import step_id
from bassloop.runner.errors import DriverError, ServiceFailed
from bassloop.wire.conventions import SERVICE_LABEL, label_texts

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
"""The maximum time in seconds until a service listens. A check's own time limit shortens it."""
MAX_MARGIN = 10.0
"""The maximum time in seconds between giving up and a check's time limit. It leaves time to report why."""
LAST_LINES = 3
MAX_LINE = 200
"""How many of a log's last lines are part of an error, and how many characters of each."""
MAX_NAME = 100
MAX_PORTS = 5
"""How many other ports an error names."""
POLL_SECONDS = 0.05
_PROC = Path("/proc")
_LISTENING = "0A"
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
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
    """The services of one call, by cache key. Made when the call begins.

    Args:
        time_limit: the call's time limit in seconds, if there is one.
    """

    engine: ContainerEngine
    prepare: Prepare
    nursery: trio.Nursery
    time_limit: float | None = None
    _began: float = field(default_factory=trio.current_time)
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
        """Start a service, and wait until it listens on all of its ports. Raises ServiceFailed."""
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = _Service()
            self.nursery.start_soon(self._serve, thunk, service)
        await service.ready.wait()
        if service.error is not None:
            raise ServiceFailed(f"the service {service_name(thunk)} {service.error}", step_id(key))

    async def _serve(self, thunk: pb.Thunk, service: _Service) -> None:
        """Run a service until the call ends. Errors are recorded in `service`."""
        error: str | None = None
        try:
            async with self.prepare(thunk) as (execution, launcher):
                await execution.step.start()
                try:
                    error = await self._run(thunk, execution, launcher, service)
                except DriverError as failure:
                    error = f"can't start: {failure}"
                    raise
                finally:
                    if not service.ended:
                        with shielded(1):
                            await execution.step.complete(error)  # without one if it was stopped
        except DriverError as failure:
            error = f"can't start: {failure}"
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
        """Run the container until the call ends, or return why it doesn't listen.

        If it ends earlier, that is reported, and the container remains, because others may use its network.
        """
        outcome: list[str] = []
        listening, over = trio.CancelScope(), trio.Event()

        async def run(launch: Launch) -> None:
            try:
                status = await execution.run_process(replace(launch, grace=0))
                how = describe_exit(status, contained=True)
                if service.ready.is_set():
                    outcome.append(f"ended: {how}")
                else:
                    outcome.append(
                        f"ended before it listened on {ports_text(thunk)}: {how}"
                        + (" (it has to stay in the foreground)" if status == 0 else "")
                        + log_text(execution.step.log_end)
                    )
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
                    problem = await self._wait_for_ports(thunk, launcher.name)
                    if problem is None:
                        self._first = self._first or launcher.name
                        service.ready.set()
                    else:
                        outcome.append(problem + log_text(execution.step.log_end))
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

    async def _wait_for_ports(self, thunk: pb.Thunk, container: str) -> str | None:
        """Wait until all of a service's ports have a listener. If that takes too long, return what is the matter.

        The kernel has no event for that, so its tables are polled.
        """
        wanted = {port_of(thunk, port.name) for port in thunk.ports}
        pid, open_ports = 0, set[int]()
        began = trio.current_time()
        with trio.move_on_at(min(began + LISTEN_SECONDS, self._give_up_at())):
            while True:
                try:
                    if not pid:
                        pid = await self._pid(container)
                    if pid:
                        open_ports = await self._listening(pid)
                        if wanted <= open_ports:
                            return None
                except EngineError:
                    pid = 0  # the container hasn't started yet
                await trio.sleep(POLL_SECONDS)
        took = trio.current_time() - began
        problem = f"didn't listen on {ports_text(thunk, wanted - open_ports)} within {took:.0f} s"
        if took < LISTEN_SECONDS and self.time_limit is not None:
            problem += f" (the check's time limit is {self.time_limit:g} s)"
        if not pid:
            return f"{problem}, because its container hasn't started"
        others = [] if self.engine.network == "host" else sorted(open_ports - self._ports.keys())
        if others:
            problem += f", but on {_enumerate(others[:MAX_PORTS])}"
        return f"{problem}. Its process was still running"

    def _give_up_at(self) -> float:
        """Return the time at which to report a service that doesn't listen yet: before the call is cancelled."""
        if self.time_limit is None:
            return math.inf
        return self._began + self.time_limit - min(self.time_limit / 5, MAX_MARGIN)

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


def service_name(thunk: pb.Thunk) -> str:
    """Return a service's name, from its label, and its image; without a label, its command."""
    label = label_texts(thunk, SERVICE_LABEL)
    ref = image_of(thunk).ref
    image = f"{ref.repository}:{ref.tag}" if ref.tag else ref.repository
    name = printable(label[0] if label else command_line(thunk))
    name = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
    return f"{name} ({printable(image)})" if image else name


def ports_text(thunk: pb.Thunk, numbers: Collection[int] | None = None) -> str:
    """Return a service's ports, or those with certain numbers, with the names that say more than ``port``."""
    texts = [
        f"{each.port} ({each.name})" if each.name != "port" else str(each.port)
        for each in thunk.ports
        if numbers is None or each.port in numbers
    ]
    return _enumerate(texts)


def _enumerate(ports: Sequence[int | str]) -> str:
    return f"port {ports[0]}" if len(ports) == 1 else f"ports {', '.join(map(str, ports))}"


def log_text(end: bytes) -> str:
    """Return the last lines of a log for an error, each on a line of its own, given the log's last bytes."""
    text = _ESCAPE.sub("", end.decode(errors="replace")).replace("\t", " ")
    cleaned = ("".join(filter(str.isprintable, line)) for line in re.split(r"[\r\n]+", text))
    lines = [line.strip() for line in cleaned if line.strip()]
    if not lines:
        return ". Its log is empty"
    shown = [line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…" for line in lines]
    return ". Its log ends with:\n" + "\n".join(shown[-LAST_LINES:])


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
