"""Contain commands on the host with bubblewrap.

A command sees the system's programs read-only, its work directory, and nothing else. It has its own home, temporary
folder, processes, network and session keyring, no capabilities, a seccomp filter, and resource limits.

What only this process can do for a command is done while bubblewrap waits (`--block-fd`): setting its limits and
connecting its network. Its shell then waits until the network is ready.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING

import trio

from bassloop.runner.engine.execution import Launch
from bassloop.runner.engine.mounts import BindMount, MountSupport
from bassloop.runner.errors import DriverError, RunnerError
from bassloop.runner.host import syscall_filter
from bassloop.runner.host.network import NetworkHelper, find_helpers
from bassloop.runner.host.resource_limits import LimitHolder, find_limit_holder
from bassloop.runner.options import NO_LIMITS, CommandLimits
from bassloop.runner.process import MARKER_VARIABLE, PROBE_PREFIX, is_left_probe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from bassloop.runner.options import NetworkMode

HOME = "/bass/home"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROBE_SECONDS = 60.0
_START = "/bass/start"
_WAIT = f'echo >{_START}/ready; read -r _ <{_START}/go; exec "$@"'
"""A shell script that waits for the network, and then executes the command."""
_RUN_SIZE = 64 << 20
_SHM = "/dev/shm"  # noqa: S108
_SHM_SIZE = 1 << 30

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/run/current-system/sw",
    "/var/lib/dpkg",
)
"""The programs, and Debian's list of them, in which scripts look up whether a package is installed."""

SETTINGS = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki",
    "profile",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "static",
    "terminfo",
    "timezone",
)
"""The parts of `/etc` that programs need. The rest may contain keys and passwords."""
MASKED = ("/proc/keys", "/proc/key-users", "/proc/kcore", "/proc/timer_list", "/proc/sched_debug")
"""Files that disclose the machine's state, and others' keys."""
READ_ONLY = (
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/proc/scsi",
    "/proc/mtrr",
)
"""The machine's settings. Root owns these files even without capabilities, and some kernels don't let bubblewrap
detect that it must protect them: the machine would run a program named in `core_pattern`."""

MOUNT_SUPPORT = MountSupport(
    binds=True,
    reserved=("/bass", "/proc", "/dev"),
    existing_only=SYSTEM,
    moved={
        "/root": HOME,
        "/go": f"{HOME}/go",
        "/usr/local/bundle": f"{HOME}/.gems",
    },
)


WITHOUT_BUBBLEWRAP = (
    "Install bubblewrap, or use --unsandboxed to run the commands of repositories that you trust "
    "as yourself"
)


class SandboxMissing(RunnerError):
    """Commands can't be contained as requested on this machine; the message has the fix."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The sandbox that commands run in.

    Args:
        program: the path of `bwrap`.
        helper: connects a command's own network to the machine's.
        filter: the seccomp filter; None if there is none for this machine's processor.
    """

    program: str
    network: NetworkMode = "own"
    helper: NetworkHelper | None = None
    filter: bytes | None = None
    holder: LimitHolder = field(default_factory=LimitHolder)
    limits: CommandLimits = NO_LIMITS

    @asynccontextmanager
    async def launching(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        binds: Sequence[BindMount],
        cwd: str,
        folder: Path,
        marker: str,
    ) -> AsyncGenerator[Launch]:
        """Yield how to start a contained command.

        Args:
            folder: a folder for files that the start needs.
            marker: the beginning of its processes' marker, see `run_command`.
        """
        async with _Start.open(self, folder, marker) as start:
            options = [*self._options(), *start.options]
            for bind in binds:
                kind = "--ro-bind" if bind.read_only else "--bind"
                options += [kind, str(bind.source), bind.target]
            options += ["--remount-ro", "/", "--chdir", cwd, "--clearenv"]
            # Not in bubblewrap's own environment, since it must not see variables such as LD_PRELOAD.
            for name, value in env.items():
                options += ["--setenv", name, value]
            # In a file in memory, because everybody can read command lines.
            text = "".join(f"{each}\0" for each in options).encode(errors="surrogateescape")
            handle = start.add_file("bubblewrap", text)
            yield Launch(
                words=[
                    *self.holder.words(self.limits),
                    self.program,
                    *("--args", str(handle), "--", *start.words, *words),
                ],
                cwd=folder,
                env=self.holder.variables(),
                inherited=tuple(start.inherited),
                marker=marker,
                alongside=start.complete,
                fresh_keyring=True,
            )

    def _options(self) -> list[str]:
        options = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        options += ["--unshare-cgroup-try", "--cap-drop", "ALL", "--hostname", "thunk"]
        if self.network != "host":
            options.append("--unshare-net")
        for path in SYSTEM:
            if os.path.islink(path):
                options += ["--symlink", os.readlink(path), path]
            elif os.path.exists(path):
                options += ["--ro-bind", path, path]
        for name in SETTINGS:
            options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        options += ["--proc", "/proc", "--dev", "/dev"]
        for path in MASKED:
            if os.path.exists(path):
                options += ["--ro-bind", "/dev/null", path]
        for path in READ_ONLY:
            if os.path.exists(path):
                options += ["--ro-bind", path, path]
        options += ["--perms", "1777", "--size", str(_SHM_SIZE), "--tmpfs", _SHM]
        options += ["--remount-ro", "/dev"]
        return [*options, "--size", str(_RUN_SIZE), "--tmpfs", "/run"]

    def describe(self) -> list[str]:
        """Return a description of the sandbox."""
        texts = ["the system read-only, nothing of yours (bubblewrap)"]
        match self.network:
            case "own" if self.helper is not None:
                texts.append(f"a network of their own, outgoing only ({self.helper.kind})")
            case "none":
                texts.append("no network")
            case _:
                texts.append("THIS MACHINE'S NETWORK, with its own services")
        texts.append("a new session keyring")
        texts.append("a seccomp filter" if self.filter else "NO SECCOMP FILTER for this processor")
        return texts

    async def probe(self, folder: Path) -> str | None:
        """Return None if a command can be contained like this on this machine, or else the reason."""
        output = bytearray()

        async def on_bytes(stream: int, data: bytes) -> None:
            output.extend(data)

        words = ["/bin/sh", "-c", "exit 0"]
        try:
            with trio.fail_after(PROBE_SECONDS):
                starting = self.launching(
                    words, env={"PATH": PATH}, binds=(), cwd="/", folder=folder, marker=""
                )
                async with starting as launch:
                    status = await launch.run(on_bytes)
        except DriverError as error:
            return str(error)
        except (OSError, trio.TooSlowError) as error:
            return str(error) or "it doesn't end"
        text = output.decode(errors="replace").strip()[:300]
        return None if not status else text or f"exit status {status}"


async def find(network: NetworkMode = "own", limits: CommandLimits = NO_LIMITS) -> Sandbox:
    """Return a sandbox that works on this machine. Raises SandboxMissing."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxMissing(
            f"commands can't be contained: bubblewrap is not installed. {WITHOUT_BUBBLEWRAP}"
        )
    sandbox = Sandbox(
        program, "none", None, syscall_filter.program(), await find_limit_holder(), limits
    )
    if (reason := await _probe(sandbox)) is not None:
        raise SandboxMissing(
            f"commands can't be contained: {program} does not work here: {reason}. "
            f"{WITHOUT_BUBBLEWRAP}"
        )
    if network != "own":
        return replace(sandbox, network=network)
    reasons = []
    for helper in find_helpers():
        connected = replace(sandbox, network="own", helper=helper)
        if (reason := await _probe(connected)) is None:
            return connected
        reasons.append(f"{helper.program} does not work here: {reason}")
    raise SandboxMissing(
        "commands can't have a network of their own: "
        f"{'; '.join(reasons) or 'neither slirp4netns nor pasta is installed'}. "
        "Install slirp4netns or passt, or use --no-network or --network host"
    )


async def _probe(sandbox: Sandbox) -> str | None:
    remove_left_probes()
    with TemporaryDirectory(prefix=f"{PROBE_PREFIX}{os.getpid()}-") as folder:
        return await sandbox.probe(Path(folder))


def remove_left_probes() -> None:
    """Remove the folders of this user's processes that were killed while they tried a sandbox."""
    for path in Path(gettempdir()).glob(f"{PROBE_PREFIX}*-*"):
        with suppress(FileNotFoundError):  # another process removes it, too
            is_own = path.lstat().st_uid == os.geteuid()
            if is_own and is_left_probe(path.name):
                shutil.rmtree(path, ignore_errors=True)


@dataclass(eq=False)
class _Start:
    """The start of one contained command: what it inherits, and what is done while it waits.

    Args:
        stack: ends what was begun for the command, after the command.
        options: bubblewrap's options.
        words: the first words of the command.
    """

    sandbox: Sandbox
    folder: Path
    marker: str
    stack: AsyncExitStack
    options: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    inherited: list[int] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(cls, sandbox: Sandbox, folder: Path, marker: str) -> AsyncGenerator[_Start]:
        async with AsyncExitStack() as stack:
            start = cls(sandbox, folder, marker, stack)
            start._prepare()
            yield start

    def _prepare(self) -> None:
        self._info, info = self._pipe()
        blocked, self._release = self._pipe()
        self.inherited += [info, blocked]
        self.options += ["--info-fd", str(info), "--block-fd", str(blocked)]
        if self.sandbox.filter is not None:
            self.options += ["--seccomp", str(self.add_file("seccomp", self.sandbox.filter))]
        helper = self.sandbox.helper
        if helper is not None:
            start = self.folder / "start"
            start.mkdir(mode=0o700)
            self._ready, self._go = self._fifo(start / "ready"), self._fifo(start / "go")
            resolver = self.folder / "resolv.conf"
            resolver.write_text(helper.resolver_settings())
            self.options += ["--bind", str(start), _START]
            self.options += ["--ro-bind", str(resolver), "/etc/resolv.conf"]
            self.words += ["/bin/sh", "-c", _WAIT, "sh"]
        elif self.sandbox.network == "host":
            self.options += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]

    async def complete(self) -> None:
        """Set the command's limits, connect its network, and let it begin. Raises DriverError."""
        child = await self._child()
        try:
            self.stack.enter_context(self.sandbox.holder.holding(child, self.sandbox.limits))
            os.write(self._release, b"\n")
            if self.sandbox.helper is not None:
                await trio.lowlevel.wait_readable(self._ready)
                env = {**os.environ, MARKER_VARIABLE: self.marker}
                await self.stack.enter_async_context(
                    self.sandbox.helper.connecting(child, self.folder, env)
                )
                os.write(self._go, b"\n")
        except OSError as error:
            raise DriverError(f"the command can't be contained: {error.strerror}") from error

    async def _child(self) -> int:
        """Return the process id of bubblewrap's child, which waits."""
        text = b""
        while b"}" not in text:
            await trio.lowlevel.wait_readable(self._info)
            text += os.read(self._info, 4_096)
        return int(json.loads(text)["child-pid"])

    def add_file(self, name: str, content: bytes) -> int:
        """Return the descriptor of a file in memory with this content, which the command's process inherits."""
        handle = os.memfd_create(name)
        self.stack.callback(os.close, handle)
        with open(handle, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(handle, 0, os.SEEK_SET)
        self.inherited.append(handle)
        return handle

    def _pipe(self) -> tuple[int, int]:
        read, write = os.pipe()
        self.stack.callback(os.close, read)
        self.stack.callback(os.close, write)
        return read, write

    def _fifo(self, path: Path) -> int:
        """Create a named pipe and open it for reading and writing, so that opening doesn't block."""
        os.mkfifo(path, 0o600)
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.stack.callback(os.close, handle)
        return handle
