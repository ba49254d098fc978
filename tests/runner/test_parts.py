"""A runner's parts: options, rules, coalescing, scopes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bassloop.runner import RunnerError, RunnerOptions, parse_destination
from bassloop.runner.call_context import CallContext
from bassloop.runner.options import is_served
from bassloop.runner.process import as_argument


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("octocat@loop.example.com", ("octocat", "loop.example.com", 6455)),
        ("octocat@loop.example.com:22", ("octocat", "loop.example.com", 22)),
        ("octocat@[::1]:22", ("octocat", "::1", 22)),
    ],
)
def test_a_loop_is_named_by_login_host_and_port(text: str, parsed: tuple[str, str, int]) -> None:
    assert parse_destination(text) == parsed


@pytest.mark.parametrize("text", ["", "a b@c", "me@", "me@host:port", "me@host:99999", "me@a@b"])
def test_an_address_without_a_loop_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RunnerError, match="LOGIN@HOST"):
        parse_destination(text)


@pytest.mark.parametrize(
    ("only", "repository", "served"),
    [
        ((), None, True),
        ((), "a/b", True),
        (("a/b",), "a/b", True),
        (("a/b",), "A/B", True),
        (("a/b",), "a/c", False),
        (("a/*",), "a/c", True),
        (("a/*",), "ab/c", False),
        (("a/*",), None, False),
    ],
)
def test_an_owner_decides_which_repositories_a_runner_serves(
    only: tuple[str, ...], repository: str | None, served: bool
) -> None:
    assert is_served(only, repository) is served


def test_an_invalid_rule_is_refused() -> None:
    with pytest.raises(RunnerError, match="OWNER/REPO"):
        RunnerOptions(login="me", host="h", only=("everything",))


def test_a_call_without_a_fork_mark_is_treated_like_a_forks() -> None:
    assert CallContext.from_metadata({}) == CallContext(None, fork=False)
    assert CallContext.from_metadata({"bassloop-repository": "a/b"}) == CallContext(
        "a/b", fork=True
    )
    assert CallContext.from_metadata(
        {"bassloop-repository": "a/b", "bassloop-fork": "false"}
    ) == CallContext("a/b")


@pytest.mark.parametrize(
    "wrong", [{"cpus": 0.0}, {"memory": 1024}, {"pids": 0}, {"jobs": 0}, {"disk": 1}]
)
def test_limits_with_which_nothing_could_run_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RunnerError, match="must be"):
        RunnerOptions(login="me", host="h", **wrong)


@pytest.mark.parametrize(
    ("encoding", "text", "argument"),
    [
        ("utf-8", "gr\u00fc\u00dfe \udce9", b"gr\xc3\xbc\xc3\x9fe \xe9"),
        ("ascii", "gr\u00fc\u00dfe \udce9", b"gr\xc3\xbc\xc3\x9fe \xe9"),
        ("latin-1", "\u2192 \u00fc", "\u2192 \u00fc".encode()),
        ("latin-1", "/home/\u00fc", b"/home/\xfc"),
    ],
)
def test_commands_can_have_any_character_in_any_locale(
    monkeypatch: pytest.MonkeyPatch, encoding: str, text: str, argument: bytes
) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode(encoding, "surrogateescape"))
    assert as_argument(text) == argument
