"""Confines a process that evaluates hooks, with what the system offers for that.

The fork server locks itself in once (:func:`lock_in`), after it has imported what it needs, and its processes
inherit that. Each of them then takes its own limits (:func:`limit_process`). On Linux that is namespaces of its
own with an empty root, Landlock, and a filter of system calls, whichever are allowed; the limits are everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import resource
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bassloop import bpf
from bassloop.bpf import instruction

if TYPE_CHECKING:
    from collections.abc import Callable


NOBODY: Final = 65534
_RESERVE: Final = 32 << 20
"""Extra bytes for a process that has reached its memory limit, to report that."""

_SOCKET: Final = 3
"""The descriptor of a process's socket."""

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x4000, 0x40000, 0x2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION: Final = 0x20080522
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_RESTRICT_SELF = 444, 446
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}

ON_LINUX: Final = sys.platform == "linux"

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Machine(NamedTuple):
    """An architecture: the kernel's name for it, and the numbers of the allowed system calls.

    `prlimit` is allowed for the calling process only.
    """

    audit: int
    allowed: frozenset[int]
    prlimit: int


_X86_64: Final = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24,
    "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvfrom": 45, "exit": 60,
    "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "getppid": 110, "sigaltstack": 131,
    "setrlimit": 160, "gettid": 186, "time": 201, "futex": 202, "restart_syscall": 219,
    "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "ppoll": 271, "getrandom": 318,
    "rseq": 334,
}  # fmt: skip
_AARCH64: Final = {
    "close": 57, "lseek": 62, "read": 63, "write": 64, "ppoll": 73, "fstat": 80, "exit": 93,
    "exit_group": 94, "futex": 98, "nanosleep": 101, "clock_gettime": 113, "clock_nanosleep": 115,
    "sched_yield": 124, "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrlimit": 163, "setrlimit": 164, "getrusage": 165,
    "gettimeofday": 169, "getpid": 172, "getppid": 173, "gettid": 178, "sendto": 206, "recvfrom": 207,
    "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233,
    "getrandom": 278, "rseq": 293,
}  # fmt: skip
_MACHINES: Final = {
    "x86_64": _Machine(bpf.AUDIT_X86_64, frozenset(_X86_64.values()), 302),
    "aarch64": _Machine(bpf.AUDIT_AARCH64, frozenset(_AARCH64.values()), 261),
}

_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def make_filter(machine: str) -> bytes | None:
    """Return the filter's program for an architecture, or None if its numbers aren't known."""
    known = _MACHINES.get(machine)
    if known is None:
        return None
    allowed = sorted(known.allowed)
    allow = instruction(bpf.RETURN, bpf.ALLOW)
    refuse = instruction(bpf.RETURN, bpf.ERRNO | errno.EPERM)
    code = [
        instruction(bpf.LOAD, bpf.ABI),
        instruction(bpf.EQUAL, known.audit, if_true=1),
        instruction(bpf.RETURN, bpf.KILL),
        instruction(bpf.LOAD, bpf.NUMBER),
        instruction(bpf.EQUAL, known.prlimit, if_false=4),
        instruction(bpf.LOAD, bpf.ARGUMENT_0),
        instruction(bpf.EQUAL, 0, if_false=1),
        allow,
        refuse,
    ]
    for index, number in enumerate(allowed):
        code.append(instruction(bpf.EQUAL, number, if_true=len(allowed) - index))
    return b"".join([*code, refuse, allow])


class SystemCallFilter:
    """A system call filter, prepared before it is needed, for this machine's architecture."""

    def __init__(self, machine: str = platform.machine()) -> None:
        self._code = make_filter(machine)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def install(self) -> bool:
        """Install the filter in this process, and return whether that was possible here.

        It needs PR_SET_NO_NEW_PRIVS, and can't be undone.
        """
        if self._code is None:
            return False
        program = _Program(len(self._code) // bpf.INSTRUCTION_SIZE, self._code)
        result: int = self._libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))
        return result == 0


_filter: Final = SystemCallFilter()


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The limits of a process.

    Args:
        cpu_seconds: processor time.
        memory: bytes of address space beyond those of the fork server.
    """

    cpu_seconds: float
    memory: int


class Confinement:
    """The confinement that is in effect on this machine.

    Attributes:
        layers: the mechanisms in effect.
        missing: the mechanisms that aren't available, and why.
    """

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.missing: list[str] = []

    def note(self, layer: str, error: OSError | None) -> bool:
        """Note whether a layer is in effect, and return that."""
        if error is None:
            self.layers.append(layer)
        else:
            self.missing.append(f"{layer} ({error.strerror})")
        return error is None


def lock_in() -> Confinement:
    """Confine this process and its children, irrevocably. It must have a single thread.

    Where PID namespaces are available, this returns in a new process; the original one waits for it, and exits
    with its status.
    """
    found = Confinement()
    if not ON_LINUX:
        found.missing.append("namespaces, Landlock, seccomp (Linux only)")
        return found
    _die_first_when_memory_runs_out()
    if os.geteuid() == 0:
        found.note("another user", _attempt(_become_nobody))
    if found.note("namespaces", _attempt(_enter_namespaces)):
        _fork_as_first_process()
        found.note("empty root", _attempt(_enter_empty_root))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    found.note("Landlock", _attempt(_restrict_with_landlock))
    _drop_capabilities()
    _prctl(_PR_SET_DUMPABLE, 0)  # no other process of this user can trace it
    return found


def address_space() -> int:
    """Return the size of this process's address space in bytes, or 0 if that isn't known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 0
    return pages * resource.getpagesize()


def limit_process(limits: ProcessLimits, base: int, connection: socket.socket) -> socket.socket:
    """Set a forked process's limits, and return its socket, the only descriptor that it keeps.

    Args:
        base: the address space of the fork server, in bytes.
    """
    if ON_LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if connection.fileno() != _SOCKET:
        os.dup2(connection.fileno(), _SOCKET)
    connection.detach()
    os.closerange(_SOCKET + 1, 1 << 16)
    cpu = math.ceil(limits.cpu_seconds)
    memory = base + limits.memory
    for limit, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, memory, memory + _RESERVE),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, _SOCKET + 1, _SOCKET + 1),
        (resource.RLIMIT_NPROC, 0, 0),
    ):
        try:
            resource.setrlimit(limit, (soft, hard))
        except (OSError, ValueError):
            # A system without this limit, such as macOS for RLIMIT_AS; or a lower one is set already.
            continue
    made = socket.socket(fileno=_SOCKET)
    _filter.install()
    return made


def probe(found: Confinement, limits: ProcessLimits, base: int) -> None:
    """Test the confinement: try, in a process with limits, what no script may do, and note what isn't prevented."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        connection = limit_process(limits, base, theirs)
        open_to_us = [name for name, attack in _ATTACKS.items() if _attempt(attack) is None]
        connection.sendall(" ".join(open_to_us).encode() + b".")
        os._exit(0)
    theirs.close()
    answer = ours.recv(1024).decode()
    os.waitpid(pid, 0)
    ours.close()
    for name in _ATTACKS:
        problem = (
            "not prevented" if name in answer else "" if answer.endswith(".") else "not tested"
        )
        found.note(f"no {name}", OSError(0, problem) if problem else None)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _connect() -> None:
    try:
        with socket.socket() as connection:
            connection.connect(("127.0.0.1", 9))
    except ConnectionRefusedError:
        return  # it was asked


_ATTACKS: Final[dict[str, Callable[[], object]]] = {
    "files": lambda: os.stat("/etc"),
    "network": _connect,
    "processes": _fork,
    "signals": lambda: os.kill(os.getppid(), 0),
}


def use_reserve() -> None:
    """Raise this process's memory limit a little, so that it can report having reached it."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


# --- inside ---


def _attempt(step: Callable[[], object]) -> OSError | None:
    try:
        step()
    except OSError as error:
        return error
    return None


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, value: int) -> None:
    _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _die_first_when_memory_runs_out() -> None:
    _attempt(lambda: Path("/proc/self/oom_score_adj").write_text("1000"))


def _become_nobody() -> None:
    """Become a user that owns nothing, and whose processes can be limited."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _prctl(_PR_SET_DUMPABLE, 1)  # otherwise its uid_map and gid_map can't be written


def _enter_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _check(
        _libc.unshare(
            _NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS | _NEWCGROUP,
        )
    )
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{NOBODY} {uid} 1")
    (own / "gid_map").write_text(f"{NOBODY} {gid} 1")


def _fork_as_first_process() -> None:
    """Continue as the init process of the new namespace. When it ends, the kernel kills its children."""
    pid = os.fork()
    if pid == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.closerange(0, 1 << 16)
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _enter_empty_root() -> None:
    """Switch to an empty, read-only root file system."""
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    inside, hidden = b"/proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    _check(_libc.mount(b"none", inside, b"tmpfs", hidden, b"size=4k,nr_inodes=1,mode=0555"))
    os.chdir(inside)
    _check(_libc.syscall(number, b".", b"."))
    _check(_libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")
    _check(_libc.mount(None, b"/", None, _MS_REMOUNT | _MS_RDONLY | hidden, None))


def _restrict_with_landlock() -> None:
    """Allow no access to files and TCP, nor to signals and abstract sockets outside of this domain."""
    abi = _check(_libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, 1))
    files = (1 << 13) - 1
    files |= (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    fields = [files, 0b11, 0b11][: 1 + (abi >= 4) + (abi >= 6)]
    attributes = (ctypes.c_uint64 * len(fields))(*fields)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _check(_libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0))
    try:
        _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))
