"""The output of check runs is escaped, short, and about the thing that broke."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.checks import check_output
from bassloop.checks.run_failure import RunFailure, failing_step
from bassloop.failures import Failure, Location, Rank
from bassloop.github import CheckOutput
from bassloop.github.check_runs import cut
from bassloop.runtimes import Platform, Runtime
from bassloop.store import ThunkRecord
from bassloop.tools.failure_report import render_failure
from bassloop.wire import bass_pb2 as pb
from tests.records import make_run, make_step

URL = "https://loop.example.com/runs/r"


OWN = check_output.AwaitedRunner(("octocat",), "connect")
FORKS = check_output.AwaitedRunner(("stranger",), "connect", approvable=True)


def test_a_success_shows_its_duration_and_runner() -> None:
    said = check_output.ended(make_run(), [make_step(1, "sh test.sh")], URL)
    assert said.title == "Succeeded after 1 min 5 s"
    assert "**octocat**'s runner (`linux/amd64`)" in said.summary
    assert f"[`sh test.sh`]({URL}#v1)" in said.summary


def test_a_failure_is_titled_by_its_step_and_shows_the_end_of_its_log() -> None:
    failing = make_step(7, "sh test.sh", error="exit status 1", lines=3)
    run = make_run(state="failed", message="exit status 1")
    said = check_output.ended(run, [failing], URL, failing, ["1 passed", "1 failed"])
    assert said.title == "sh test.sh: exit status 1"
    assert said.text is not None
    assert "1 passed\n1 failed" in said.text
    assert f"{URL}#v7-L2" in said.text


def test_a_service_that_does_not_listen_is_named_with_the_end_of_its_log() -> None:
    why = "the service db (postgres:17) didn't listen on port 5432 within 14 s. Its log ends with:\nno role"
    service = make_step(7, "sh -c postgres", error=why, lines=1)
    user = make_step(8, "sh test.sh", error=why, inputs=(service.digest,))
    run = make_run(state="failed", message=why)
    assert failing_step([user, service]) == service
    said = check_output.ended(run, [user, service], URL, service, ["no role"])
    assert "the service db (postgres:17) didn't listen on port 5432 within 14 s" in said.summary
    assert "no role" in said.summary


def test_a_failure_that_its_log_explains_is_titled_by_that_and_links_to_its_lines() -> None:
    failing = make_step(7, "pytest", error="exit status 1", lines=90)
    run = make_run(state="failed", message="exit status 1")
    where = Location("src/a.py", 12)
    failures = (
        Failure("pytest", Rank.TEST, "assert 1 == 2\nmore", "test_[a]", (where,), 40, 44),
        Failure(
            "pytest", Rank.TEST, "a `quote` \x1b[31m@octocat", None, (Location("b", 2),), 50, 50
        ),
    )
    findings = check_output.Findings(
        RunFailure("exit status 1", failing, failures * 6), {where: "https://gh.test/a#L12"}
    )
    said = check_output.ended(run, [failing], URL, failing, [], findings)
    assert said.title == "test_[a]: assert 1 == 2"
    items = [line for line in said.summary.splitlines() if line.startswith("- ")]
    assert items[0] == (
        f"- **test\\_\\[a\\]**: `assert 1 == 2` ([log]({URL}#v7-L41)) at "
        "[`src/a.py:12`](https://gh.test/a#L12)"
    )
    assert items[1] == f"- `a 'quote' @octocat` ([log]({URL}#v7-L51)) at `b:2`"
    assert items[-1] == f"- [2 more]({URL})"
    assert len(items) == 11


def test_a_mere_report_of_a_failure_is_not_shown_as_its_cause() -> None:
    failing = make_step(7, "make", error="exit status 2", lines=1)
    last = Failure("log", Rank.CONSEQUENCE, "the last words", None, (), 0, 0)
    findings = check_output.Findings(RunFailure("exit status 2", failing, (last,)))
    said = check_output.ended(make_run(state="failed"), [failing], URL, failing, [], findings)
    assert said.title == "make: exit status 2"
    assert "the last words" not in said.summary


def test_failures_that_may_be_missing_are_mentioned() -> None:
    failing = make_step(7, "make", error="exit status 2", lines=1)
    for unread in (False, True):
        failure = RunFailure("exit status 2", failing, has_unread_json=unread)
        findings = check_output.Findings(failure)
        said = check_output.ended(make_run(state="failed"), [failing], URL, failing, [], findings)
        assert ("There may be more failures" in said.summary) is unread
        shown = render_failure({**failure.json(), "excerpt": None})
        assert ("There may be more failures" in shown) is unread


def test_a_check_without_a_runner_shows_the_command_that_connects_one() -> None:
    connect = check_output.connect_command("octocat", "loop.example.com", 6455)
    assert connect == "bassloop runner octocat@loop.example.com"
    awaited = check_output.AwaitedRunner(("octocat", "ci"), connect)
    said = check_output.no_runner(make_run(state="action_required"), URL, awaited, 0)
    assert "a runner of **octocat** or **ci**" in said.summary
    assert connect in said.summary
    assert "octocat" in said.title
    assert check_output.connect_command("o", "h", 22) == "bassloop runner o@h:22"


def test_a_running_check_names_the_owner_of_its_runner_or_says_that_there_is_none() -> None:
    runtime = Runtime("t", 1, "octocat", Platform("linux", "arm64"), 0, 0.0, None, "bassloop")  # type: ignore[arg-type]
    said = check_output.started(make_run(state="queued", runner_login=None), URL, runtime)
    assert "**octocat**'s runner (`linux/arm64`)" in said.summary
    assert ">" not in said.summary
    borrowed = check_output.ended(make_run(runner_login="ci"), [], URL)
    assert "on **ci**'s runner (`linux/amd64`), for **octocat**." in borrowed.summary
    never = check_output.ended(
        make_run(state="cancelled", runner_login=None, started_at=None), [], URL
    )
    assert "did not run on any runner" in never.summary


def test_limitations_of_the_runner_are_shown_while_a_check_runs() -> None:
    runtime = Runtime("t", 1, "octocat", Platform(), 0, 0.0, None, "go")  # type: ignore[arg-type]
    said = check_output.started(make_run(), URL, runtime)
    [note] = [line for line in said.summary.splitlines() if line.startswith("> ")]
    assert note.startswith(
        "> This runner is a Go `bass --runner`: secrets reach it without a value;"
    )
    assert all(caveat in note for caveat in runtime.caveats)


def test_a_check_has_the_buttons_that_apply_to_its_state() -> None:
    runtime = Runtime("t", 1, "octocat", Platform("linux", "arm64"), 0, 0.0, None, "bassloop")  # type: ignore[arg-type]

    def buttons(said: CheckOutput) -> list[str]:
        return [action.identifier for action in said.actions]

    assert buttons(check_output.queued(make_run(), URL, OWN)) == ["cancel"]
    assert buttons(check_output.queued(make_run(), URL, FORKS)) == ["cancel", "approve"]
    assert buttons(check_output.started(make_run(), URL, runtime)) == ["cancel"]
    assert buttons(check_output.no_runner(make_run(), URL, FORKS, 1)) == ["approve", "rerun"]
    assert buttons(check_output.approval(make_run(state="action_required"), URL)) == ["approve"]
    assert buttons(check_output.approval(make_run(state="succeeded"), URL)) == []
    assert buttons(check_output.no_runner(make_run(), URL, OWN, 1)) == ["rerun"]
    assert buttons(check_output.ended(make_run(state="failed"), [], URL)) == ["rerun"]
    assert buttons(check_output.ended(make_run(state="succeeded"), [], URL)) == []


def test_the_end_of_a_log_is_stored() -> None:
    lines = [f"line {number}" for number in range(20_000)]
    kept = check_output.end_of(lines, 1_000)
    assert kept == lines[-len(kept) :]
    assert 900 < sum(len(line) + 1 for line in kept) <= 1_000
    [long] = check_output.end_of(["x" * 100_000])
    assert len(long) < 2_100
    failing = make_step(7, "sh", error="exit status 1", lines=20_000)
    said = check_output.ended(make_run(state="failed"), [failing], URL, failing, lines)
    assert said.text is not None
    assert cut(said.text) == said.text
    assert "line 19999" in said.text


def test_a_check_that_timed_out_shows_its_running_step() -> None:
    done = make_step(1, "build")
    at_work = make_step(2, "test", completed_at=None, lines=1)
    run = make_run(state="timed_out", message="the check was stopped after 4 h 0 min")
    said = check_output.ended(run, [done, at_work], URL, at_work, ["waiting …"])
    assert said.title == "the check was stopped after 4 h 0 min"
    assert said.text is not None
    assert "waiting …" in said.text


def test_failed_steps_are_always_shown_and_the_others_are_counted() -> None:
    steps = [make_step(n, f"step {n}") for n in range(1, 300)]
    steps.append(make_step(300, "the last", error="exit status 1"))
    summary = check_output.ended(make_run(state="failed", message="x"), steps, URL).summary
    assert f"{URL}#v300" in summary
    assert "[and 200 more]" in summary
    assert cut(summary) == summary


def test_an_endless_message_leaves_room_for_what_follows() -> None:
    said = check_output.ended(
        make_run(state="failed", message="é" * 100_000), [make_step(1, "x")], URL
    )
    assert f"{URL}#v1" in cut(said.summary)


@pytest.mark.parametrize("message", ["", " ", "\n\n", "\x1c"])
def test_a_failure_without_a_reason_is_described_all_the_same(message: str) -> None:
    run = make_run(state="failed", message=message)
    assert check_output.ended(run, [], URL).title == "Failed after 1 min 5 s"
    assert check_output.hook_ended(run, [], URL).title == "it gave no reason"


def test_internal_and_hidden_steps_are_not_listed() -> None:
    steps = [make_step(1, "[hide] mount"), make_step(2, "inner", internal=True), make_step(3, "x")]
    summary = check_output.ended(make_run(), steps, URL).summary
    assert "#v3" in summary
    assert "#v1)" not in summary
    assert "#v2)" not in summary


@given(st.text())
def test_a_fence_is_longer_than_any_in_the_text(text: str) -> None:
    block = check_output.code_block(text)
    fence = block.split("text\n", 1)[0]
    assert set(fence) == {"`"}
    assert max((len(run) for run in re.findall("`+", text)), default=0) < len(fence)


@given(st.text())
def test_escaped_text_has_no_live_markup(text: str) -> None:
    escaped = check_output.escape(text)
    assert "\n" not in escaped
    assert not re.search(r"(?<!\\)[<>\[\]`*_|]", escaped.replace("\\\\", ""))
    assert not re.search(r"@\w", escaped)


PLAIN = pb.Thunk(args=[pb.Value(string=pb.String(value="make"))])
SECRET = pb.Value(secret=pb.Secret(name="token"))
INNER = pb.Thunk(env=[pb.Binding(symbol="TOKEN", value=SECRET)])
AFTER = pb.Thunk(image=pb.ThunkImage(thunk=INNER.SerializeToString()))
MOUNTED = pb.Thunk(
    mounts=[pb.ThunkMount(source=pb.ThunkMountSource(secret=pb.Secret(name="token")))]
)


def record(thunk: pb.Thunk) -> ThunkRecord:
    return ThunkRecord("D", "0" * 64, "{}", thunk.SerializeToString(), "make", 1.0)


@pytest.mark.parametrize("thunk", [INNER, AFTER, MOUNTED])
def test_a_secret_that_a_go_runner_cannot_have_is_reported(thunk: pb.Thunk) -> None:
    [said] = check_output.caveats_met(make_run(state="failed", runner_kind="go"), record(thunk))
    assert said == "This runner is a Go `bass --runner`: secrets reach it without a value."
    assert (
        check_output.caveats_met(make_run(state="failed", runner_kind="bassloop"), record(thunk))
        == []
    )


@pytest.mark.parametrize("state", ["cancelled", "timed_out"])
def test_a_check_says_that_a_go_runner_does_not_stop_its_command(state: str) -> None:
    [said] = check_output.caveats_met(make_run(state=state, runner_kind="go"), record(PLAIN))
    assert "runs on until it ends" in said
    assert (
        check_output.caveats_met(make_run(state=state, runner_kind="openssh"), record(PLAIN)) == []
    )


def test_no_advice_is_given_if_nothing_is_surprising() -> None:
    assert (
        check_output.caveats_met(make_run(state="succeeded", runner_kind="go"), record(PLAIN)) == []
    )
    assert check_output.caveats_met(make_run(state="failed", runner_kind=None), None) == []


def test_the_summary_ends_with_the_notes() -> None:
    said = check_output.with_notes(CheckOutput("t", "what happened"), ["one.", "two."])
    assert said.summary == "what happened\n\n> one.\n\n> two."
