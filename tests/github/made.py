"""Payloads in GitHub's shapes, as small as they can be."""

from __future__ import annotations

import json
from typing import Any

from bassloop.github import Event, parse_event

SHA = "1f3c2ab" + "0" * 33
OCTOCAT = {"id": 1, "node_id": "U_1", "login": "octocat"}
STRANGER = {"id": 9, "node_id": "U_9", "login": "stranger"}
REPOSITORY = {
    "id": 2,
    "node_id": "R_2",
    "full_name": "octocat/hello",
    "private": False,
    "visibility": "public",
    "clone_url": "https://example.com/octocat/hello.git",
    "html_url": "https://example.com/octocat/hello",
    "default_branch": "main",
}


def event_of(name: str, payload: Any) -> Event:
    """Return the event that the loop reads from a payload."""
    return parse_event(name, json.dumps(payload).encode())


def payload(**more: Any) -> dict[str, Any]:
    return {"sender": OCTOCAT, "repository": REPOSITORY, "installation": {"id": 3}, **more}


def check_suite(action: str = "requested", **more: Any) -> dict[str, Any]:
    suite = {"head_sha": SHA, "head_branch": "main", "app": {"id": 7}, **more}
    return payload(action=action, check_suite=suite)


def check_run(action: str, **more: Any) -> dict[str, Any]:
    run = {
        "id": 11,
        "name": "test",
        "head_sha": SHA,
        "app": {"id": 7},
        "check_suite": {"head_branch": "main"},
        **more,
    }
    return payload(action=action, check_run=run)


def pull_request(*, fork: bool) -> dict[str, Any]:
    user = STRANGER if fork else OCTOCAT
    head_repo = {**REPOSITORY, "id": 8, "full_name": "stranger/hello"} if fork else REPOSITORY
    pull = {
        "number": 42,
        "user": user,
        "head": {"sha": SHA, "ref": "nesting", "repo": head_repo, "user": user},
        "base": {"sha": SHA, "ref": "main", "repo": REPOSITORY},
    }
    return payload(action="opened", pull_request=pull)
