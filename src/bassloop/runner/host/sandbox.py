"""bubblewrap around a command: it sees the system's programs, its work directory, and nothing else.

The system is read-only, the home and temporary folders are the command's own, processes are in a
namespace of their own, and no capability is left that a user namespace could give.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from bassloop.runner.engine.mounts import MountSupport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bassloop.runner.engine.mounts import BindMount

HOME = "/bass/home"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROBE_SECONDS = 10.0

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
"""What programs need of `/etc`; the rest may have keys and passwords in it."""


MOUNT_SUPPORT = MountSupport(binds=True, reserved=("/bass", "/proc", "/dev"), needs_place=SYSTEM)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How commands are contained.

    Args:
        program: the path of `bwrap`.
        network: let commands reach the network, and with it the machine's own services.
    """

    program: str
    network: bool = True

    @contextmanager
    def wrapping(
        self, words: Sequence[str], *, env: Mapping[str, str], binds: Sequence[BindMount], cwd: str
    ) -> Iterator[tuple[list[str], int]]:
        """Give the command line of a contained command, and a file that it must inherit.

        The file, in memory, has bubblewrap's options, as everybody can read command lines. Variables are
        set inside only: bubblewrap itself must not see one such as LD_PRELOAD.
        """
        options = self._options()
        for bind in binds:
            kind = "--ro-bind" if bind.read_only else "--bind"
            options += [kind, str(bind.source), bind.target]
        options += ["--chdir", cwd, "--clearenv"]
        for name, value in env.items():
            options += ["--setenv", name, value]
        text = "".join(f"{each}\0" for each in options).encode(errors="surrogateescape")
        handle = os.memfd_create("bubblewrap")
        try:
            with open(handle, "wb", closefd=False) as file:
                file.write(text)
            os.lseek(handle, 0, os.SEEK_SET)
            yield [self.program, "--args", str(handle), "--", *words], handle
        finally:
            os.close(handle)

    def _options(self) -> list[str]:
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

    async def probe(self) -> str | None:
        """Return why the sandbox doesn't work on this machine, or None if it does."""
        words = [self.program, *self._options(), "--", "/bin/sh", "-c", "exit 0"]
        try:
            with trio.fail_after(PROBE_SECONDS):
                done = await trio.run_process(
                    words, capture_stdout=True, stderr=subprocess.STDOUT, check=False
                )
        except (OSError, trio.TooSlowError) as error:
            return str(error) or "it does not end"
        output = done.stdout.decode(errors="replace").strip()[:300]
        return None if not done.returncode else output or f"exit status {done.returncode}"


async def find(*, network: bool = True) -> Sandbox | str:
    """Return a sandbox that works on this machine, or why there is none."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed (its program is bwrap)"
    sandbox = Sandbox(program, network)
    reason = await sandbox.probe()
    return sandbox if reason is None else f"{program} does not work here: {reason}"
