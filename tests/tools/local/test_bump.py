"""`bassloop bump`: remembered calls are made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop import bass
from bassloop.bass import memo_file
from bassloop.bass.values import from_list

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command

STRINGS = bass.Thunk(args=(bass.CommandPath("strings"),))
NOWHERE = bass.Thunk(args=(bass.CommandPath("nowhere"),))


def lock(path: Path, *calls: tuple[bass.Thunk, str, str, str]) -> None:
    sphere = memo_file.parse(b"", "memos")
    for module, binding, given, gave in calls:
        made = memo_file.memo_key(module, binding, from_list([given]))
        memo_file.store(sphere, made, memo_file.encode(gave))
    path.write_bytes(memo_file.render(sphere))


def recalled(path: Path, module: bass.Thunk, binding: str, given: str) -> bass.Value:
    known = memo_file.recall(
        memo_file.parse(path.read_bytes(), "memos"),
        memo_file.memo_key(module, binding, from_list([given])),
    )
    assert known is not None
    return known[0]


def test_changed_results_are_stored_and_shown(bassloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "bass.lock"
    lock(path, (STRINGS, "upper-case", "a", "OLD"), (STRINGS, "upper-case", "b", "B"))
    done = bassloop("bump")
    assert done.returncode == 0, done.stderr
    assert recalled(path, STRINGS, "upper-case", "a") == "A"
    assert '- "OLD"\n  + "A"' in done.stdout
    assert "bass.lock: 2 calls, 1 as before" in done.stdout


def test_check_writes_nothing_and_fails_if_something_would_change(
    bassloop: Command, tmp_path: Path
) -> None:
    path = tmp_path / "bass.lock"
    lock(path, (STRINGS, "upper-case", "a", "OLD"))
    before = path.read_bytes()
    assert bassloop("bump", "--check").returncode == 1
    assert path.read_bytes() == before
    assert bassloop("bump").returncode == 0
    assert bassloop("bump", "--check").returncode == 0


def test_a_failing_call_keeps_its_result_and_the_others_continue(
    bassloop: Command, tmp_path: Path
) -> None:
    path = tmp_path / "other.lock"
    lock(path, (NOWHERE, "f", "a", "kept"), (STRINGS, "upper-case", "a", "OLD"))
    done = bassloop("bump", "other.lock")
    assert done.returncode == 1
    assert "no standard module .nowhere" in done.stderr
    assert recalled(path, NOWHERE, "f", "a") == "kept"
    assert recalled(path, STRINGS, "upper-case", "a") == "A"


def test_a_file_without_memos_is_left_unchanged(bassloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "bass.lock"
    path.write_text("this is { no memo")
    done = bassloop("bump")
    assert done.returncode == 1
    assert "bass.lock" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text() == "this is { no memo"
