"""The line that broke it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bassloop.web.logs.outline import SCAN_BATCH, FailingLines, find_failing_lines
from bassloop.web.pages import run_page

from .site import a_site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest


def test_the_first_error_and_those_beside_it_are_the_place() -> None:
    lines = [
        b"compiling",
        b"a.c:1:2: error: no",
        b"    1 | int",
        b"a.c:9:2: \x1b[31merror:\x1b[0m neither",
        b"fine",
        b"fine",
        b"fine",
        b"make: *** [all] Error 1",
        b"== 2 errors in 1 file ==",
        b"",
    ]
    place = find_failing_lines(7, 100, lines)
    assert place is not None
    assert (place.row, place.first, place.last) == (7, 101, 103)
    assert place.last_line == "2 errors in 1 file"


def test_without_one_it_is_the_last_word() -> None:
    place = find_failing_lines(7, 0, [b"one", b"\x1b[1mtwo\x1b[0m", b"", b"  "])
    assert place is not None
    assert (place.first, place.last, place.last_line) == (1, 1, "two")


def test_a_log_that_says_nothing_has_no_such_place() -> None:
    assert find_failing_lines(7, 0, []) is None
    assert find_failing_lines(7, 0, [b"", b" \t"]) is None


def test_a_place_that_lies_over_what_is_gone_through_at_once_is_one_place() -> None:
    lines = (
        [b"fine"] * (2 * SCAN_BATCH - 1) + [b"error: one", b"error: two"] + [b"fine"] * SCAN_BATCH
    )
    place = find_failing_lines(7, 0, lines)
    assert place is not None
    assert (place.first, place.last) == (2 * SCAN_BATCH - 1, 2 * SCAN_BATCH)


async def test_long_lines_do_not_keep_it_from_the_end_of_the_log(tmp_path: Path) -> None:
    async with a_site(tmp_path) as site:
        await site.queued()
        text = b"".join(b"%04d %s\n" % (number, b"." * 9000) for number in range(1999))
        row = await site.step("r", "v", text + b"error: at last\n", error="exit status 1")
        await site.store.start_run("r", "t", "octocat", "linux/amd64", 100.0)
        await site.store.end_run("r", "failed", None, 101.0)
        page = await site.text("/runs/r")
    assert f'href="#v{row}-L2000"' in page


async def test_a_page_looks_for_it_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noted(row: int, start: int, lines: Sequence[bytes]) -> FailingLines | None:
        threads.append(threading.current_thread())
        return find_failing_lines(row, start, lines)

    monkeypatch.setattr(run_page, "find_failing_lines", noted)
    async with a_site(tmp_path) as site:
        await site.run()
        await site.text("/runs/r")
    assert threads
    assert threading.main_thread() not in threads
