"""The index of logs: what it excludes is never in a log."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bassloop.store import FilterBuilder, FilterQuery, StepUpdate, Store, User, search_index
from bassloop.store.search_index import MAX_BYTES, MAX_DISTINCT, MIN_BYTES, UNKNOWN

from . import made

if TYPE_CHECKING:
    import pytest

_LETTERS = {48 + digit: 103 + digit for digit in range(10)}
LETTERS = st.text("aAbBzZ019 -ſsKkKéÉß", min_size=1, max_size=12)


def filter_of(*blocks: bytes) -> bytes:
    builder = FilterBuilder()
    for block in blocks:
        builder.add(block)
    return builder.filter()


def _word(number: int) -> bytes:
    """Letters that look random."""
    return hashlib.sha256(b"%d" % number).hexdigest().translate(_LETTERS).encode()


@given(LETTERS, LETTERS, LETTERS)
def test_an_existing_text_is_never_excluded(before: str, text: str, after: str) -> None:
    made_of = filter_of(b"first\n", f"{before}{text}{after}\nlast\n".encode())
    for asked in (text, text.upper(), text.lower()):
        if len(asked) == len(text):  # ß in upper case is another text
            assert FilterQuery(asked).may_match(made_of)


def test_a_text_that_no_line_has_is_excluded() -> None:
    made_of = filter_of(b"".join(b"step %d of 900: compiled src/a.c\n" % n for n in range(900)))
    assert len(made_of) == MIN_BYTES
    assert FilterQuery("STEP 77 of").may_match(made_of)
    assert not FilterQuery("segmentation fault").may_match(made_of)
    assert not FilterQuery("step 7 off").may_match(made_of)
    for unknown in ("zz", "-> !", "ſtép"):
        assert FilterQuery(unknown).may_match(made_of), "without three letters in a row"
    assert not FilterQuery("anything").may_match(filter_of())


def test_a_varied_log_still_excludes_most_texts() -> None:
    varied = b"".join(b"%s\n" % _word(n) for n in range(10_000))
    made_of = filter_of(varied)
    assert len(made_of) <= MAX_BYTES
    absent = [f"no-such-{n:04x}-text".translate(_LETTERS) for n in range(500)]
    assert sum(FilterQuery(text).may_match(made_of) for text in absent) < 5


def test_a_log_of_too_many_different_lines_gets_no_filter() -> None:
    builder = FilterBuilder()
    added = 0
    more = True
    while more:
        more = builder.add(b"".join(b"%s\n" % _word(added + n) for n in range(1_000)))
        added += 1_000
    assert added * 64 < MAX_DISTINCT + 100_000
    assert builder.filter() == UNKNOWN
    assert FilterQuery("whatever it is").may_match(UNKNOWN)


async def test_logs_are_pending_until_they_have_a_filter(store: Store) -> None:
    await store.users.put(User(7, "U_7", "ada"))
    run_id, row = await made.step(store)
    assert await store.log_index.pending() == []
    log = await store.logs.open(run_id, row)
    assert await store.log_index.pending() == []
    await log.append(b"a line\n", None, 1, 1.0)
    await log.close()
    assert await store.log_index.pending() == [(run_id, row)]
    await store.log_index.log_closed.wait()
    await store.log_index.put([(row, filter_of(b"a line\n")), (row + 1000, b"of none")])
    assert await store.log_index.pending() == []
    await store.log_index.put([(row, filter_of(b"another\n"))])
    [found] = (await store.log_index.search("ADA/engine", FilterQuery("another"))).runs
    assert (found.id, found.steps, found.without_filter) == (run_id, (row,), 0)
    [found] = (await store.log_index.search("ada/engine", FilterQuery("a line"))).runs
    assert found.steps == ()


async def test_logs_without_a_filter_may_contain_any_text(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "RUNS_AT_ONCE", 2)
    await store.users.put(User(7, "U_7", "ada"))
    ids = []
    for name in ("written", "varied", "silent"):
        run_id, row = await made.step(store, name)
        ids.append(run_id)
        if name != "silent":
            await store.logs.open(run_id, row)
        if name == "varied":
            await store.log_index.put([(row, UNKNOWN)])
        await store.steps.put(run_id, [StepUpdate("other", "without a log")])
    first = await store.log_index.search("ada/engine", FilterQuery("text"))
    assert [(run.id, len(run.steps), run.without_filter) for run in first.runs] == [
        (ids[2], 0, 0),
        (ids[1], 1, 1),
    ]
    assert first.more
    rest = await store.log_index.search("ada/engine", FilterQuery("text"), before=ids[1])
    assert [(run.id, run.without_filter) for run in rest.runs] == [(ids[0], 1)]
    assert not rest.more
