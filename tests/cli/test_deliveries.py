"""`bassloop deliveries skip`: what nobody wants any more is ignored, whether the daemon runs or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner

from bassloop.cli.deliveries import deliveries
from bassloop.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A daemon's data, with three deliveries that wait."""
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none.env"))

    async def fill() -> None:
        async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
            for guid, repository, at in (
                ("a", "o/one", 1.0),
                ("b", "o/one", None),
                ("c", "o/two", 1.0),
            ):
                await store.deliveries.record(
                    guid, "push", None, b"{}", repository=repository, received_at=at
                )

    trio.run(fill)
    return tmp_path


def skip(data: Path, *arguments: str, answer: str = "") -> Result:
    command = ["--data-dir", str(data), "skip", *arguments]
    return CliRunner().invoke(deliveries, command, input=answer)


def waiting(data: Path) -> list[str]:
    async def read() -> list[str]:
        async with open_store(data / "loop.db", data / "blobs", owner=False) as store:
            return [each.guid for each in await store.deliveries.unfinished()]

    return trio.run(read)


def test_skip_asks_for_confirmation(data: Path) -> None:
    refused = skip(data, "--repository", "o/one", answer="n\n")
    assert refused.exit_code == 1
    assert "skip 2 deliveries for good?" in refused.output
    assert waiting(data) == ["a", "b", "c"]
    assert "skipped 2 deliveries" in skip(data, "--repository", "o/one", answer="y\n").output
    assert waiting(data) == ["c"]


def test_skip_applies_all_conditions_together(data: Path) -> None:
    done = skip(data, "--repository", "o/one", "--older-than", "1h", "--yes")
    assert (done.exit_code, done.output) == (0, "skipped 1 delivery\n")
    assert waiting(data) == ["b", "c"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which deliveries?"),
        (("--older-than", "soon"), "'soon' is not a duration"),
        (("unknown", "--yes"), "no such delivery waits"),
    ],
)
def test_skip_refuses_to_skip_everything_by_mistake(
    data: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = skip(data, *arguments)
    assert done.exit_code
    assert said in done.output
    assert waiting(data) == ["a", "b", "c"]
