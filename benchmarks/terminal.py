"""How fast the terminal settles logs and makes HTML of them, and how much memory it takes.

Each kind of log is made by rule, so that two runs measure the same; the rate (of processor time, so that
others on the machine count less) is the best of three
over the whole log, in pieces of 16 KiB as a runner sends them. `--write DIRECTORY` leaves the logs
there instead, for other programs to be measured on them.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from pathlib import Path

from bassloop.terminal import Terminal, render_lines

PIECE = 16 * 1024
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def plain(size: int) -> bytes:
    """A build's output: 80 bytes a line."""
    lines = [
        f"[{number:>6}] Compiling module_{number % 977:04} v{number % 13}.{number % 7}.0 "
        f"(/src/crates/module_{number % 977:04})\n"
        for number in range(5000)
    ]
    return repeated("".join(lines).encode(), size)


def coloured(size: int) -> bytes:
    """A test runner's output: three or four colours a line."""
    lines = []
    for number in range(5000):
        case = f"tests/test_{number % 31}.py::test_case_{number}"
        if number % 50 == 49:
            lines.append(
                f"\x1b[1m\x1b[31mFAILED\x1b[0m \x1b[1m{case}\x1b[0m - "
                f"\x1b[38;5;208mAssertionError\x1b[0m: {number} != {number + 1}\n"
            )
        else:
            lines.append(
                f"{case} \x1b[32mPASSED\x1b[0m\x1b[36m [{number % 100:>3}%]\x1b[0m "
                f"\x1b[2m{number % 17}.{number % 10}s\x1b[22m\n"
            )
    return repeated("".join(lines).encode(), size)


def wheel(size: int) -> bytes:
    """pip's bar: one line drawn again and again, in colours."""
    strokes = []
    for number in range(2000):
        done = number % 100 * 40 // 100
        strokes.append(
            f"\r\x1b[2K   \x1b[38;2;114;156;31m{'━' * done}\x1b[0m\x1b[38;5;237m╺"
            f"{'━' * (39 - done)}\x1b[0m \x1b[32m{number / 100:.1f}/20.0 MB\x1b[0m "
            f"\x1b[31m3.1 MB/s\x1b[0m eta \x1b[36m0:00:{number % 60:02}\x1b[0m"
        )
        if number % 100 == 99:
            strokes.append("\n")
    return repeated("".join(strokes).encode(), size)


def percent(size: int) -> bytes:
    """git's and curl's: a line returned to, without colours or erasing."""
    strokes = []
    for number in range(5000):
        strokes.append(
            f"Receiving objects: {number % 101:>3}% ({number}/5000), {number / 10:.2f} MiB"
            " | 3.10 MiB/s\r"
        )
        if number % 101 == 100:
            strokes.append("Receiving objects: 100% (5000/5000), 500.00 MiB | 3.10 MiB/s, done.\n")
    return repeated("".join(strokes).encode(), size)


def frames(size: int) -> bytes:
    """docker compose's: several lines drawn again with the cursor moved up."""
    out = []
    for number in range(1000):
        if number % 200:
            out.append("\x1b[6A\x1b[0G")
        out.append("\x1b[?25l\x1b[34m[+] Running 3/5\x1b[0m\n")
        done = number % 200
        out.extend(
            f" \x1b[33m{FRAMES[(number + layer) % 10]}\x1b[0m layer{layer} "
            f"\x1b[36mDownloading\x1b[0m [{'=' * (done // 8):<25}] {done / 2:>6.1f}MB/100MB "
            f"{done / 10:>5.1f}s\n"
            for layer in range(5)
        )
        out.append("\x1b[?25h")
    return repeated("".join(out).encode(), size)


def repeated(text: bytes, size: int) -> bytes:
    return text * (size // len(text) + 1)


KINDS = {kind.__name__: kind for kind in (plain, coloured, wheel, percent, frames)}


def settle(log: bytes) -> tuple[float, int]:
    """Seconds, and bytes of settled text."""
    terminal = Terminal()
    settled = 0
    begin = time.process_time()
    for at in range(0, len(log), PIECE):
        settled += len(terminal.settle(log[at : at + PIECE]).text)
    settled += len(terminal.settle_rest().text)
    return time.process_time() - begin, settled


def peak(log: bytes) -> int:
    """Bytes that the terminal takes at most, for itself and what it returns for a piece."""
    pieces = [log[at : at + PIECE] for at in range(0, min(len(log), 4_000_000), PIECE)]
    tracemalloc.start()
    terminal = Terminal()
    for piece in pieces:
        terminal.settle(piece)
    terminal.settle_rest()
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


def html(log: bytes) -> float:
    """Seconds for the HTML of all lines that settle, 512 at once as a page asks for them."""
    terminal = Terminal()
    lines = terminal.feed(log) + terminal.finish()
    begin = time.process_time()
    for at in range(0, len(lines), 512):
        render_lines(lines[at : at + 512])
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    size = options.megabytes * 1_000_000
    for name, kind in KINDS.items():
        log = kind(size)
        if options.write:
            (options.write / f"{name}.log").write_bytes(log)
            continue
        seconds, settled = min(settle(log) for _ in range(3))
        part = log[:2_000_000]
        sys.stdout.write(
            f"{name:10} {len(log) / seconds / 1e6:8.1f} MB/s settled to {settled / len(log):6.2%}; "
            f"HTML {len(part) / html(part) / 1e6:8.1f} MB/s; peak {peak(log) / 1e6:5.2f} MB\n"
        )


if __name__ == "__main__":
    main()
