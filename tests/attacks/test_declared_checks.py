"""Checks declared in a fork's `.bassloop.toml`, which the daemon reads itself: each file costs its own delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.repository_files import CONFIG_FILE

from .conftest import GOOD

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

ROOM = 62_000
"""The length of a file, which may have 64 KiB."""


def many(line: str) -> str:
    """Numbered lines, as many as there is room for."""
    first = 100_000
    count = ROOM // len(f"{line.format(first)}\n")
    return "\n".join(line.format(first + number) for number in range(count))


CHECK = "[checks.a]\nrun = 'x'\n"
FILES = {
    "a matrix of 50⁵ combinations": (
        CHECK + "\n".join(f"matrix.{name} = {[*range(50)]}" for name in "abcde"),
        "more than 256 checks",
    ),
    "keys of 31,000 parts": (".".join("a" * (ROOM // 2)) + " = 1", "more than 40 parts"),
    "keys with as many parts as they may have": (
        many(f"[{'a.' * 39}a{{}}]") + f"\n{CHECK}imagee = 1",
        "did you mean image?",
    ),
    "a long key in quotes": (f'{CHECK}[checks.a."{" " * ROOM}"]', ":3: checks.a."),
    "keys that there aren't": (CHECK + many("k{} = 1"), "there is no such key"),
    "very many checks": (many("[checks.a{}]\nrun='x'"), "200 entries"),
    "nested values": (f"a = {'[' * ROOM}", "nested too deeply"),
    "a long number": (f"a = {'9' * ROOM}", "too many digits"),
}


async def push(target: Target, declared: str) -> str:
    """Push a commit with declared checks, which the next one doesn't have any more."""
    path = target.world.standin.repository_path / CONFIG_FILE
    path.write_text(declared)
    try:
        return await target.push(GOOD)
    finally:
        path.unlink()


async def test_declared_checks_made_to_be_expensive_only_fail_their_own_check(
    target: Target,
) -> None:
    for name, (declared, problem) in FILES.items():
        async with target.used_by_others(name):
            sha = await push(target, declared)
            await target.other_is_concluded(name)
            check = await target.concluded(sha, CONFIG_FILE)
        assert check["conclusion"] == "failure", name
        assert problem in check["output"]["summary"], name
