"""The seccomp filter of contained commands: a BPF program for `bwrap --seccomp`.

It denies what Podman's and Docker's default profiles deny to a container without capabilities: the kernel's keyrings,
new namespaces, mounts, modules, and calls that ordinary programs don't need and that have had vulnerabilities. Calls
newer than this list fail with ENOSYS, so programs fall back to older ones. 32-bit programs on x86 are filtered
likewise; x32 and 32-bit ARM are refused.
"""

from __future__ import annotations

import errno
import platform
from dataclasses import dataclass

from bassloop import bpf
from bassloop.bpf import instruction

NEWEST = 469
"""The newest system call that this list takes into account, `file_setattr`. All architectures number new ones alike."""

NAMESPACES = 0x7E020000
"""The flags of clone and unshare that create namespaces."""
AF_VSOCK = 40
"""The address family with which a virtual machine reaches its host."""
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
"""The requests of ioctl that type into a terminal, and paste into a console. A command that gets the owner's terminal,
as the shell after a failed step does, would type into the shell that the owner returns to. See ioctl_tty(2)."""

DENIED: dict[str, tuple[int | None, int | None, int | None]] = {
    # name: (x86_64, i386, aarch64)
    "acct": (163, 51, 89),
    "add_key": (248, 286, 217),
    "bpf": (321, 357, 280),
    "chroot": (161, 61, 51),
    "clock_adjtime": (305, 343, 266),
    "clock_adjtime64": (None, 405, None),
    "clock_settime": (227, 264, 112),
    "clock_settime64": (None, 404, None),
    "create_module": (174, 127, None),
    "delete_module": (176, 129, 106),
    "fanotify_init": (300, 338, 262),
    "finit_module": (313, 350, 273),
    "fsconfig": (431, 431, 431),
    "fsmount": (432, 432, 432),
    "fsopen": (430, 430, 430),
    "fspick": (433, 433, 433),
    "get_kernel_syms": (177, 130, None),
    "init_module": (175, 128, 105),
    "io_uring_enter": (426, 426, 426),
    "io_uring_register": (427, 427, 427),
    "io_uring_setup": (425, 425, 425),
    "ioperm": (173, 101, None),
    "iopl": (172, 110, None),
    "kexec_file_load": (320, None, 294),
    "kexec_load": (246, 283, 104),
    "keyctl": (250, 288, 219),
    "lookup_dcookie": (212, 253, 18),
    "mount": (165, 21, 40),
    "mount_setattr": (442, 442, 442),
    "move_mount": (429, 429, 429),
    "move_pages": (279, 317, 239),
    "name_to_handle_at": (303, 341, 264),
    "nfsservctl": (180, 169, 42),
    "open_by_handle_at": (304, 342, 265),
    "open_tree": (428, 428, 428),
    "open_tree_attr": (467, 467, 467),
    "perf_event_open": (298, 336, 241),
    "pivot_root": (155, 217, 41),
    "query_module": (178, 167, None),
    "quotactl": (179, 131, 60),
    "quotactl_fd": (443, 443, 443),
    "reboot": (169, 88, 142),
    "request_key": (249, 287, 218),
    "setdomainname": (171, 121, 162),
    "sethostname": (170, 74, 161),
    "setns": (308, 346, 268),
    "settimeofday": (164, 79, 170),
    "stime": (None, 25, None),
    "swapoff": (168, 115, 225),
    "swapon": (167, 87, 224),
    "_sysctl": (156, 149, None),
    "sysfs": (139, 135, None),
    "syslog": (103, 103, 116),
    "umount": (None, 22, None),
    "umount2": (166, 52, 39),
    "uselib": (134, 86, None),
    "userfaultfd": (323, 374, 282),
    "ustat": (136, 62, None),
    "vhangup": (153, 111, 58),
    "vm86": (None, 166, None),
    "vm86old": (None, 113, None),
}
"""Calls that fail with EPERM."""


@dataclass(frozen=True, slots=True)
class Abi:
    """A system call interface: its audit number, and the numbers of calls whose arguments are checked.

    Args:
        column: its index in the tuples of `DENIED`.
    """

    audit: int
    column: int
    clone: int
    unshare: int
    socket: int
    ioctl: int
    clone3: int = 435


X86_64 = Abi(audit=bpf.AUDIT_X86_64, column=0, clone=56, unshare=272, socket=41, ioctl=16)
I386 = Abi(audit=bpf.AUDIT_I386, column=1, clone=120, unshare=310, socket=359, ioctl=54)
AARCH64 = Abi(audit=bpf.AUDIT_AARCH64, column=2, clone=220, unshare=97, socket=198, ioctl=29)

ABIS = {"x86_64": (X86_64, I386), "aarch64": (AARCH64,)}
"""The ABIs that commands may use, by machine."""


def program(machine: str | None = None) -> bytes | None:
    """Return the filter for a machine, by default this one; None if its system calls aren't known here."""
    abis = ABIS.get(machine or platform.machine())
    if abis is None:
        return None
    words = [instruction(bpf.LOAD, bpf.ABI)]
    for abi in abis:
        section = _section(abi)
        # A section may be longer than the 255 instructions that a conditional jump can skip.
        words += [instruction(bpf.EQUAL, abi.audit, 1, 0), _jump(len(section))]
        words += section
    return b"".join([*words, _error(errno.ENOSYS)])


def _section(abi: Abi) -> list[bytes]:
    """Return the instructions for the calls of one ABI. Every path ends in a return."""
    words = [
        instruction(bpf.LOAD, bpf.NUMBER),
        # x32 sets a high bit, so it's refused here, too.
        instruction(bpf.AT_LEAST, NEWEST + 1, 0, 1),
        _error(errno.ENOSYS),
        # The flags of clone3 are in memory; libraries fall back to clone.
        instruction(bpf.EQUAL, abi.clone3, 0, 1),
        _error(errno.ENOSYS),
    ]
    numbers = [numbers[abi.column] for numbers in DENIED.values()]
    for number in sorted(each for each in numbers if each is not None):
        words += [instruction(bpf.EQUAL, number, 0, 1), _error(errno.EPERM)]
    for number in (abi.clone, abi.unshare):
        words += [
            instruction(bpf.EQUAL, number, 0, 4),
            instruction(bpf.LOAD, bpf.ARGUMENT_0),
            instruction(bpf.ANY_BIT, NAMESPACES, 0, 1),
            _error(errno.EPERM),
            instruction(bpf.RETURN, bpf.ALLOW),
        ]
    words += [
        instruction(bpf.EQUAL, abi.socket, 0, 4),
        instruction(bpf.LOAD, bpf.ARGUMENT_0),
        instruction(bpf.EQUAL, AF_VSOCK, 0, 1),
        _error(errno.EPERM),
        instruction(bpf.RETURN, bpf.ALLOW),
        instruction(bpf.EQUAL, abi.ioctl, 0, 4),
        instruction(bpf.LOAD, bpf.ARGUMENT_1),  # the kernel ignores the high word
        instruction(bpf.EQUAL, TIOCSTI, 1, 0),
        instruction(bpf.EQUAL, TIOCLINUX, 0, 1),
        _error(errno.EPERM),
        instruction(bpf.RETURN, bpf.ALLOW),
    ]
    return words


def _jump(count: int) -> bytes:
    return instruction(bpf.JUMP, count)


def _error(number: int) -> bytes:
    return instruction(bpf.RETURN, bpf.ERRNO | number)
