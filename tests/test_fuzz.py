"""The parsers that read what strangers send, with inputs made at random (`python -m benchmarks.fuzz` tries more)."""

from __future__ import annotations

import pytest
from benchmarks.fuzz import READERS, TARGETS, fuzz, fuzz_growth


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_accepts_or_refuses_any_input(name: str) -> None:
    tried, found = fuzz(name, seed=1 << 40, seconds=60, inputs=600)
    assert found is None
    assert tried


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_time_in_proportion_to_the_size(name: str) -> None:
    tried, found = fuzz_growth(name, seed=1 << 40, seconds=60, inputs=2)
    assert found is None
    assert tried
