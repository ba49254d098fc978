"""A daemon that evaluates hooks until somebody kills it: one that waits, one that never ends."""

from __future__ import annotations

import trio

from tests.until import until

from .conftest import SHA, THUNK, evaluating

FREEZE = "(defn grow [n v] (if (= n 0) v (grow (- n 1) [v v])))"


async def main() -> None:
    """Say so when both are under way."""
    async with evaluating(cpu_seconds=60) as made, trio.open_nursery() as nursery:
        nursery.start_soon(made.evaluate, f'((client:start-check {THUNK} "it" "{SHA}"))')
        freeze = (
            f'(do (client:start-check {THUNK} "it" "{SHA}") {FREEZE} (= (grow 40 1) (grow 40 1)))'
        )
        nursery.start_soon(made.evaluate, freeze)
        await until(lambda: len(made.host.checks) == 2)
        print("ready", flush=True)


if __name__ == "__main__":
    trio.run(main)
