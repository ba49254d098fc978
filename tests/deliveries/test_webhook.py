"""A webhook request is refused with the fix, and nothing passes without the right signature."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.github import sign
from bassloop.github.webhook_events import refusal

SECRET = b"secret"
BODY = b'{"zen": "Design for failure."}'
HEADERS = {
    "content-type": "application/json; charset=utf-8",
    "x-github-event": "check_suite",
    "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "x-hub-signature-256": sign(SECRET, BODY),
}


def test_a_signed_delivery_is_accepted() -> None:
    assert refusal(HEADERS, BODY, SECRET) is None


@pytest.mark.parametrize(
    ("header", "value", "status", "fix"),
    [
        ("x-github-event", "", 400, "X-GitHub-Event is missing"),
        ("x-github-event", "check suite", 400, "malformed"),
        ("x-github-delivery", "", 400, "malformed"),
        ("x-github-delivery", "a" * 65, 400, "malformed"),
        ("content-type", "application/x-www-form-urlencoded", 415, "to application/json"),
        ("x-hub-signature-256", "", 401, "set the webhook secret in the App's settings"),
        ("x-hub-signature-256", sign(b"another", BODY), 403, "GITHUB_APP_WEBHOOK_SECRET"),
        ("x-hub-signature-256", sign(SECRET, BODY + b" "), 403, "GITHUB_APP_WEBHOOK_SECRET"),
    ],
)
def test_a_refusal_names_the_fix(header: str, value: str, status: int, fix: str) -> None:
    answer = refusal({**HEADERS, header: value}, BODY, SECRET)
    assert answer is not None
    assert answer.status == status
    assert fix in answer.message


def test_every_request_is_refused_if_there_is_no_secret() -> None:
    answer = refusal(HEADERS, BODY, None)
    assert answer is not None
    assert answer.status == 503


@given(st.dictionaries(st.sampled_from(sorted(HEADERS)), st.text()), st.binary())
def test_all_requests_are_refused_unless_they_are_signed(
    changed: dict[str, str], body: bytes
) -> None:
    answer = refusal({**HEADERS, **changed}, body, b"unknown to the sender")
    assert answer is not None
    assert answer.status in (400, 401, 403, 415)
