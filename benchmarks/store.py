"""How fast logs are kept and read, and how many deliveries a second survive a power failure.

`python benchmarks/store.py DIRECTORY`: an empty directory on the disk that is to be measured. Logs
go through a terminal, as the recorder's do, in pieces of 16 KiB; memory is the process's peak. With
`--bucket URL` and an access key in the environment, they are shipped to a bucket.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import trio

from bassloop.settings_reader import load_settings
from bassloop.store import Run, StepUpdate, Store, find_blobs, new_run_id, open_store
from bassloop.terminal import Terminal

PIECE = 16 * 1024


def said(words: str) -> None:
    sys.stdout.write(words + "\n")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def step(store: Store) -> tuple[str, int]:
    run = Run(
        new_run_id(), "", 1, "ada", 1, "ada/engine", True, "push", new_run_id(), new_run_id(),
        None, None, "test", "queued", time.time(), None, None, None, None, None, None, "make",
    )  # fmt: skip
    await store.checks.get_or_create(
        1, run.repository, 1, run.head_sha, "test", run.delivery, False, run
    )
    found = await store.steps.put(run.id, [StepUpdate("v", "v")])
    return run.id, found["v"].row


async def log(store: Store, name: str, block: bytes, megabytes: int) -> None:
    where = await step(store)
    writer = await store.logs.open(*where)
    terminal = Terminal()
    block *= max(1, 1_000_000 // len(block))
    before = peak()
    begin = time.perf_counter()
    size = slowest = 0.0
    while size < megabytes * 1e6:
        for at in range(0, len(block), PIECE):
            piece = block[at : at + PIECE]
            begun = time.perf_counter()
            await writer.append(piece, terminal.settle(piece), 1, time.time())
            slowest = max(slowest, time.perf_counter() - begun)
            size += len(piece)
    await writer.append(b"", terminal.settle_rest(), 1, time.time())
    await writer.close()
    spent = time.perf_counter() - begin
    await shipped(store, name, size, begin)
    extent = await store.logs.extent(*where)
    read = []
    for part in range(200):
        start = extent.lines * part // 200
        begun = time.perf_counter()
        assert await store.logs.lines(*where, start, start + 200)
        read.append(time.perf_counter() - begun)
    said(
        f"{name:9} {size / spent / 1e6:7.1f} MB/s ({extent.lines:,} lines, slowest append "
        f"{slowest * 1e3:.1f} ms), memory +{peak() - before:.1f} MB; 200 lines anywhere: median "
        f"{sorted(read)[100] * 1e3:.2f} ms, slowest {max(read) * 1e3:.2f} ms"
    )


async def shipped(store: Store, name: str, size: float, begin: float) -> None:
    """Say how fast a log got into the bucket, if there is one."""
    while (shipping := store.statistics().shipping) is not None:
        if not shipping.logs:
            spent = time.perf_counter() - begin
            said(f"{name:9} {size / spent / 1e6:7.1f} MB/s until it is in the bucket")
            return
        await trio.sleep(0.01)


async def deliveries(store: Store, callers: int, seconds: float) -> None:
    taken: list[float] = []
    body = b"x" * 20_000

    async def call() -> None:
        while True:
            begun = time.perf_counter()
            await store.deliveries.record(new_run_id(), "push", None, body)
            taken.append(time.perf_counter() - begun)

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(call)
    taken.sort()
    said(
        f"{callers:3} callers: {len(taken) / seconds:6.0f} deliveries/s of 20 KB, p50 "
        f"{taken[len(taken) // 2] * 1e3:.1f} ms, p99 {taken[len(taken) * 99 // 100] * 1e3:.1f} ms"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--bucket", metavar="URL", help="as in BLOBS_URL")
    options = parser.parse_args()
    settings = load_settings(data_dir=options.directory, blobs_url=options.bucket)
    async with open_store(settings.database, find_blobs(settings)) as store:
        line = b"[   123] Compiling module_0042 v1.2.0 (/src/crates/module_0042) and so on ...\n"
        await log(store, "plain", line, options.megabytes)
        await log(store, "short", b"ok\n", options.megabytes // 4)
        await log(store, "coloured", b"\x1b[32mPASS\x1b[0m " + line, options.megabytes // 2)
        for callers in (1, 8, 64):
            await deliveries(store, callers, 3.0)


if __name__ == "__main__":
    trio.run(main)
