"""A filter of system calls for a process that only computes, and talks on one socket. Linux alone has it.

All that is not in the list fails with EPERM: files, sockets, processes, signals to others, and what a kernel
may offer in future. The numbers are the kernel's, which never change.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from typing import Final, NamedTuple


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
    "x86_64": _Machine(0xC000003E, frozenset(_X86_64.values()), 302),
    "aarch64": _Machine(0xC00000B7, frozenset(_AARCH64.values()), 261),
}

_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001  # EPERM
_KILL: Final = 0x80000000

# Where in the data of a call the kernel puts what is looked at.
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16

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
    code = [
        _step(_LOAD, _MACHINE),
        _step(_JUMP_IF_EQUAL, known.audit, then=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_JUMP_IF_EQUAL, known.prlimit, otherwise=4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_JUMP_IF_EQUAL, 0, otherwise=1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _REFUSE),
    ]
    for index, number in enumerate(allowed):
        code.append(_step(_JUMP_IF_EQUAL, number, then=len(allowed) - index))
    return b"".join([*code, _step(_RETURN, _REFUSE), _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


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
        program = _Program(len(self._code) // 8, self._code)
        result: int = self._libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))
        return result == 0
