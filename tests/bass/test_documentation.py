"""Every example in docs/bass.md has the value that the page shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bassloop import bass

from .conformance.corpus import HERE

if TYPE_CHECKING:
    from .conftest import FakeHost

PAGE = (Path(__file__).parents[2] / "docs" / "bass.md").read_text()
THUNKS = PAGE.partition("## Thunks")[2].partition("## Running")[0]
BLOCKS = re.findall(r"```bass\n(.*?)```", PAGE, re.DOTALL)


def examples(block: str) -> list[tuple[str, str | None]]:
    """A block's programs, each with the value in the comment `; =>` after it, and the code before it."""
    found, lines = [], []
    for line in block.splitlines():
        lines.append(line)
        said = re.search(r"; => (.*)$", line)
        if said:
            found.append(("\n".join(lines), said.group(1).strip()))
    return found or [(block, None)]


CASES = [example for block in BLOCKS for example in examples(block)]


@pytest.mark.parametrize(("program", "value"), CASES)
async def test_an_example_means_what_the_page_says(
    program: str, value: str | None, host: FakeHost
) -> None:
    async with bass.open_session(host) as session:
        result = await session.evaluate(program, "docs/bass.md", bass.DirPath("."))
        if value is not None:
            assert bass.show(result) == value
        else:
            assert isinstance(result, bass.Symbol), "a block without a value defines something"


@pytest.mark.parametrize("call", re.findall(r"^\| `(\(.*\))` \|", THUNKS, re.MULTILINE))
async def test_a_call_in_the_documentations_table_makes_a_thunk(call: str, host: FakeHost) -> None:
    program = f'(let [src (mkfs ./a.txt "x")] {call})'
    async with bass.open_session(host) as session:
        thunk = await session.evaluate(program, "docs/bass.md", bass.DirPath("."))
        assert isinstance(thunk, bass.Thunk)
        await bass.read_files(thunk)
        assert bass.encode_thunk(thunk)


def test_every_deviation_from_the_reference_is_documented() -> None:
    for deviation in json.loads((HERE / "deviations.json").read_text("utf-8")):
        assert deviation["reason"].partition(";")[0] in PAGE


def test_the_examples_of_embedding_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    room: dict[str, object] = {}
    for block in blocks:
        exec(block, room)
