"""The index of lines points at beginnings of lines, often enough, however the text was split."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from bassloop.store.logs.log_files import ENTRY_BYTES, ENTRY_LINES, LINE_RECORD, LineCounter


def records(text: bytes, size: int) -> list[tuple[int, int]]:
    counter = LineCounter()
    out = b"".join(counter.feed(text[at : at + size]) for at in range(0, len(text), size))
    assert counter.lines == text.count(b"\n")
    assert counter.offset == len(text)
    return [(line, offset) for line, offset in LINE_RECORD.iter_unpack(out)]


def expected(text: bytes) -> list[tuple[int, int]]:
    found = []
    line = offset = last_line = last_offset = 0
    while (newline := text.find(b"\n", offset)) >= 0:
        line, offset = line + 1, newline + 1
        if line >= last_line + ENTRY_LINES or offset >= last_offset + ENTRY_BYTES:
            found.append((line, offset))
            last_line, last_offset = line, offset
    return found


@given(
    st.lists(
        st.sampled_from(
            [b"\n" * 700, b"line\n" * 300, b"x" * 100_000, b"\n", b"abc", b"y" * 90 + b"\n"]
        ),
        max_size=30,
    ),
    st.integers(100, 400_000),
)
@example([b"\n" * 700] * 3, 512)
@example([b"x" * 100_000] * 6 + [b"\n"], 262_144)
def test_the_index_has_an_entry_every_512_lines_or_256_kib(parts: list[bytes], size: int) -> None:
    text = b"".join(parts)
    assert records(text, size) == expected(text)
