"""Programs, and what every implementation of Bass prints for them (nothing: they fail everywhere).

Digests of thunks are among the printed values, so the order of every field is held to as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bassloop import bass

if TYPE_CHECKING:
    from .conftest import FakeHost

PROGRAMS = [
    json.loads(line) for line in (Path(__file__).parent / "programs.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("case", PROGRAMS, ids=lambda case: case["program"][:60])
async def test_a_program_prints_the_same_as_everywhere(
    case: dict[str, str | None], host: FakeHost
) -> None:
    program = case["program"]
    assert program is not None
    async with bass.open_session(host) as session:
        try:
            value = await session.evaluate(program, "program", bass.DirPath("."))
        except bass.BassError:
            assert case["value"] is None
        else:
            assert bass.show(value) == case["value"]
