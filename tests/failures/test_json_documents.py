"""JSON in logs: which is read, how much, and what isn't."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.failures import Rank, find_failures, scan_log
from bassloop.failures.json_documents import (
    MAX_CHARACTERS,
    MAX_FOUND,
    MAX_OBJECTS,
    JSONDocuments,
)

ERROR = {
    "file": "a.py",
    "line": 3,
    "column": 1,
    "severity": "error",
    "message": "no \u001b[31msuch\u001b[0m\nname",
    "code": "X1",
}


def test_an_object_on_a_line_of_its_own_is_read() -> None:
    [found] = find_failures(["Checking", json.dumps(ERROR), "1 error"])
    assert (found.tool, found.rank, found.first) == ("mypy", Rank.ERROR, 1)
    assert found.message == "no such [X1]\nname"
    assert [str(each) for each in found.locations] == ["a.py:3"]


def test_a_failure_in_a_long_document_is_located_at_its_message() -> None:
    document = json.dumps([ERROR | {"message": f"error {n}"} for n in range(3)], indent=1)
    lines = ["before", *document.splitlines(), "after"]
    found = find_failures(lines)
    assert len(found) == 3
    for n, each in enumerate(found):
        assert f'"error {n}"' in lines[each.first]


def test_failures_in_a_document_are_not_reported_twice() -> None:
    document = json.dumps([ERROR, {"output": "a.c:1:2: error: no", "x": "fatal: no"}], indent=1)
    assert len(find_failures(document.splitlines())) == 1


def test_failures_of_a_tool_that_prints_text_too_are_found_in_its_text() -> None:
    text = "a.py:3: error: no such  [name-defined]"
    [found] = find_failures([text, json.dumps(ERROR)])
    assert found.message == "no such [name-defined]"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[{",
        '{"a": ',
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        json.dumps(ERROR | {"line": True}),
        json.dumps(ERROR | {"line": -1}),
        json.dumps(ERROR | {"line": 10**30}),
        json.dumps(ERROR | {"line": {"a": []}, "message": ["x"], "file": 7}),
        json.dumps(ERROR | {"severity": ["error"]}),
        '{"file": NaN, "severity": "error"}',
        "{}\x00}",
    ],
)
def test_odd_json_is_ignored(text: str) -> None:
    for lines in ([text], ["{", text, "}"], [text, "}"]):
        assert all(0 <= each.first < len(lines) for each in find_failures(lines))


def test_the_amount_of_json_that_is_read_is_bounded() -> None:
    many = [json.dumps(ERROR | {"message": f"error {n}"}) for n in range(MAX_FOUND + 50)]
    assert len(find_failures(many)) == MAX_FOUND
    long = json.dumps({"text": "x" * 1_000_000, **ERROR})
    began = time.process_time()
    found = find_failures([long] * 50)
    assert time.process_time() - began < 4
    assert len(found) == 1
    endless = ["{", *['"a": 1,'] * (MAX_CHARACTERS // 7)]
    assert find_failures([*endless, "fatal: no"])[0].message == "fatal: no"


@pytest.mark.parametrize(
    ("lines", "has_unread"),
    [
        (["x" * MAX_CHARACTERS * 2, json.dumps(ERROR)], False),
        ([json.dumps([{}] * (MAX_OBJECTS - 2) + [ERROR])], False),
        ([json.dumps([{"a": 1}] * MAX_OBJECTS + [ERROR])], True),
        ([json.dumps([{"a": 1}] * (MAX_OBJECTS - 1)), json.dumps(ERROR), json.dumps(ERROR)], True),
        ([json.dumps(ERROR | {"text": "x" * MAX_CHARACTERS})], True),
        (["{", *['"a": 1,'] * (MAX_CHARACTERS // 6), "}"], True),
    ],
)
def test_a_log_with_more_json_than_is_read_is_reported_as_such(
    lines: list[str], has_unread: bool
) -> None:
    documents = JSONDocuments()
    for number, line in enumerate(lines):
        documents.feed(number, line)
    assert documents.is_cut is has_unread
    if len(lines) < 10:
        assert scan_log(["a.c:1:2: error: no", *lines]).has_unread_json is has_unread


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(list(ERROR.values())),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*ERROR, "location", "err", "spans", "tests"]), inner)
    ),
    max_leaves=20,
)


@given(JSON, st.none() | st.just(1))
def test_no_json_raises_an_error(document: object, indent: int | None) -> None:
    lines = json.dumps(document, indent=indent).splitlines()
    for failure in find_failures(lines):
        assert 0 <= failure.first <= failure.last < len(lines)
