"""Which events do what, and on whose runtimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bassloop.access.runner_choice import Whose, whose_head, why_held
from bassloop.deliveries.routing import Does, decide
from bassloop.github import PullRequest, User, parse_event
from tests.github.made import check_run, check_suite, payload, pull_request

if TYPE_CHECKING:
    from bassloop.access.policy import Hold

STRANGER = User(9, "U_9", "stranger")
MAINTAINER = User(8, "U_8", "maintainer")


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
        ("issues", payload(action="opened"), Does.BRANCH, False),
        ("check_run", check_run("requested_action"), Does.BUTTON, False),
        ("check_run", check_run("requested_action", app={"id": 99}), Does.NOTHING, False),
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


def logins(whose: Whose) -> list[str]:
    return [user.login for user in whose.users]


def test_a_push_runs_on_the_senders_runtimes() -> None:
    whose = whose_head(parse_event("check_suite", check_suite()))
    assert (logins(whose), whose.fork) == (["octocat"], False)


def test_a_bot_has_no_runtimes_and_falls_back_on_those_of_others() -> None:
    bot = {"login": "dependabot[bot]", "id": 49699333, "type": "Bot"}
    whose = whose_head(parse_event("check_suite", {**check_suite(), "sender": bot}))
    assert (whose.owner.login, logins(whose)) == ("dependabot[bot]", [])
    assert logins(whose.falling_back([STRANGER, STRANGER])) == ["stranger", "stranger"]


def test_a_senders_own_runtimes_come_before_those_fallen_back_on() -> None:
    whose = whose_head(parse_event("check_suite", check_suite()))
    assert logins(whose.falling_back([STRANGER])) == ["octocat", "stranger"]
    assert whose.owner.login == "octocat"


def test_a_forks_head_runs_on_its_authors_runtimes_and_never_falls_back() -> None:
    whose = whose_head(parse_event("pull_request", pull_request(fork=True)))
    assert (logins(whose), whose.fork) == (["stranger"], True)
    assert whose.falling_back([MAINTAINER]) == whose


def test_a_strangers_check_that_a_maintainer_reruns_does_not_run_on_the_maintainers_machine() -> (
    None
):
    rerun = parse_event("check_run", check_run("rerequested", check_suite={"head_branch": None}))
    known = whose_head(rerun, [PullRequest(42, fork=True, author=STRANGER)])
    assert known.users == (STRANGER,)
    unknown = whose_head(rerun, [])
    assert (unknown.users, unknown.fork) == ((), True)


def test_an_approved_head_runs_on_the_approvers_runtimes_after_its_authors() -> None:
    rerun = parse_event("check_run", check_run("rerequested", check_suite={"head_branch": None}))
    known = whose_head(rerun, [PullRequest(42, fork=True, author=STRANGER)]).approved(MAINTAINER)
    assert (known.users, known.owner) == ((STRANGER, MAINTAINER), STRANGER)
    assert whose_head(rerun, []).approved(MAINTAINER).users == (MAINTAINER,)
    own = whose_head(parse_event("check_suite", check_suite()))
    assert own.approved(MAINTAINER) == own


def test_a_head_of_two_strangers_is_nobodys() -> None:
    rerun = parse_event("check_suite", check_suite(head_branch=None))
    other = User(10, "U_10", "other")
    pulls = [PullRequest(1, True, STRANGER), PullRequest(2, True, other)]
    assert whose_head(rerun, pulls).users == ()


def test_a_head_of_the_repositorys_own_pull_request_is_the_senders() -> None:
    rerun = parse_event("check_suite", check_suite(head_branch=None))
    assert logins(whose_head(rerun, [PullRequest(1, False, None)])) == ["octocat"]


@pytest.mark.parametrize(
    ("association", "hold", "held"),
    [
        ("FIRST_TIMER", "nobody", False),
        ("FIRST_TIMER", "first-timers", True),
        ("FIRST_TIME_CONTRIBUTOR", "first-timers", True),
        ("NONE", "first-timers", True),
        (None, "first-timers", True),
        ("CONTRIBUTOR", "first-timers", False),
        ("CONTRIBUTOR", "outsiders", True),
        ("MEMBER", "outsiders", False),
        ("COLLABORATOR", "outsiders", False),
        ("OWNER", "outsiders", False),
    ],
)
def test_who_waits_for_approval(association: str | None, hold: Hold, held: bool) -> None:
    whose = whose_head(
        parse_event("check_suite", check_suite(head_branch=None)),
        [PullRequest(1, True, STRANGER, association)],
    )
    assert (why_held(whose, hold) is not None) is held
    own = whose_head(parse_event("check_suite", check_suite()))
    assert why_held(own, hold) is None


def test_a_fork_that_is_nobodys_always_waits_and_an_approval_does_not_change_that() -> None:
    unknown = whose_head(parse_event("check_suite", check_suite(head_branch=None)))
    for whose in (unknown, unknown.approved(MAINTAINER)):
        assert "nobody knows whose" in str(why_held(whose, "nobody"))
