"""A process that evaluates hooks can't do anything else."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys

import pytest

from bassloop.evaluator.confinement import make_filter

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000
X86_64, AARCH64 = 0xC000003E, 0xC00000B7


def attack(*missing: str) -> str:
    """Return the accesses that a process is left with if a part of its confinement is missing.

    A process that can execute another program does, and then can't say so: that fails as well.
    """
    command = [sys.executable, "-m", "tests.evaluator.attacker", *missing]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.startswith("succeeded: "), "it ended before it had tried everything"
    return done.stdout


@pytest.mark.parametrize("missing", [(), ("no-namespaces",)])
def test_nothing_gets_out_of_a_confined_process(missing: tuple[str, ...]) -> None:
    assert attack(*missing) == "succeeded: []\n"


@pytest.mark.parametrize(
    "missing",
    [("no-filter",), ("no-filter", "no-namespaces"), ("no-filter", "no-landlock")],
)
def test_without_a_filter_there_are_still_no_files_sockets_or_processes(
    missing: tuple[str, ...],
) -> None:
    succeeded = attack(*missing).replace("become traceable", "")
    if "no-namespaces" in missing:
        # Landlock doesn't deny this.
        succeeded = succeeded.replace("look whether a file is there", "")
    for name in (
        *("file", "root", "folder", "fork", "execute", "socket", "trace", "mount"),
        "descriptor",
    ):
        assert name not in succeeded


def decide(code: bytes, machine: int, number: int, first: int = 0) -> int:
    """Return the filter's verdict on a call, by running it as the kernel does."""
    data = struct.pack("=iIQ6Q", number, machine, 0, first, 0, 0, 0, 0, 0)
    steps = list(struct.iter_unpack("=HBBI", code))
    at = value = 0
    while True:
        operation, then, otherwise, operand = steps[at]
        if operation == 0x20:
            [value] = struct.unpack_from("=I", data, operand)
            at += 1
        elif operation == 0x15:
            at += 1 + (then if value == operand else otherwise)
        else:
            assert operation == 0x06
            return int(operand)


@pytest.mark.parametrize(
    ("machine", "audit", "read", "openat", "prlimit"),
    [("x86_64", X86_64, 0, 257, 302), ("aarch64", AARCH64, 63, 56, 261)],
)
def test_the_filter_allows_only_listed_system_calls(
    machine: str, audit: int, read: int, openat: int, prlimit: int
) -> None:
    code = make_filter(machine)
    assert code is not None
    allowed = [number for number in range(600) if decide(code, audit, number) == ALLOW]
    assert read in allowed
    assert prlimit in allowed
    assert openat not in allowed
    assert 30 < len(allowed) < 45
    assert all(decide(code, audit, number) in (ALLOW, REFUSE) for number in range(1000))
    assert decide(code, audit, prlimit, first=1234) == REFUSE
    assert decide(code, audit, 0x40000000 + read) == REFUSE  # the x32 calls of x86-64
    assert decide(code, 0x40000003, read) == KILL


def test_a_processor_with_unknown_system_calls_has_no_filter() -> None:
    assert make_filter("riscv64") is None
    assert make_filter(platform.machine()) is not None or platform.machine() not in ("x86_64",)


def test_a_process_that_dies_before_it_has_tried_proves_nothing() -> None:
    program = """
import os
from bassloop.evaluator import confinement

confinement.limit_process = lambda *given: os._exit(1)
found = confinement.Confinement()
confinement.probe(found, confinement.ProcessLimits(1.0, 1 << 28), 0)
print(found.layers, found.missing)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.startswith(b"[] ['no files (not tested)', 'no network (not tested)'")
