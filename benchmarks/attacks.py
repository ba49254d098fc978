"""What each attack costs a second visitor: `python -m benchmarks.attacks`.

Runs the tests in `tests/attacks` one after the other, each against a daemon in a process of its own, and prints a
table: how long others waited for a page meanwhile, and the longest time for which a step used the processor. Run it
on a machine that does nothing else: the times are what a clock says. `--log FILE` reads what such a run has printed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

HOLDS = re.compile(
    r"^\W*(.+): (\d+) holds, the longest [\d.]+ s; ([\d.]+) s of processor$", re.MULTILINE
)
PAGES = re.compile(r"^(.+): pages p50 ([\d.]+), p99 ([\d.]+), worst ([\d.]+) s$", re.MULTILINE)


def table(said: str) -> str:
    """Return a table, in Markdown, of what the tests have printed. A test that failed may have no pages."""
    pages = {name: times for name, *times in PAGES.findall(said)}
    lines = [
        "| attack | `/up` p50 (ms) | p99 | worst | holds over 100 ms | longest (processor, ms) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, holds, longest in HOLDS.findall(said):
        times = [f"{float(each) * 1000:.0f}" for each in pages.get(name, ())] or ["?"] * 3
        lines.append(f"| {name} | {' | '.join(times)} | {holds} | {float(longest) * 1000:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, help="what an earlier run has printed")
    options = parser.parse_args()
    if options.log is not None:
        sys.stdout.write(table(options.log.read_text()))
        return 0
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "attacks", "tests/attacks"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    sys.stdout.write(table(done.stdout))
    sys.stdout.write(done.stdout.splitlines()[-1] + "\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
