"""The payload that a hook is given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bassloop import bass
from bassloop.evaluator.hook_evaluation import read_event
from bassloop.evaluator.messages import PayloadEdit

PRESSED = {
    "action": "requested_action",
    "requested_action": {"identifier": "again"},
    "check_run": {"name": "project.bass", "head_sha": "0" * 40, "check_suite": {"id": 5}},
    "sender": {"login": "octocat"},
}


def payload_for_hook(edit: PayloadEdit, payload: dict[str, Any], name: str = "check_run") -> Any:
    """Return a hook's payload as plain data."""
    return bass.to_python(read_event(name, json.dumps(payload).encode(), edit))


def test_a_hook_gets_the_payload_unchanged() -> None:
    assert payload_for_hook(PayloadEdit.NONE, PRESSED) == {"event": "check_run", "payload": PRESSED}


def test_a_button_of_the_loop_is_given_as_githubs_own_event() -> None:
    event = payload_for_hook(PayloadEdit.CHECK_RERUN, PRESSED)
    assert event["event"] == "check_run"
    assert event["payload"]["action"] == "rerequested"
    assert "requested_action" not in event["payload"]
    assert event["payload"]["check_run"] == PRESSED["check_run"]


def test_a_check_that_no_script_started_is_given_as_its_whole_suite() -> None:
    event = payload_for_hook(PayloadEdit.SUITE_RERUN, {**PRESSED, "action": "rerequested"})
    assert event["event"] == "check_suite"
    assert event["payload"]["check_suite"] == {"id": 5, "head_sha": "0" * 40}
    assert "check_run" not in event["payload"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"check_run": 1}', b"{}"])
def test_an_unreadable_payload_is_an_error_of_the_script(body: bytes) -> None:
    with pytest.raises(bass.BassError, match="payload"):
        read_event("check_run", body, PayloadEdit.SUITE_RERUN)
