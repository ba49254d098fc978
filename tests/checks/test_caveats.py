"""What a check says of the kind of runner that it ran on."""

from __future__ import annotations

import pytest

from bassloop.checks import check_output
from bassloop.checks.caveats import notes
from bassloop.github import CheckOutput
from bassloop.store import ThunkRecord
from bassloop.wire import bass_pb2 as pb
from tests.records import a_run

PLAIN = pb.Thunk(args=[pb.Value(string=pb.String(value="make"))])
SECRET = pb.Value(secret=pb.Secret(name="token"))
INNER = pb.Thunk(env=[pb.Binding(symbol="TOKEN", value=SECRET)])
AFTER = pb.Thunk(image=pb.ThunkImage(thunk=INNER))
MOUNTED = pb.Thunk(
    mounts=[pb.ThunkMount(source=pb.ThunkMountSource(secret=pb.Secret(name="token")))]
)


def record(thunk: pb.Thunk) -> ThunkRecord:
    return ThunkRecord("D", "0" * 64, "{}", thunk.SerializeToString(), "make", 1.0)


@pytest.mark.parametrize("thunk", [INNER, AFTER, MOUNTED])
def test_a_secret_that_a_go_runner_cannot_have_is_said(thunk: pb.Thunk) -> None:
    [said] = notes(a_run(state="failed", runner_kind="go"), record(thunk))
    assert said == "This runner is a Go `bass --runner`: secrets reach it without a value."
    assert notes(a_run(state="failed", runner_kind="bassloop"), record(thunk)) == []


@pytest.mark.parametrize("state", ["cancelled", "timed_out"])
def test_that_a_go_runner_does_not_stop_a_command_is_said(state: str) -> None:
    [said] = notes(a_run(state=state, runner_kind="go"), record(PLAIN))
    assert "runs on until it ends" in said
    assert notes(a_run(state=state, runner_kind="openssh"), record(PLAIN)) == []


def test_nothing_is_said_where_nothing_surprises() -> None:
    assert notes(a_run(state="succeeded", runner_kind="go"), record(PLAIN)) == []
    assert notes(a_run(state="failed", runner_kind=None), None) == []


def test_notes_end_the_summary() -> None:
    said = check_output.noted(CheckOutput("t", "what happened"), ["one.", "two."])
    assert said.summary == "what happened\n\n> one.\n\n> two."
