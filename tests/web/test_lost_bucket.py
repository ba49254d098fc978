"""Pages while the bucket with the logs can't be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from tests.store.buckets import MemoryBucket

from .site import open_site

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_temporarily_unavailable_log_says_so_and_comes_back(tmp_path: Path) -> None:
    bucket = MemoryBucket(tmp_path / "blobs")
    async with open_site(tmp_path, blobs=bucket) as site:
        await site.queued("r")
        row = await site.step("r", "build", b"one\ntwo\n")
        assert await trio.to_thread.run_sync(bucket.created.wait, 30.0)
        while (bucket.folder / "logs" / "r").exists():
            await trio.testing.wait_all_tasks_blocked()
        bucket.down = True
        answer = await site.get(f"/runs/r/vertexes/{row}/lines?format=text")
        assert answer.status_code == 503
        assert "be read now; try again" in await answer.get_data(as_text=True)
        assert (await site.get("/runs")).status_code == 200
        bucket.down = False
        assert "two" in await site.text(f"/runs/r/vertexes/{row}/lines?format=text")
