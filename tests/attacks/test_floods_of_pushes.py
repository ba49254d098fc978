"""Pushes without an end in one repository, which would spend what GitHub allows all of them."""

from __future__ import annotations

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
"""How long another repository's delivery may wait: its points for a minute take no part of it. On a busy machine,
it may take longer, and has to overtake pushes that came before it."""


async def test_a_flood_in_one_repository_leaves_points_to_the_others(target: Target) -> None:
    spent = trio.Event()
    pushed: list[str] = []

    async def flood() -> None:
        while True:
            pushed.append(await target.push(GOOD))
            if len(pushed) == LEAST:
                spent.set()
            await trio.sleep(0.05)

    async with target.used_by_others("pushes"), trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await spent.wait()
        for _ in range(OTHERS):
            began, before = trio.current_time(), list(pushed)
            await target.other_is_concluded("pushes")
            waited = trio.current_time() - began
            overtaken = sum(not target.completed(sha) for sha in before)
            print(
                f"pushes: another delivery was concluded after {waited:.1f} s, before {overtaken} others"
            )
            assert waited < WAITED_SECONDS or overtaken
        nursery.cancel_scope.cancel()
