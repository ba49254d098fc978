"""A process that locks itself in as one that evaluates hooks, and then tries to get out. Prints what it could do.

A test starts it as `python -m tests.evaluator.attacker` with the names of those layers that shall be missing:
`no-filter`, `no-namespaces`, `no-landlock`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from bassloop.evaluator import confinement
from bassloop.evaluator.confinement import (
    ProcessLimits,
    SystemCallFilter,
    address_space,
    limit_process,
    lock_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> None:
    """Call the kernel; raises OSError."""
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def ptrace(pid: int) -> None:
    """Attach to a process."""
    if libc.ptrace(16, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def write_file() -> None:
    with open("/tmp/bassloop-attacker", "w") as file:
        file.write("written")


def make_folder() -> None:
    """Make and remove a folder, which takes no descriptor."""
    os.mkdir("/tmp/bassloop-attacker-folder")
    os.rmdir("/tmp/bassloop-attacker-folder")


ATTACKS: dict[str, Callable[[], object]] = {
    "read a file": lambda: open("/etc/passwd").close(),
    "list the root": lambda: os.listdir("/"),
    "write a file": write_file,
    "make a folder": make_folder,
    "look whether a file is there": lambda: os.stat("/etc/passwd"),
    "fork": lambda: os.fork() or os._exit(0),
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "open a socket": lambda: socket.socket(socket.AF_INET).close(),
    "open a Unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "make a pair of sockets": lambda: socket.socketpair(),
    "signal the parent": lambda: os.kill(os.getppid() or 1, 0),
    "signal the first process": lambda: os.kill(1, 0),
    "signal all": lambda: os.kill(-1, signal.SIGCONT),
    "trace the parent": lambda: ptrace(os.getppid() or 1),
    "make a namespace": lambda: (
        os.unshare(0x10000000) if hasattr(os, "unshare") else call(272, 0x10000000)
    ),
    "limit another process": lambda: call(302, 1, 7, None, None),
    "duplicate a descriptor": lambda: os.dup(3),
    "mount": lambda: call(165, b"none", b"/", b"tmpfs", 0, None),
    "use a keyring": lambda: call(250, 0, -3, 1),
    "load a program into the kernel": lambda: call(321, 0, None, 0),
    "measure others": lambda: call(298, None, -1, 0, -1, 0),
    "use io_uring": lambda: call(425, 8, None),
    "be another user": lambda: os.setuid(0),
    "become traceable": lambda: call(157, 4, 1, 0, 0, 0),
}


def not_permitted() -> None:
    raise PermissionError(1, "not here")


def main() -> None:
    """Print the names of those attacks that succeeded, and the descriptors that are left."""
    if "no-filter" in sys.argv:
        confinement._filter = SystemCallFilter("unknown")  # type: ignore[misc]
    if "no-landlock" in sys.argv:
        confinement._restrict_with_landlock = not_permitted
    if "no-namespaces" in sys.argv:
        confinement._enter_namespaces = not_permitted
    base = address_space()
    ours, theirs = socket.socketpair()
    output = os.dup(1)
    lock_in()
    if os.fork() == 0:
        connection = limit_process(ProcessLimits(5, 64 << 20), base, theirs)
        ATTACKS["use a descriptor of the parent's"] = lambda: os.write(output, b"")
        succeeded = []
        for name, attack in ATTACKS.items():
            try:
                attack()
            except OSError:
                continue
            succeeded.append(name)
        connection.sendall(f"succeeded: {succeeded}\n".encode())
        os._exit(0)
    theirs.close()
    os.write(output, ours.recv(4096))
    sys.exit(0)


if __name__ == "__main__":
    main()
