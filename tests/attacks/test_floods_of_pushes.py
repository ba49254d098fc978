"""Pushes without an end in one repository, which would spend what GitHub allows all of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import trio

from .conftest import GOOD

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

LEAST = 80
"""Pushes that spend more than GitHub allows in a minute."""

OTHERS = 3
WAITED_SECONDS = 20.0
"""How long another repository's delivery may wait, on any machine: its points for a minute take no part of it."""


async def test_a_flood_in_one_repository_leaves_points_to_the_others(target: Target) -> None:
    spent = trio.Event()

    async def flood() -> None:
        for number in itertools.count(1):
            await target.push(GOOD)
            if number == LEAST:
                spent.set()
            await trio.sleep(0.05)

    async with target.used_by_others("pushes"), trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await spent.wait()
        for _ in range(OTHERS):
            began = trio.current_time()
            await target.other_is_concluded("pushes")
            waited = trio.current_time() - began
            print(f"pushes: another repository's delivery was concluded after {waited:.1f} s")
            assert waited < WAITED_SECONDS
        nursery.cancel_scope.cancel()
