"""How fast the logs of all of a repository's runs are searched, and what their index costs.

Runs are made by rule, each with two logs of words, numbers and hashes that differ from run to run. Printed are the
processor time of indexing for each MB, the size of the index, what it adds to the time of recording, and
how long a search takes for a text of few runs, of all runs, and of none, and for how long it makes others wait.
"""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from benchmarks.search import lateness
from tests.web.site import Site, open_site

from bassloop.checks import log_indexing
from bassloop.checks.log_indexing import keep_indexing
from bassloop.store import StepUpdate
from bassloop.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

HERE = "/repositories/octocat/hello"
WORDS = 4_000
ROUNDS, COPIES = 5, 30
"""Times that recording is measured with and without indexing, and how often it records 8 MiB each time."""

SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo wu xa ye zi sch tr st pl"
QUERIES = {
    "a text of one run": "needle of run 4242",
    "a text of no run": "no such failure anywhere",
    "a text of all runs": "finished after",
    "a text of 1 in 100 runs": "segmentation violation",
    "two letters": "qq",
}


def text(chance: random.Random, words: list[str], size: int) -> bytes:
    """The log of a build and its tests."""
    lines, length = [], 0
    while length < size:
        kind = chance.randrange(10)
        name = "_".join(chance.choices(words, k=2))
        if kind < 5:
            case = f"{name}.py::test_{chance.choice(words)}"
            line = f"tests/test_{case} PASSED [{chance.randrange(100):>3}%]"
        elif kind < 8:
            at = f"2026-11-{chance.randrange(1, 29):02}T10:{chance.randrange(60):02}Z"
            line = f"{at} INFO {name} took {chance.random():.3f}s"
        elif kind < 9:
            line = f"\x1b[32mCompiling\x1b[0m {name} ({chance.getrandbits(160):040x})"
        else:
            line = " ".join(chance.choices(words, k=9))
        lines.append(line)
        length += len(line) + 1
    return "\n".join(lines).encode()


async def record(site: Site, run: int, size: int, words: list[str]) -> int:
    """Record a run with two logs; return their bytes."""
    chance = random.Random(run)
    name = f"run{run}"
    await site.queued(name)
    written = 0
    for step in ("build", "test"):
        row = (await site.store.steps.put(name, [StepUpdate(step, step, 1.0)]))[step].row
        log = await site.store.logs.open(name, row)
        content = text(chance, words, size // 2)
        if run == 4242:
            content += b"\nneedle of run 4242"
        if run % 100 == 7:
            content += b"\nSegmentation violation at 0x17"
        content += b"\nfinished after %d s\n" % run
        written += len(content)
        await log.append(content, None, 1, 1.0)
        await log.close()
    return written


@asynccontextmanager
async def late() -> AsyncGenerator[list[float]]:
    """Measure how late a task is that wakes up every millisecond."""
    found: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lateness, found)
        yield found
        nursery.cancel_scope.cancel()


async def index_all(site: Site, size: int) -> None:
    """Index what is there without rest, and print what it took."""
    log_indexing.IDLE_REST = log_indexing.BUSY_REST = 0
    began = time.process_time()
    async with late() as found, trio.open_nursery() as nursery:
        nursery.start_soon(keep_indexing, site.store)
        while await site.store.log_index.pending():
            await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    spent = time.process_time() - began
    found.sort()
    print(
        f"indexed: {spent / size * 1e9:.1f} ms of processor for each MB ({size / spent / 1e6:.0f} MB/s), "
        f"others late by {found[-len(found) // 100] * 1e3:.1f} ms (p99), {found[-1] * 1e3:.1f} at most"
    )


async def compare_recording(site: Site, words: list[str]) -> int:
    """Print what it costs recording that earlier logs are indexed meanwhile, in processor time.

    Return the bytes recorded.

    There is more to be indexed than it gets done with, so it never ends early.
    """
    content = text(random.Random(0), words, 8 << 20)
    parts = [content[at : at + (16 << 10)] for at in range(0, len(content), 16 << 10)]
    spent: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * ROUNDS):
        indexing = number % 2 == 1
        async with trio.open_nursery() as nursery:
            began = time.process_time()
            if indexing:
                nursery.start_soon(keep_indexing, site.store)
            name = f"recorded{number}"
            await site.queued(name)
            row = (await site.store.steps.put(name, [StepUpdate("s", "s", 1.0)]))["s"].row
            log, terminal = await site.store.logs.open(name, row), Terminal()
            for _ in range(COPIES):
                for part in parts:
                    await log.append(part, terminal.settle(part), 1, 1.0)
            spent[indexing].append(time.process_time() - began)
            await log.close()
            nursery.cancel_scope.cancel()
        print(f"  recorded, indexing={indexing}: {spent[indexing][-1]:.2f} s of processor")
    size = COPIES * len(content) / 1e6
    print(
        f"recording {size:.0f} MB, in processor time, without indexing and while others are indexed:"
    )
    for what, of in (("least", min), ("median", statistics.median)):
        without, with_ = of(spent[False]), of(spent[True])
        print(f"  {what}: {without:.2f} s, {with_:.2f} s, {with_ / without - 1:+.1%}")
    return 2 * ROUNDS * COPIES * len(content)


async def main(runs: int, size: int, folder: Path) -> None:
    chance = random.Random(0)
    words = ["".join(chance.choices(SYLLABLES.split(), k=3)) for _ in range(WORDS)]
    async with open_site(folder) as site:
        began, written, left = time.perf_counter(), [], iter(range(runs))

        async def work() -> None:
            for run in left:
                written.append(await record(site, run, size, words))

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(work)
        total = sum(written)
        print(f"{runs:,} runs, {total / 1e6:,.0f} MB, in {time.perf_counter() - began:.0f} s")
        total += await compare_recording(site, words)
        before = (await site.store.figures()).database_bytes
        await index_all(site, total)
        added = (await site.store.figures()).database_bytes - before
        print(f"index: {added / 1e6:.1f} MB, {added / total:.2%} of the text")
        for what, query in QUERIES.items():
            async with late() as found:
                began, asked, cursor, matches, read = time.perf_counter(), 0, "", 0, 0
                first = 0.0
                while True:
                    path = f"{HERE}/search?q={query.replace(' ', '%20')}{cursor}"
                    answer = await site.json(path)
                    asked += 1
                    first = first or time.perf_counter() - began
                    matches += len(answer["runs"])
                    read += answer["read"]
                    if answer["next"] is None or asked == 50:
                        break
                    cursor = f"&before={answer['next']}"
                took = time.perf_counter() - began
            print(
                f"  {what:24} first answer {first * 1e3:5.0f} ms, all in {asked} answers {took:6.2f} s; "
                f"{matches:,} runs, {read:,} logs read; others late by {max(found) * 1e3:.0f} ms"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=100_000, help="bytes of a run's logs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        trio.run(functools.partial(main, arguments.runs, arguments.size, Path(made)))
