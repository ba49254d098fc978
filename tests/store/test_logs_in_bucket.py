"""Logs behave as they do in a folder where they are shipped to a bucket meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.store import Store, open_store

from .buckets import MemoryBucket
from .test_logs import *  # noqa: F403  the tests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

del test_settled_text_is_stored_separately_once_it_differs  # noqa: F821  it looks at files that may be gone


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    bucket = MemoryBucket(tmp_path / "blobs")
    async with open_store(tmp_path / "loop.db", bucket, synchronous="OFF") as store:
        yield store
