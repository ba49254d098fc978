"""`bassloop try --watch` misses no change."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from bassloop.cli.trial_session import watch_changes

if TYPE_CHECKING:
    from pathlib import Path


async def test_changes_during_the_first_scan_are_found_by_the_next_one(
    tmp_path: Path,
) -> None:
    looks = 0
    with trio.fail_after(200):
        async with aclosing(watch_changes(tmp_path)) as changes:
            async for _ in changes:
                looks += 1
                if looks == 2:
                    return
                (tmp_path / "file").write_text("changed")
