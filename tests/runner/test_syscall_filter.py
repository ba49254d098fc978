"""The seccomp filter, run by a small BPF machine: what it says to each call of each ABI."""

from __future__ import annotations

import errno
import re
import struct
import termios
from pathlib import Path

import pytest

from bassloop.runner.host import syscall_filter
from bassloop.runner.host.syscall_filter import (
    AARCH64,
    DENIED,
    I386,
    NAMESPACES,
    NEWEST,
    X86_64,
    Abi,
)

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
CLONE_THREAD = 0x00010000 | 0x00000800 | 0x00000100
CLONE_NEWUSER = 0x10000000
MACHINES = {X86_64: "x86_64", I386: "x86_64", AARCH64: "aarch64"}


def run(program: bytes, audit: int, number: int, argument: int = 0, second: int = 0) -> int:
    """Run the filter on one call, and return its verdict."""
    data = struct.pack("<IIQ6Q", number, audit, 0, argument, second, 0, 0, 0, 0)
    words = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = words[at]
        at += 1
        match code:
            case 0x20:
                [accumulator] = struct.unpack_from("<I", data, value)
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x05:
                at += value
            case 0x06:
                return value
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def verdict(abi: Abi, number: int, argument: int = 0, second: int = 0) -> int:
    program = syscall_filter.program(MACHINES[abi])
    assert program is not None
    return run(program, abi.audit, number, argument, second)


@pytest.mark.parametrize("abi", MACHINES, ids=["x86_64", "i386", "aarch64"])
def test_every_system_call_has_its_verdict(abi: Abi) -> None:
    denied = {numbers[abi.column] for numbers in DENIED.values()}
    for number in range(NEWEST + 1):
        wanted = ENOSYS if number == abi.clone3 else EPERM if number in denied else ALLOW
        assert verdict(abi, number) == wanted, number
    for number in (NEWEST + 1, 10_000, 0x40000000, 0x40000000 | 56, 0xFFFFFFFF):
        assert verdict(abi, number) == ENOSYS


@pytest.mark.parametrize("abi", MACHINES, ids=["x86_64", "i386", "aarch64"])
def test_threads_may_be_created_and_namespaces_may_not(abi: Abi) -> None:
    assert verdict(abi, abi.clone, CLONE_THREAD) == ALLOW
    assert verdict(abi, abi.unshare, 0x00000400) == ALLOW  # CLONE_FILES
    for bit in range(32):
        flag = 1 << bit
        wanted = EPERM if flag & NAMESPACES else ALLOW
        assert verdict(abi, abi.clone, CLONE_THREAD | flag) == wanted
        assert verdict(abi, abi.unshare, flag) == wanted
    assert CLONE_NEWUSER & NAMESPACES


@pytest.mark.parametrize("abi", MACHINES, ids=["x86_64", "i386", "aarch64"])
def test_no_socket_can_reach_the_host_of_a_virtual_machine(abi: Abi) -> None:
    assert verdict(abi, abi.socket, 40) == EPERM
    for family in (1, 2, 10, 16, 17):
        assert verdict(abi, abi.socket, family) == ALLOW


@pytest.mark.parametrize("abi", MACHINES, ids=["x86_64", "i386", "aarch64"])
def test_a_command_can_not_type_into_its_terminal(abi: Abi) -> None:
    for request in (termios.TIOCSTI, 0x541C):  # TIOCLINUX, which termios doesn't have
        for high in (0, 1 << 32, 0xFFFFFFFF << 32):
            assert verdict(abi, abi.ioctl, 1, high | request) == EPERM
    for request in (termios.TIOCGWINSZ, termios.TIOCSCTTY, termios.TCGETS, termios.FIONREAD):
        assert verdict(abi, abi.ioctl, 1, request) == ALLOW
    assert verdict(abi, abi.ioctl, termios.TIOCSTI) == ALLOW


@pytest.mark.parametrize(("machine", "audit"), [("x86_64", AARCH64.audit), ("aarch64", 0x40000028)])
def test_system_calls_of_an_unknown_abi_are_denied(machine: str, audit: int) -> None:
    program = syscall_filter.program(machine)
    assert program is not None
    assert {run(program, audit, number) for number in range(500)} == {ENOSYS}


def test_a_machine_with_unknown_system_calls_has_no_filter() -> None:
    assert syscall_filter.program("riscv64") is None


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_within_the_kernels_limit_on_size(machine: str) -> None:
    program = syscall_filter.program(machine)
    assert program is not None
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4_096


HEADERS = {
    X86_64: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    I386: "/usr/include/x86_64-linux-gnu/asm/unistd_32.h",
    AARCH64: "/usr/include/asm-generic/unistd.h",
}


@pytest.mark.parametrize("abi", HEADERS, ids=["x86_64", "i386", "aarch64"])
def test_the_numbers_of_system_calls_match_the_kernels_headers(abi: Abi) -> None:
    header = Path(HEADERS[abi])
    found = re.findall(
        r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text() if header.exists() else ""
    )
    known = {name: int(number) for name, number in found}
    for name, numbers in DENIED.items():
        if (number := numbers[abi.column]) is not None:
            assert known.get(name, number) == number, name
    for name in ("clone", "clone3", "unshare", "socket", "ioctl"):
        assert known.get(name, getattr(abi, name)) == getattr(abi, name), name
