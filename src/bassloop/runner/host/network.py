"""Connect a contained command's own network to the machine's, for outgoing connections only.

slirp4netns or pasta does that. The machine's loopback addresses and abstract Unix sockets can't be reached from such a
network. Names are resolved as on the machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import trio

from bassloop.concurrency import shielded
from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from typing import IO

READY_SECONDS = 30.0
STOP_SECONDS = 5.0
RESOLVER = Path("/etc/resolv.conf")
_NS_GET_USERNS = 0xB701  # linux/nsfs.h
_INTERFACE = "tap0"


@dataclass(frozen=True, slots=True)
class NetworkHelper:
    """A program that connects a network namespace."""

    program: str
    kind: Literal["slirp4netns", "pasta"]

    @property
    def nameserver(self) -> str:
        """The address at which it answers DNS queries like the machine's resolver."""
        return "10.0.2.3" if self.kind == "slirp4netns" else "169.254.1.1"

    def resolver_settings(self) -> str:
        """Return the content of `/etc/resolv.conf` in the namespace."""
        lines = RESOLVER.read_text().splitlines() if RESOLVER.exists() else []
        kept = [line for line in lines if line.split()[:1] != ["nameserver"]]
        return "\n".join([f"nameserver {self.nameserver}", *kept, ""])

    @asynccontextmanager
    async def connecting(
        self, child: int, folder: Path, env: Mapping[str, str]
    ) -> AsyncGenerator[None]:
        """Connect the network of a process until the exit. Raises DriverError if that fails.

        Args:
            child: a process in the namespace.
            folder: a folder for the helper's files.
            env: the helper's environment.
        """
        with ExitStack() as stack:
            network = stack.enter_context(_opened(f"/proc/{child}/ns/net"))
            owner = fcntl.ioctl(network, _NS_GET_USERNS)
            stack.callback(os.close, owner)
            errors = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            words, inherited, ready = self._command(child, network, owner, folder, stack)
            process = await trio.lowlevel.open_process(
                words,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=dict(env),
                start_new_session=True,
                pass_fds=inherited,
            )
            try:
                await self._wait_until_ready(process, ready, errors)
                yield
            finally:
                with shielded(STOP_SECONDS):
                    process.kill()  # it has nothing to clean up
                    await process.wait()

    def _command(
        self, child: int, network: int, owner: int, folder: Path, stack: ExitStack
    ) -> tuple[list[str], tuple[int, ...], int]:
        """Return the command line, the descriptors that it inherits, and one that becomes readable when it's ready."""
        own_files = f"/proc/{os.getpid()}/fd"
        if self.kind == "slirp4netns":
            ready, is_ready = os.pipe()
            exiting, is_running = os.pipe()  # it ends when the other end is closed, even by a crash
            for handle in (ready, is_ready, exiting, is_running):
                stack.callback(os.close, handle)
            words = [self.program, "--configure", "--mtu=65520", "--disable-host-loopback"]
            words += [f"--ready-fd={is_ready}", f"--exit-fd={exiting}", "--netns-type=path"]
            if os.getuid():
                words.append(f"--userns-path={own_files}/{owner}")
            return [*words, f"{own_files}/{network}", _INTERFACE], (is_ready, exiting), ready
        fifo = folder / "pasta.pid"
        os.mkfifo(fifo, 0o600)
        ready = stack.enter_context(_opened(str(fifo), os.O_RDWR | os.O_NONBLOCK))
        words = [self.program, "--foreground", "--quiet", "--config-net", "--no-map-gw"]
        words += ["-t", "none", "-u", "none", "-T", "none", "-U", "none"]
        words += ["--dns-forward", self.nameserver, "--pid", str(fifo)]
        if os.getuid():
            words += ["--userns", f"{own_files}/{owner}"]
        else:
            words += ["--runas", "0:0", "--userns", f"/proc/{child}/ns/user"]
        return [*words, "--netns", f"/proc/{child}/ns/net"], (), ready

    async def _wait_until_ready(self, process: trio.Process, ready: int, errors: IO[bytes]) -> None:
        async def fail() -> None:
            await process.wait()
            scope.cancel()

        with trio.move_on_after(READY_SECONDS) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                await trio.lowlevel.wait_readable(ready)
                if os.read(ready, 64):
                    nursery.cancel_scope.cancel()
                    return
                await trio.sleep_forever()  # it has closed its end, and is about to exit
        errors.seek(0)
        lines = errors.read().decode(errors="replace").split("\n")
        text = next((line for line in reversed(lines) if line.strip()), "it doesn't get ready")
        raise DriverError(f"{self.program} can't connect a command to the network: {text[:300]}")


def find_helpers() -> list[NetworkHelper]:
    """Return the helpers that are installed, the faster one first."""
    kinds: tuple[Literal["slirp4netns", "pasta"], ...] = ("slirp4netns", "pasta")
    found = ((kind, shutil.which(kind)) for kind in kinds)
    return [NetworkHelper(program, kind) for kind, program in found if program is not None]


@contextmanager
def _opened(path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
