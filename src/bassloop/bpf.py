"""Programs for the kernel's BPF machine that filter system calls: see linux/bpf_common.h and linux/seccomp.h.

A program loads words of `struct seccomp_data`, compares them, and returns a verdict.
"""

from __future__ import annotations

import struct
from typing import Final

LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP: Final = 0x05  # BPF_JMP | BPF_JA
EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K

ALLOW: Final = 0x7FFF0000  # SECCOMP_RET_ALLOW
ERRNO: Final = 0x00050000  # SECCOMP_RET_ERRNO, to which an errno is added
KILL: Final = 0x80000000  # SECCOMP_RET_KILL_PROCESS

NUMBER: Final = 0
"""The offset of a call's number; the audit number of its ABI and the low words of its first arguments follow."""
ABI: Final = 4
ARGUMENT_0: Final = 16
ARGUMENT_1: Final = 24

AUDIT_X86_64: Final = 0xC000003E
AUDIT_I386: Final = 0x40000003
AUDIT_AARCH64: Final = 0xC00000B7

INSTRUCTION_SIZE: Final = 8


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return a `struct sock_filter`; jumps count the instructions that are skipped."""
    return struct.pack("<HBBI", code, if_true, if_false, value)
