"""What each attack costs others: `python -m benchmarks.attacks`.

Runs the tests in `tests/attacks` one after the other, each against a daemon in a process of its own, and prints a
table: for how much of the daemon's processor time another visitor's pages and another repository's delivery waited
meanwhile, the longest step of the loop, and how much memory the daemon took. A slow machine takes more of each: the
last column says how many times as slow it was. `--log FILE` reads what such a run has printed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

NUMBER = r"([\d.]+)"
PAGES = re.compile(
    rf"^\W*(.+): held for {NUMBER} s; of {NUMBER} pages, half waited for {NUMBER} s, and one for {NUMBER} s of"
    rf" processor \({NUMBER} s\); (-?\d+) MiB more; {NUMBER} times as slow a machine, and {NUMBER} at times$",
    re.MULTILINE,
)
DELIVERY = re.compile(
    rf"^\W*(.+): another delivery waited for {NUMBER} s of processor$", re.MULTILINE
)


def table(said: str) -> str:
    """Return a table, in Markdown, of what the tests have printed. Not every attack has another delivery."""
    deliveries = dict(DELIVERY.findall(said))
    lines = [
        "| attack | half of the pages waited for (ms) | one for | another delivery for (s) | longest step (ms)"
        " | memory (MiB) | slowness |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for attack, hold, _, usual, longest, _, growth, slowness, _ in PAGES.findall(said):
        usual, longest, hold = (f"{float(each) * 1000:.0f}" for each in (usual, longest, hold))
        delivery = deliveries.get(attack, "–")
        lines.append(
            f"| {attack} | {usual} | {longest} | {delivery} | {hold} | {growth} | {slowness} |"
        )
    if len(lines) == 2:
        sys.exit("the tests have printed no figures")
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
