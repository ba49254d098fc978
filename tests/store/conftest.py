from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(location: Path | str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(location, tmp_path / "blobs", synchronous="OFF") as store:
        yield store
