"""Reading webhooks' payloads: the head, its owner, and who may see it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassloop.github import MalformedEvent, sign, verify_signature
from bassloop.github.check_runs import MAX_TEXT, cut

from .made import REPOSITORY, SHA, check_run, check_suite, event_of, payload, pull_request


def test_a_check_suite_is_about_its_head_on_its_branch() -> None:
    event = event_of("check_suite", check_suite())
    assert event.head is not None
    assert (event.head.sha, event.head.branch, event.head.fork) == (SHA, "main", False)
    assert event.sender is not None
    assert event.sender.login == "octocat"
    assert event.repository is not None
    assert (event.repository.owner, event.repository.name) == ("octocat", "hello")
    assert event.installation_id == 3


def test_a_check_without_a_branch_may_belong_to_a_fork() -> None:
    event = event_of("check_suite", check_suite(head_branch=None))
    assert event.head is not None
    assert event.head.fork is None
    rerun = event_of("check_run", check_run("rerequested", check_suite={"head_branch": None}))
    assert rerun.head is not None
    assert rerun.head.fork is None


@pytest.mark.parametrize("fork", [True, False])
def test_a_pull_request_tells_whether_its_head_belongs_to_a_fork_and_to_whom(fork: bool) -> None:
    head = event_of("pull_request", pull_request(fork=fork)).head
    assert head is not None
    assert (head.fork, head.pull_request) == (fork, 42)
    assert (head.author.login if head.author else None) == ("stranger" if fork else None)


@pytest.mark.parametrize(
    "push",
    [
        {"ref": "refs/heads/main", "after": "0" * 40},
        {"ref": "refs/heads/main", "after": SHA, "deleted": True},
    ],
)
def test_a_push_that_deletes_has_no_head(push: dict[str, Any]) -> None:
    assert event_of("push", payload(**push)).head is None


def test_a_push_is_about_the_commit_after_it() -> None:
    head = event_of("push", payload(ref="refs/heads/dev", after=SHA, deleted=False)).head
    assert head is not None
    assert (head.sha, head.branch, head.fork) == (SHA, "dev", False)


def test_a_merge_group_is_about_its_head() -> None:
    head = event_of(
        "merge_group", payload(action="checks_requested", merge_group={"head_sha": SHA})
    ).head
    assert head is not None
    assert head.sha == SHA


@pytest.mark.parametrize(
    ("repository", "visibility"),
    [
        ({"private": False, "visibility": "public"}, "public"),
        ({"private": True, "visibility": "private"}, "private"),
        ({"private": True, "visibility": "internal"}, "internal"),
        ({"private": False, "visibility": "internal"}, "internal"),
        ({"private": True, "visibility": "public"}, "private"),
        ({"private": None, "visibility": None}, "private"),
    ],
)
def test_repositories_of_unknown_visibility_are_private(
    repository: dict[str, Any], visibility: str
) -> None:
    event = event_of("push", payload(repository={**REPOSITORY, **repository}))
    assert event.repository is not None
    assert event.repository.visibility == visibility


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"sender": "octocat"}, "sender"),
        ({"sender": {"id": 1, "login": "../etc"}}, "login"),
        ({"repository": {**REPOSITORY, "full_name": "a/b/c"}}, "full_name"),
        ({"repository": {**REPOSITORY, "id": "2"}}, "id"),
        ({"installation": {"id": -1}}, "installation"),
        ({"check_suite": {"head_sha": "main; rm -rf /"}}, "head"),
        ({"action": 5}, "action"),
    ],
)
def test_an_event_that_github_would_not_send_is_malformed(
    broken: dict[str, Any], message: str
) -> None:
    with pytest.raises(MalformedEvent, match=message):
        event_of("check_suite", {**check_suite(), **broken})


unhurried = settings(suppress_health_check=[HealthCheck.too_slow])

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = [
    "action",
    "sender",
    "repository",
    "installation",
    "check_suite",
    "check_run",
    "pull_request",
]


@unhurried
@given(
    st.sampled_from(["check_suite", "check_run", "pull_request", "push", "merge_group", "ping"]),
    st.dictionaries(st.sampled_from(KEYS), anything),
)
def test_any_payload_is_parsed_or_malformed(name: str, given_payload: dict[str, Any]) -> None:
    try:
        event = event_of(name, given_payload)
    except MalformedEvent:
        return
    assert event.name == name


def test_a_signature_is_computed_as_github_does() -> None:
    digest = hmac.new(b"secret", b"body", hashlib.sha256).hexdigest()
    assert sign(b"secret", b"body") == f"sha256={digest}"
    assert verify_signature(b"secret", b"body", f"sha256={digest}")
    assert not verify_signature(b"secret", b"body!", f"sha256={digest}")
    assert not verify_signature(b"other", b"body", f"sha256={digest}")
    assert not verify_signature(b"secret", b"body", "sha256=é")


@unhurried
@given(st.text(alphabet="aé`\n😀", max_size=400), st.integers(120, 200))
def test_a_text_is_cut_to_its_limit_and_its_fence_is_closed(text: str, limit: int) -> None:
    kept = cut(text, limit)
    assert len(kept.encode()) <= max(limit, 0) or kept == text
    if len(text.encode()) <= limit:
        assert kept == text


def test_a_long_report_is_cut_below_githubs_limit() -> None:
    kept = cut("```text\n" + "word 😀\n" * 50_000 + "```")
    assert len(kept.encode()) <= MAX_TEXT
    assert kept.count("```") == 2
