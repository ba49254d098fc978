"""A log as a recording: what came when, as a terminal takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bassloop.store import LogPiece, StepUpdate
from bassloop.terminal import Terminal
from bassloop.web.logs.replay import Recording

from .site import a_site

if TYPE_CHECKING:
    from pathlib import Path


def events(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_piece_comes_when_it_came_and_characters_stay_whole() -> None:
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
    async with a_site(tmp_path) as site:
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
