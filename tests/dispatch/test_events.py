"""Which events do what, and on whose runtimes."""

from __future__ import annotations

from typing import Any

import pytest

from bassloop.dispatch.events import Does, decide
from bassloop.dispatch.whose import whose_runtimes
from bassloop.github import PullRequest, User, parse_event
from tests.github.made import check_run, check_suite, payload, pull_request

STRANGER = User(9, "U_9", "stranger")


@pytest.mark.parametrize(
    ("name", "body", "does", "rerun"),
    [
        ("check_suite", check_suite("requested"), Does.HOOK, False),
        ("check_suite", check_suite("rerequested"), Does.HOOK, True),
        ("check_suite", check_suite("completed"), Does.NOTHING, False),
        ("check_run", check_run("rerequested"), Does.HOOK, True),
        ("check_run", check_run("created"), Does.NOTHING, False),
        ("check_run", check_run("completed"), Does.NOTHING, False),
        ("check_run", check_run("completed", app={"id": 99}), Does.HOOK, False),
        ("pull_request", pull_request(fork=True), Does.HOOK, False),
        ("push", payload(ref="refs/heads/main", after="0" * 40), Does.NOTHING, False),
        ("issues", payload(action="opened"), Does.NOTHING, False),
        ("ping", {"zen": "Design for failure."}, Does.LOOP, False),
        ("installation", {"action": "created"}, Does.LOOP, False),
        ("check_suite", {**check_suite(), "installation": None}, Does.NOTHING, False),
        ("check_suite", {**check_suite(), "sender": None}, Does.NOTHING, False),
    ],
)
def test_an_event_does_what_the_table_says(
    name: str, body: dict[str, Any], does: Does, rerun: bool
) -> None:
    decision = decide(parse_event(name, body), app_id=7)
    assert (decision.does, decision.rerun) == (does, rerun)
    assert decision.why


def test_what_a_hook_lacks_is_named() -> None:
    event = parse_event("check_suite", {**check_suite(), "sender": None, "installation": None})
    assert "sender and installation" in decide(event, app_id=7).why


def test_a_push_runs_on_the_senders_runtimes() -> None:
    whose = whose_runtimes(parse_event("check_suite", check_suite()))
    assert whose.user is not None
    assert (whose.user.login, whose.fork) == ("octocat", False)


def test_a_forks_head_runs_on_its_authors_runtimes() -> None:
    whose = whose_runtimes(parse_event("pull_request", pull_request(fork=True)))
    assert whose.user is not None
    assert (whose.user.login, whose.fork) == ("stranger", True)


def test_a_strangers_check_that_a_maintainer_reruns_does_not_run_on_the_maintainers_machine() -> (
    None
):
    rerun = parse_event("check_run", check_run("rerequested", check_suite={"head_branch": None}))
    known = whose_runtimes(rerun, [PullRequest(42, fork=True, author=STRANGER)])
    assert known.user == STRANGER
    unknown = whose_runtimes(rerun, [])
    assert unknown.user is None
    assert unknown.fork


def test_a_head_of_two_strangers_is_nobodys() -> None:
    rerun = parse_event("check_suite", check_suite(head_branch=None))
    other = User(10, "U_10", "other")
    pulls = [PullRequest(1, True, STRANGER), PullRequest(2, True, other)]
    assert whose_runtimes(rerun, pulls).user is None


def test_a_head_of_the_repositorys_own_pull_request_is_the_senders() -> None:
    rerun = parse_event("check_suite", check_suite(head_branch=None))
    whose = whose_runtimes(rerun, [PullRequest(1, False, None)])
    assert whose.user is not None
    assert whose.user.login == "octocat"
