"""A sample of each event that hooks usually handle, to find out which checks it starts."""

from __future__ import annotations

from typing import Any, NamedTuple

_SHA = "5" * 40
_BRANCH = "main"
_REPOSITORY = {
    "clone_url": "https://github.example/owner/name",
    "default_branch": _BRANCH,
}


class SampleEvent(NamedTuple):
    """A sample of an event.

    Args:
        title: what it's called in messages.
        event: the event's name at GitHub, in `X-GitHub-Event`.
        payload: the part of GitHub's payload that hooks read.
        trigger: the event's name in a check's `when`.
        branch: the branch that `when` is compared with.
    """

    title: str
    event: str
    payload: dict[str, Any]
    trigger: str
    branch: str = _BRANCH

    def as_hook_argument(self) -> dict[str, Any]:
        """Return the event as a hook gets it."""
        return {"event": self.event, "payload": self.payload}

    def pushed_to(self, branch: str) -> SampleEvent:
        """Return the same event for a push to another branch. An event that isn't about a push stays the same."""
        if "check_suite" not in self.payload:
            return self
        suite = {**self.payload["check_suite"], "head_branch": branch}
        return self._replace(payload={**self.payload, "check_suite": suite}, branch=branch)


PUSH = SampleEvent(
    "a push to main",
    "check_suite",
    {
        "action": "requested",
        "repository": _REPOSITORY,
        "check_suite": {"head_sha": _SHA, "head_branch": _BRANCH, "pull_requests": []},
    },
    "push",
)
PULL_REQUEST = SampleEvent(
    "a pull request for main",
    "pull_request",
    {
        "action": "opened",
        "number": 1,
        "repository": _REPOSITORY,
        "pull_request": {
            "number": 1,
            "head": {
                "sha": _SHA,
                "ref": "topic",
                "repo": {"clone_url": "https://github.example/fork/name"},
            },
            "base": {"ref": _BRANCH, "repo": {"clone_url": _REPOSITORY["clone_url"]}},
        },
    },
    "pull_request",
)
MERGE_QUEUE = SampleEvent(
    "a merge queue",
    "merge_group",
    {
        "action": "checks_requested",
        "repository": _REPOSITORY,
        "merge_group": {"head_sha": _SHA, "base_ref": f"refs/heads/{_BRANCH}"},
    },
    "merge_group",
)

SAMPLE_EVENTS = (PUSH, PULL_REQUEST, MERGE_QUEUE)
