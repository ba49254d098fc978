"""A page that does not read is cut loose: it holds up no check, and comes back for the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from bassloop.checks.recorder import recording
from bassloop.web import create_app
from bassloop.wire import progrock_pb2 as progrock
from tests.until import until

from .site import Disconnected, open_site

if TYPE_CHECKING:
    from pathlib import Path


def lines_of(messages: list[Any]) -> list[str]:
    return [line for each in messages for log in each.get("logs", ()) for line in log["lines"]]


async def rest_of(socket: Any) -> list[Any]:
    """Return the messages that a page was sent before it was disconnected."""
    told = []
    while True:
        try:
            told.append(json.loads(await socket.receive()))
        except Disconnected:
            return told


async def test_a_page_that_does_not_read_is_disconnected_and_catches_up_later(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        app = create_app(replace(site.context, slow_seconds=0.1))
        await site.queued()
        told: list[Any] = []
        written: list[str] = []
        with trio.fail_after(120):
            async with recording(site.store, site.live_runs, "r") as recorder:
                async with app.test_client().websocket("/runs/r/live") as socket:
                    await socket.send(json.dumps({"logs": {}}))
                    await until(lambda: site.live_runs.statistics()["followers"])
                    while site.live_runs.statistics()["followers"]:
                        line = f"line {len(written)}"
                        said = progrock.VertexLog(vertex="v", data=f"{line}\n".encode())
                        await recorder.record(progrock.StatusUpdate(logs=[said]))
                        written.append(line)
                        await trio.sleep(0.02)
                    told += await rest_of(socket)
                [step] = recorder.steps()
            assert len(lines_of(told)) < len(written)
            assert not any("end" in each for each in told)
            await site.store.runs.end("r", "succeeded", None, 2.0)
            async with site.app.test_client().websocket("/runs/r/live") as socket:
                places = {str(step.row): len(lines_of(told))}
                await socket.send(json.dumps({"logs": places}))
                while "end" not in told[-1]:
                    told.append(json.loads(await socket.receive()))
        assert lines_of(told) == written
