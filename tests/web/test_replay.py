"""A log as a recording: what came when, as a terminal takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bassloop.store import LogPiece, StepUpdate
from bassloop.terminal import Terminal
from bassloop.web.logs import replay
from bassloop.web.logs.replay import Recording, ReplayFrames

from .site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def events(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_piece_is_replayed_at_its_time_and_characters_stay_whole() -> None:
    recording = Recording("make")
    pieces = [(10.0, b"a\n\xc3"), (10.5, b"\xa9\rb\r"), (12.0, b"\nc\r\nd"), (9.0, b"\xff")]
    found = events("".join(recording.add(LogPiece(at, data)) for at, data in pieces))
    assert (found[0]["version"], found[0]["timestamp"], found[0]["title"]) == (2, 10, "make")
    assert found[1:] == [
        [0.0, "o", "a\r\n"],
        [0.5, "o", "é\rb\r"],
        [2.0, "o", "\nc\r\nd"],
        [0.0, "o", "\ufffd"],
    ]


async def test_a_log_is_downloaded_as_a_recording(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        row = (await site.store.steps.put("r", [StepUpdate("v", "make", 1.0)]))["v"].row
        log = await site.store.logs.open("r", row)
        terminal = Terminal()
        for number, data in enumerate((b"\r0 %", b"\r1 %", b"\r2 %", b"\ndone\n")):
            await log.append(data, terminal.settle(data), 1, 100.0 + number)
        data = b"." * 300_000
        await log.append(data, terminal.settle(data), 1, 105.0)
        await log.append(b"", terminal.settle_rest(), 1, 105.0)
        await log.close()
        answer = await site.get(f"/runs/r/vertexes/{row}/cast")
        assert answer.content_type == "application/x-asciicast"
        found = events(await answer.get_data(as_text=True))
        assert found[1:] == [
            [0.0, "o", "\r0 %"],
            [1.0, "o", "\r1 %"],
            [2.0, "o", "\r2 %"],
            [3.0, "o", "\r\ndone\r\n"],
            *found[5:],
        ]
        assert {each[0] for each in found[5:]} == {5.0}
        assert "".join(each[2] for each in found[5:]) == "." * 300_000
        assert f"/runs/r/vertexes/{row}/cast" in await site.text(f"/runs/r/vertexes/{row}")
        assert (await site.get("/runs/r/vertexes/99/cast")).status_code == 404


def frames_of(*pieces: tuple[float, bytes]) -> ReplayFrames:
    made = ReplayFrames()
    for at, data in pieces:
        made.add([LogPiece(at, data)])
    made.end()
    return made


def test_a_frame_has_the_lines_that_changed() -> None:
    made = frames_of(
        (10.0, b"a\nb\n"),
        (11.0, b"\x1b[2AA\n"),
        (12.0, b"\x1b[J"),
        (13.0, b"\x1b[J"),
        (14.0, b"<i>\x1b[1mbold\x1b[0m\n"),
    )
    assert [frame[:2] for frame in made.frames] == [(0.0, 2), (1.0, 2), (2.0, 1), (4.0, 2)]
    assert made.frames[0][2] == {0: "a", 1: "b"}
    assert made.frames[1][2] == {0: "A"}
    assert made.frames[2][2] == {}
    assert made.frames[3][2][1].startswith("&lt;i&gt;<")
    assert made.json()["complete"]


def test_simultaneous_output_is_one_frame_and_time_does_not_go_back() -> None:
    made = frames_of((5.0, b"one\n"), (5.01, b"two\n"), (4.0, b"three\n"), (6.0, b"four\n"))
    assert [(at, sorted(lines)) for at, _, lines in made.frames] == [(0.0, [0, 1, 2]), (1.0, [3])]
    assert frames_of().frames == []


def test_lines_keep_their_numbers_when_they_have_left_the_screen() -> None:
    made = frames_of(*((float(n), b"line %d\n" % n) for n in range(300)), (400.0, b"0 %\r99 %"))
    lines: dict[int, str] = {}
    for _, _, changed in made.frames:
        lines |= changed
    assert [lines[number] for number in range(300)] == [f"line {number}" for number in range(300)]
    assert lines[300] == "99 %"


def test_a_long_recording_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_FRAMES", 10)
    made = frames_of(*((float(n), b"\r%d %%" % n) for n in range(100)))
    assert len(made.frames) <= 11
    assert not made.json()["complete"]
    monkeypatch.setattr(replay, "MAX_RECORDED", 1_000)
    assert frames_of((1.0, b"x\n" * 1_000), (2.0, b"y")).full


async def test_frames_are_only_sent_to_readers_of_the_run(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await site.run("r")
        found = await site.json(f"/runs/r/vertexes/{row}/frames")
        assert [(at, count) for at, count, _ in found["frames"]] == [(0.0, 3)]
        assert "<script>" not in found["frames"][0][2]["1"]
        page = await site.text(f"/runs/r/vertexes/{row}")
        assert f'data-frames="/runs/r/vertexes/{row}/frames"' in page
        hidden = await site.run("hidden", public=False)
        assert (await site.get(f"/runs/hidden/vertexes/{hidden}/frames")).status_code == 404
