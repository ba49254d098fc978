"""The choice of runners for a head's checks, and the heads that need an approval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.access.runner_choice import RunnerChoice, choose_runners, hold_reason
from bassloop.github import PullRequest, User
from tests.github.made import check_run, check_suite, event_of, pull_request

if TYPE_CHECKING:
    from bassloop.access.policy import Hold

STRANGER = User(9, "U_9", "stranger")
MAINTAINER = User(8, "U_8", "maintainer")


def logins(choice: RunnerChoice) -> list[str]:
    return [user.login for user in choice.users]


def test_a_push_runs_on_the_senders_runtimes() -> None:
    choice = choose_runners(event_of("check_suite", check_suite()))
    assert (logins(choice), choice.fork) == (["octocat"], False)


def test_a_bot_has_no_runtimes_so_it_falls_back_on_those_of_others() -> None:
    bot = {"login": "dependabot[bot]", "id": 49699333, "type": "Bot"}
    choice = choose_runners(event_of("check_suite", {**check_suite(), "sender": bot}))
    assert (choice.owner.login, logins(choice)) == ("dependabot[bot]", [])
    assert logins(choice.with_fallback([STRANGER, STRANGER])) == ["stranger", "stranger"]


def test_a_senders_own_runtimes_come_before_those_fallen_back_on() -> None:
    choice = choose_runners(event_of("check_suite", check_suite()))
    assert logins(choice.with_fallback([STRANGER])) == ["octocat", "stranger"]
    assert choice.owner.login == "octocat"


def test_a_forks_head_runs_on_its_authors_runtimes_and_never_falls_back() -> None:
    choice = choose_runners(event_of("pull_request", pull_request(fork=True)))
    assert (logins(choice), choice.fork) == (["stranger"], True)
    assert choice.with_fallback([MAINTAINER]) == choice


def test_a_strangers_check_that_a_maintainer_reruns_does_not_run_on_the_maintainers_machine() -> (
    None
):
    rerun = event_of("check_run", check_run("rerequested", check_suite={"head_branch": None}))
    known = choose_runners(rerun, [PullRequest(42, fork=True, author=STRANGER)])
    assert known.users == (STRANGER,)
    unknown = choose_runners(rerun, [])
    assert (unknown.users, unknown.fork) == ((), True)


def test_an_approved_head_runs_on_the_approvers_runtimes_after_its_authors() -> None:
    rerun = event_of("check_run", check_run("rerequested", check_suite={"head_branch": None}))
    known = choose_runners(rerun, [PullRequest(42, fork=True, author=STRANGER)]).approved(
        MAINTAINER
    )
    assert (known.users, known.owner) == ((STRANGER, MAINTAINER), STRANGER)
    assert choose_runners(rerun, []).approved(MAINTAINER).users == (MAINTAINER,)
    own = choose_runners(event_of("check_suite", check_suite()))
    assert own.approved(MAINTAINER) == own


def test_a_head_with_pull_requests_of_two_strangers_has_no_runners() -> None:
    rerun = event_of("check_suite", check_suite(head_branch=None))
    other = User(10, "U_10", "other")
    pulls = [PullRequest(1, True, STRANGER), PullRequest(2, True, other)]
    assert choose_runners(rerun, pulls).users == ()


def test_a_head_of_the_repositorys_own_pull_request_runs_on_the_senders_runtimes() -> None:
    rerun = event_of("check_suite", check_suite(head_branch=None))
    assert logins(choose_runners(rerun, [PullRequest(1, False, None)])) == ["octocat"]


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
def test_the_policy_says_which_authors_need_an_approval(
    association: str | None, hold: Hold, held: bool
) -> None:
    choice = choose_runners(
        event_of("check_suite", check_suite(head_branch=None)),
        [PullRequest(1, True, STRANGER, association)],
    )
    assert (hold_reason(choice, hold) is not None) is held
    own = choose_runners(event_of("check_suite", check_suite()))
    assert hold_reason(own, hold) is None


def test_a_fork_without_a_known_author_always_waits_even_after_an_approval() -> None:
    unknown = choose_runners(event_of("check_suite", check_suite(head_branch=None)))
    for choice in (unknown, unknown.approved(MAINTAINER)):
        assert "nobody knows whose" in str(hold_reason(choice, "nobody"))
