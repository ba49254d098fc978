"""Hooks that need more memory than they may have: the kernel gives them no more, whatever the language allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

HOOK_CPU = "60"
SETTINGS = {"HOOK_MEMORY": "64MiB"}

LARGE_TEXT = '(defn f [text] (f (str text text text))) (f "some text")'
"""A text that the language itself would allow to become larger than that."""


async def test_a_hook_that_needs_more_memory_than_it_may_have_is_ended_by_that_limit(
    target: Target,
) -> None:
    async with target.used_by_others("a large text"):
        sha = await target.push(LARGE_TEXT)
        await target.other_is_concluded("a large text")
        check = await target.concluded(sha)
    assert check["conclusion"] == "failure"
    assert "it needs more than 64 MiB of memory" in check["output"]["summary"]
    assert "HOOK_MEMORY" in check["output"]["summary"]
