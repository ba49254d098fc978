"""A filter of system calls for a process that only computes, and talks on one socket. Linux alone has it.

All that is not in the list fails with EPERM: files, sockets, processes, signals to others, and what a kernel
may offer in future. The numbers are the kernel's, which never change.
"""

from __future__ import annotations

import ctypes
import errno
import platform
from typing import Final, NamedTuple

from bassloop import bpf
from bassloop.bpf import instruction


class _Machine(NamedTuple):
    """A kind of processor: the kernel's name for it, and the numbers of what is allowed.

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
    """Return the filter's program for a kind of processor, or None if its numbers are not known."""
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
    """A filter that was made before it is needed, for this machine's kind of processor."""

    def __init__(self, machine: str = platform.machine()) -> None:
        self._code = make_filter(machine)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def install(self) -> bool:
        """Let this process call nothing else, and return whether that was possible here.

        It needs PR_SET_NO_NEW_PRIVS, and can't be undone.
        """
        if self._code is None:
            return False
        program = _Program(len(self._code) // bpf.INSTRUCTION_SIZE, self._code)
        result: int = self._libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))
        return result == 0
