"""bubblewrap around a command: it sees the system's programs, its work directory, and nothing else.

The system is read-only, the home and temporary folders are the command's own, processes are in a
namespace of their own, and no right is left that a user namespace could give. The network is the
machine's unless it is taken away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

WORK = "/bass/work"
HOME = "/bass/home"
CACHES = "/bass/caches"
SECRETS = "/bass/secrets"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
)
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
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "static",
    "terminfo",
    "timezone",
)
"""Of `/etc`, what programs need; the rest may have keys and passwords in it."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How commands are wrapped.

    Args:
        program: the path of `bwrap`.
        network: whether commands reach the network, and with it the machine's own services.
    """

    program: str
    network: bool = True

    @contextmanager
    def wrapping(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        work: Path,
        home: Path,
        cwd: str,
        binds: Sequence[tuple[Path, str]] = (),
    ) -> Iterator[tuple[list[str], int]]:
        """The whole command line, and a file that it must inherit. `binds` are put at absolute paths.

        Variables are set inside only: one such as LD_PRELOAD would else be bubblewrap's own. What is
        told to bubblewrap is in that file, in memory, as a command line is seen by everybody.
        """
        options = [*self._system(), "--bind", str(work), WORK, "--bind", str(home), HOME]
        for source, target in binds:
            options += ["--bind", str(source), target]
        options += ["--chdir", cwd, "--clearenv"]
        for name, value in env.items():
            options += ["--setenv", name, value]
        told = "".join(f"{each}\0" for each in options).encode(errors="surrogateescape")
        handle = os.memfd_create("bubblewrap")
        try:
            with open(handle, "wb", closefd=False) as file:
                file.write(told)
            os.lseek(handle, 0, os.SEEK_SET)
            yield [self.program, "--args", str(handle), "--", *words], handle
        finally:
            os.close(handle)

    def _system(self) -> list[str]:
        options = ["--unshare-user", "--unshare-pid", "--unshare-ipc"]
        options += ["--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
        options += ["--hostname", "thunk"]
        if not self.network:
            options.append("--unshare-net")
        for path in SYSTEM:
            if os.path.islink(path):
                options += ["--symlink", os.readlink(path), path]
            elif os.path.exists(path):
                options += ["--ro-bind", path, path]
        for name in SETTINGS:
            options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        return [*options, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108


def program() -> str | None:
    """The path of `bwrap`; None when it is not installed."""
    return shutil.which("bwrap")


async def find(*, network: bool = True) -> Sandbox | str:
    """A sandbox that was tried and works here, or why there is none."""
    path = program()
    if path is None:
        return "bubblewrap is not installed (its program is bwrap)"
    sandbox = Sandbox(path, network)
    command = [*sandbox._system(), "--", "/bin/sh", "-c", "exit 0"]
    try:
        with trio.fail_after(10):
            done = await trio.run_process(
                [path, *command], capture_stdout=True, stderr=subprocess.STDOUT, check=False
            )
    except (OSError, trio.TooSlowError) as error:
        return f"{path} does not work here: {error or 'it does not end'}"
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()[:300]
        return f"{path} does not work here: {said or f'exit status {done.returncode}'}"
    return sandbox
