"""Test reports: JUnit XML and TAP."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.failures import ReportError, read_report
from bassloop.failures.test_report_formats import MAX_TRACES

JUNIT = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="shop" tests="4">
  <testcase classname="tests.test_shop" name="test_total" time="0.002"/>
  <testcase classname="tests.test_shop" name="test_discount" time="1,000.5" file="tests/test_shop.py" line="9">
    <failure message="assert 25 == 26">def test_discount():
E       assert 25 == 26

tests/test_shop.py:10: AssertionError</failure></testcase>
  <testcase classname="tests.test_shop" name="test_later"><skipped/></testcase>
  <testcase name="test_stored"><error type="ConnectionError">no database
at all</error></testcase>
</testsuite></testsuites>"""


def test_each_test_in_a_junit_report_is_read_with_its_outcome() -> None:
    total, discount, later, stored = read_report(JUNIT)
    assert (total.name, total.outcome, total.seconds) == (
        "tests.test_shop.test_total",
        "passed",
        0.002,
    )
    assert (discount.outcome, discount.seconds) == ("failed", 1000.5)
    assert discount.failure is not None
    assert discount.failure.message == "assert 25 == 26"
    assert str(discount.failure.locations[-1]) == "tests/test_shop.py:9"
    assert later.outcome == "skipped"
    assert stored.failure is not None
    assert stored.failure.title == "test_stored: ConnectionError"


def test_each_test_in_a_tap_report_is_read_with_its_outcome() -> None:
    cases = read_report(
        b"TAP version 13\nok 1 - adds\nnot ok 2 - takes away\n  ---\n  message: 'no'\n  ...\n"
        b"ok 3 - later # SKIP not yet\n1..3\n"
    )
    assert [(case.name, case.outcome) for case in cases] == [
        ("adds", "passed"),
        ("takes away", "failed"),
        ("later", "skipped"),
    ]
    assert cases[1].failure is not None
    assert "no" in cases[1].failure.message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<html></html>", "<html> is not the root"),
        (b"<testsuites>", "the XML can't be read"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><testsuites>&a;</testsuites>", "the XML can't be read"),
        (b"<?xml version='1.0' encoding='no-such'?><testsuites/>", "the XML can't be read"),
        (b"all is well", "neither JUnit XML nor TAP"),
        (b"<" + b" " * (17 << 20), "are read at most"),
    ],
)
def test_invalid_reports_are_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(ReportError, match=why):
        read_report(data)


@given(st.binary(max_size=300))
def test_no_bytes_raise_another_error(data: bytes) -> None:
    for text in (data, b"<testsuites>" + data, b"TAP version 13\nnot ok " + data):
        try:
            read_report(text)
        except ReportError as error:
            assert str(error)  # noqa: PT017


def test_locations_are_found_in_a_failures_own_text() -> None:
    trace = "def test_x():\n&gt;   assert 1 == 2\nE   assert 1 == 2\n\ntests/test_x.py:9: AssertionError"
    [case] = read_report(
        f'<testsuite><testcase classname="tests.test_x" name="test_x">'
        f'<failure message="assert 1 == 2">{trace}</failure></testcase></testsuite>'.encode()
    )
    assert case.failure is not None
    assert [str(each) for each in case.failure.locations] == ["tests/test_x.py:9"]
    assert not case.failure.in_log


def test_xml_of_any_depth_can_be_read() -> None:
    depth = 200_000
    inner = b'<testcase name="a"/>'
    data = b"<testsuite>" + b"<a>" * depth + inner + b"</a>" * depth + b"</testsuite>"
    assert [case.name for case in read_report(data)] == ["a"]


def test_only_the_first_traces_of_many_failures_are_searched() -> None:
    one = '<testcase name="t{}"><failure message="no">a.py:{}: no</failure></testcase>'
    cases = "".join(one.format(number, number + 1) for number in range(MAX_TRACES + 5))
    found = [
        case.failure.locations
        for case in read_report(f"<testsuite>{cases}</testsuite>".encode())
        if case.failure is not None
    ]
    assert sum(bool(locations) for locations in found) == MAX_TRACES


def test_an_unknown_tap_line_of_a_failed_test_is_still_a_failed_test() -> None:
    text = "TAP version 13\n" + "".join(f"not ok {n} - t{n}\n" for n in range(300))
    assert [case.outcome for case in read_report(text.encode())] == ["failed"] * 300


def test_one_long_token_takes_time_in_proportion_to_its_length() -> None:
    def seconds(size: int) -> float:
        report = b"<testsuites><!--" + bytes([97]) * size + b"--></testsuites>"
        began = time.thread_time()
        assert read_report(report) == []
        return time.thread_time() - began

    # Old versions of Expat take 200 times as long for 15 times as much if a token arrives in pieces of one size.
    assert seconds(15 << 20) < 80 * min(seconds(1 << 20) for _ in range(5))
