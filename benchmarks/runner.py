"""What running a thunk costs beside its command: `python -m benchmarks.runner [--bass PATH --buildkit ADDR]`.

A thunk `true` in a small image, over gRPC, on each driver: new each time, and once more, when it is kept.
With the reference's client, the same beside it, behind a gateway (see `tests.runner.conformance.beside_go`).
Times are in milliseconds: the least and the median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio
from tests.runner.conformance.asking import METADATA
from tests.runner.conformance.beside_go import IMAGE, go_runtime, registry_on_loopback
from tests.runner.conformance.drivers import DRIVERS, open_runtime
from tests.runner.made import string

from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from bassloop.runtimes import Runtime


PAUSE = 3.0


def nothing(number: int) -> pb.Thunk:
    """A thunk `true`, other for each number."""
    label = pb.Binding(symbol="round", value=string(f"{time.time()} {number}"))
    program = pb.Value(command_path=pb.CommandPath(name="true"))
    return pb.Thunk(image=IMAGE, args=[program], labels=[label])


async def took(runtime: Runtime, thunk: pb.Thunk) -> float:
    """Milliseconds that a run takes."""
    began = time.perf_counter()
    async with runtime.run(thunk, METADATA) as answers:
        async for _ in answers:
            pass
    return (time.perf_counter() - began) * 1_000


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bass")
    parser.add_argument("--buildkit")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print("| | new, least | median | kept, least | median |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with registry_on_loopback(folder):
            for name in (*DRIVERS, *(["Go and BuildKit"] if options.bass else [])):
                async with AsyncExitStack() as stack:
                    opened = (
                        open_runtime(name, folder)
                        if name in DRIVERS
                        else go_runtime(options.bass, options.buildkit, folder)
                    )
                    runtime = await stack.enter_async_context(opened)
                    await took(runtime, nothing(-1))
                    thunks = [nothing(number) for number in range(options.rounds)]
                    new = [await took(runtime, thunk) for thunk in thunks]
                    await trio.sleep(PAUSE)  # containers are removed after their thunks
                    kept = [await took(runtime, thunk) for thunk in thunks]
                cells = [f"{f(each):.0f}" for each in (new, kept) for f in (min, statistics.median)]
                print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    trio.run(main)
