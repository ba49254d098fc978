"""What becomes of a backlog while the daemon is killed again and again: `python -m benchmarks.outage` in a checkout.

The trial of `tests/outage/trial.py`, with numbers of one's own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import structlog
import trio
from tests.outage.trial import Plan, run_trial


async def main(given: argparse.Namespace) -> None:
    for seed in given.seeds:
        plan = Plan(seed, given.rate, given.seconds, given.kills, given.patience)
        with tempfile.TemporaryDirectory() as folder:
            report = await run_trial(plan, Path(folder))
        print(f"{plan}\n{report}\n", flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=lambda *_: structlog.ReturnLogger())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=2.0, help="pushes a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they come")
    parser.add_argument("--kills", type=int, default=5, help="how often the daemon is killed")
    parser.add_argument(
        "--patience", type=float, default=1200.0, help="seconds after the last push"
    )
    parser.add_argument("seeds", type=int, nargs="*", default=[1])
    trio.run(main, parser.parse_args())
