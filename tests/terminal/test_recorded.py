"""Recorded output of real programs (with `script`) reads as it did in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from bassloop.terminal import Terminal, render_lines, strip

from .streams import settled
from .test_against_pyte import agree

RECORDED = Path(__file__).parent / "recorded"
READ = {
    "pip": """\
Collecting numpy
  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl (16.9 MB)
     ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 16.9/16.9 MB 71.9 MB/s eta 0:00:00
Saved ./d/numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
Successfully downloaded numpy
""",
    "npm": """\

added 4 packages in 5s
""",
    "cargo": """\
    Updating crates.io index
     Locking 1 package to latest Rust 1.95.0 compatible version
  Downloaded cfg-if v1.0.5
  Downloaded 1 crate (9.4KiB) in 0.04s
   Compiling cfg-if v1.0.5
   Compiling c v0.1.0 (/src/c)
    Finished `dev` profile [unoptimized + debuginfo] target(s) in 2.62s
""",
    "git": """\
Cloning into 'dst'...
remote: Enumerating objects: 402, done.
remote: Counting objects: 100% (402/402), done.
remote: Compressing objects: 100% (2/2), done.
remote: Total 402 (delta 0), reused 0 (delta 0), pack-reused 0
Receiving objects: 100% (402/402), 14.29 KiB | 104.00 KiB/s, done.
""",
}


def recorded(program: str) -> bytes:
    return (RECORDED / f"{program}.out").read_bytes()


@pytest.mark.parametrize("program", READ)
def test_a_recorded_program_reads_as_in_a_terminal(program: str) -> None:
    terminal = Terminal()
    lines = terminal.feed(recorded(program)) + terminal.finish()
    assert "".join(f"{strip(line)}\n" for line in lines) == READ[program]


@pytest.mark.parametrize("program", READ)
def test_recorded_programs_have_the_same_cells_as_in_another_emulator(program: str) -> None:
    agree(recorded(program))


@pytest.mark.parametrize("program", READ)
def test_a_recorded_program_is_the_same_in_pieces_of_any_size(program: str) -> None:
    data = recorded(program)
    for size in (1, 2, 3, 7, 50, 512):
        assert settled(data[at : at + size] for at in range(0, len(data), size)) == settled([data])


def test_the_colours_of_cargo_are_kept() -> None:
    terminal = Terminal()
    lines = terminal.feed(recorded("cargo")) + terminal.finish()
    assert (
        render_lines(lines)[0] == '<span class="t-bold t-f10">    Updating</span> crates.io index'
    )
