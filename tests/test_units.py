"""Durations and sizes are read alike everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    write_duration,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("10m", 600),
        ("10 min", 600),
        ("1.5h", 5400),
        ("1h30m", 5400),
        (" 1h 30m ", 5400),
        ("30d", 30 * 86400),
        ("2w", 14 * 86400),
        ("250ms", 0.25),
    ],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "m", "-1", "1x", "ten", "1h 30", "30 1h", "1 2", "1e3", "٣s"]
)
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration, such as 30s, 10m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("17000000", 17_000_000),
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        ("2GiB", 2 << 30),
        ("10GB", 10 * 1000**3),
        ("10 gb", 10 * 1000**3),
        ("1k", 1024),
        ("1 TB", 1000**4),
        ("123456789012345", 123456789012345),
    ],
)
def test_sizes_are_parsed(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "g", "-1g", "2x", "1g1m", "1e3", "0x10", "1,5g", "٣m"])
def test_invalid_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size, such as 500MB, 2GiB"):
        parse_size(text)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0


@given(st.integers(0, 10**9), st.integers(0, 10**14))
def test_written_durations_and_sizes_are_read_back(seconds: int, count: int) -> None:
    assert parse_duration(write_duration(seconds)) == seconds
    assert parse_size(write_size(count)) == count


def test_written_durations_and_sizes_are_short() -> None:
    assert [write_duration(each) for each in (0, 0.5, 90, 600, 14400.0, 86400)] == [
        "0s",
        "0.5s",
        "90s",
        "10m",
        "4h",
        "1d",
    ]
    assert [write_size(each) for each in (0, 4 << 20, 1_000_000)] == ["0", "4MiB", "1MB"]


def test_durations_are_formatted_for_people() -> None:
    spans = (-1, 0, 0.44, 12.4, 59.7, 68, 185, 7440, 172_799, 270_000)
    assert [format_duration(each) for each in spans] == [
        "0.0 s",
        "0.0 s",
        "0.4 s",
        "12 s",
        "1 min 0 s",
        "1 min 8 s",
        "3 min 5 s",
        "2 h 4 min",
        "47 h 59 min",
        "3 d 3 h",
    ]
    counts = (0, 999, 1000, 999_960, 2_500_000, 999_960_000, 10**9, 25 * 10**12)
    assert [format_size(each) for each in counts] == [
        "0 bytes",
        "999 bytes",
        "1.0 KB",
        "1.0 MB",
        "2.5 MB",
        "1.0 GB",
        "1.0 GB",
        "25000.0 GB",
    ]
